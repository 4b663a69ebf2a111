CREATE INDEX login_history_user_id ON login_history (user_id, created_at);
DROP INDEX login_history_page;
DELETE FROM email_codes WHERE purpose = 'change_email';
ALTER TABLE email_codes
    DROP CONSTRAINT email_codes_address_of_a_change,
    DROP COLUMN address_sealed,
    DROP CONSTRAINT email_codes_purpose_check,
    ADD CONSTRAINT email_codes_purpose_check CHECK (purpose IN ('verify_email'));
