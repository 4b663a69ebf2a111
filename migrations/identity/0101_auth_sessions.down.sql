DROP TABLE signing_keys;
DROP TABLE pending_revocations;
DROP TABLE refresh_tokens;
DROP TABLE auth_sessions;
DROP TABLE service_principals;
