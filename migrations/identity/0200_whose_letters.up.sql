-- Whose a letter is: it goes with its person, unsent. None for those that were queued before.
ALTER TABLE mail_queue ADD COLUMN user_id uuid REFERENCES users (id) ON DELETE CASCADE;
CREATE INDEX mail_queue_user_id ON mail_queue (user_id) WHERE user_id IS NOT NULL;
