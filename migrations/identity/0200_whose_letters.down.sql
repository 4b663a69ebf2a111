ALTER TABLE mail_queue DROP COLUMN user_id;
