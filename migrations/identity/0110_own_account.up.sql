-- Codes that prove a new address, and sign-ins read page by page.
ALTER TABLE email_codes
    DROP CONSTRAINT email_codes_purpose_check,
    ADD CONSTRAINT email_codes_purpose_check CHECK (purpose IN ('verify_email', 'change_email')),
    -- the address that the code was sent to, where it is not the account's own; sealed
    ADD COLUMN address_sealed bytea,
    ADD CONSTRAINT email_codes_address_of_a_change CHECK ((purpose = 'change_email') = (address_sealed IS NOT NULL));

-- the id makes the order of rows of one moment a fixed one
CREATE INDEX login_history_page ON login_history (user_id, created_at, id);
DROP INDEX login_history_user_id;
