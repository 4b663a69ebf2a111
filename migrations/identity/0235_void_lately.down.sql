DROP INDEX users_uv_changed_at;
ALTER TABLE users DROP COLUMN uv_changed_at;
DROP INDEX auth_sessions_revoked_at;
