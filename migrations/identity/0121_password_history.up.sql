-- Passwords that were replaced, newest last; PHC strings. The present one stands in `users`.
CREATE TABLE password_history (
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       text        NOT NULL CHECK (octet_length(hash) <= 255),
    -- when it was replaced
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, hash)
);
CREATE INDEX password_history_user_id ON password_history (user_id, created_at DESC);
