ALTER TABLE auth_sessions RESET (fillfactor);
ALTER TABLE users RESET (fillfactor);
CREATE INDEX login_history_failed ON login_history (created_at) WHERE NOT success;
DROP INDEX login_history_of_nobody;
DROP INDEX challenges_user_id;
DROP INDEX auth_sessions_user_id;
