-- Setting a new password by a link that was mailed.

-- Addresses that somebody asked a link for, whether somebody has them or not: answered before anybody looks, so that the
-- answer and its time say nothing. Deleted when they are looked at, within a second.
CREATE TABLE password_reset_requests (
    id         uuid        PRIMARY KEY,
    -- {"email","address","agent"}, sealed
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX password_reset_requests_created_at ON password_reset_requests (created_at, id);

-- Single use. A token is 256 random bits; only its SHA-256 is kept.
CREATE TABLE password_resets (
    hash         bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    occasion     text        NOT NULL CHECK (occasion IN ('forgotten', 'admin', 'invited')),
    -- keyed hash of the address that it was mailed to: it is no good once the account has another
    address_hash bytea       NOT NULL CHECK (octet_length(address_hash) = 32),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > created_at),
    -- used, or void because the password was changed otherwise
    consumed_at  timestamptz
);
CREATE INDEX password_resets_user_id ON password_resets (user_id, created_at);
CREATE INDEX password_resets_expires_at ON password_resets (expires_at);
