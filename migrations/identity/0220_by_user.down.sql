ALTER TABLE auth_sessions RESET (fillfactor);
ALTER TABLE users RESET (fillfactor);
DROP INDEX login_history_of_nobody;
DROP INDEX challenges_user_id;
