-- A bucket of revocations that was lost is told again what became void while an access token lives: without reading all
-- sessions and all people. Claims change seldom, and what sessions and people are updated with else stands in neither index.
CREATE INDEX auth_sessions_revoked_at ON auth_sessions (revoked_at) WHERE revoked_at IS NOT NULL;
-- when `uv` grew last; of those that are here now, not after this migration
ALTER TABLE users ADD COLUMN uv_changed_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX users_uv_changed_at ON users (uv_changed_at) WHERE uv > 1;
