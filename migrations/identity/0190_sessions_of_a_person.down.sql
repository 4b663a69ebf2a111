DROP INDEX auth_sessions_user_id;
