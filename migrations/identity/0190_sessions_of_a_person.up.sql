-- Export and erasure look for all sessions of a person, ended ones too.
CREATE INDEX auth_sessions_user_id ON auth_sessions (user_id, sid) WHERE user_id IS NOT NULL;
