-- Found by reading the plans of every request with 100,000 accounts.

-- all sessions of somebody, ended ones too: signing out elsewhere, a new password and an erasure ask for them
CREATE INDEX auth_sessions_user_id ON auth_sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX challenges_user_id ON challenges (user_id) WHERE user_id IS NOT NULL;

-- guesses at addresses that nobody has, which are thrown away after a day; among all failures they would be looked for
-- behind those of people, which stay
CREATE INDEX login_history_of_nobody ON login_history (created_at) WHERE user_id IS NULL;
DROP INDEX login_history_failed;

-- rows that every sign-in and every refresh changes, but not in what is indexed: with room beside them the new version
-- stays on its page, and no index is written to
ALTER TABLE users SET (fillfactor = 85);
ALTER TABLE auth_sessions SET (fillfactor = 85);
