-- What proves, besides a password, that somebody owns an account, and what a sign-in waits for in between.
CREATE TABLE credentials (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind           text        NOT NULL CHECK (kind IN ('totp', 'recovery', 'passkey')),
    -- a passkey's credential id, or the keyed hash of a recovery code
    external_key   bytea       CHECK (octet_length(external_key) BETWEEN 1 AND 1023),
    -- the secret of an authenticator app, sealed
    secret_sealed  bytea,
    -- a passkey's public key with what its authenticator said of it
    public         jsonb,
    -- a passkey's signature counter: it never goes back
    sign_count     bigint      NOT NULL DEFAULT 0 CHECK (sign_count >= 0),
    -- the last 30-second step whose code was used: none is used twice (RFC 6238 5.2)
    last_used_step bigint,
    name           text        CHECK (char_length(name) BETWEEN 1 AND 100),
    created_at     timestamptz NOT NULL,
    -- an authenticator app counts once its first code was right
    confirmed_at   timestamptz,
    last_used_at   timestamptz,
    CONSTRAINT credentials_external_key_key UNIQUE (kind, external_key),
    CONSTRAINT credentials_of_its_kind CHECK (CASE kind
        WHEN 'totp' THEN secret_sealed IS NOT NULL AND external_key IS NULL
        WHEN 'recovery' THEN octet_length(external_key) = 32 AND confirmed_at IS NOT NULL
        ELSE external_key IS NOT NULL AND public IS NOT NULL AND name IS NOT NULL AND confirmed_at IS NOT NULL END)
);
CREATE INDEX credentials_user_id ON credentials (user_id, kind, id);
CREATE UNIQUE INDEX credentials_one_totp ON credentials (user_id) WHERE kind = 'totp' AND confirmed_at IS NOT NULL;
CREATE UNIQUE INDEX credentials_one_new_totp ON credentials (user_id) WHERE kind = 'totp' AND confirmed_at IS NULL;
CREATE INDEX credentials_unconfirmed ON credentials (created_at) WHERE confirmed_at IS NULL;

-- What is asked and waits for its answer: a second factor after a password, a passkey's signature. Deleted by the answer
-- that is right, so each is good once.
CREATE TABLE challenges (
    -- SHA-256 of the token that names it: 256 random bits
    hash         bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    kind         text        NOT NULL CHECK (kind IN ('second_factor', 'passkey_new', 'passkey_sign_in')),
    -- whom it is asked of; a passkey's sign-in says so itself
    user_id      uuid        REFERENCES users (id) ON DELETE CASCADE,
    -- how they have proved who they are so far (RFC 8176)
    amr          text[]      NOT NULL DEFAULT '{}',
    -- SHA-256 of the password hash that was proved: a changed password voids what it began
    password     bytea       CHECK (octet_length(password) = 32),
    state_sealed bytea,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > created_at),
    CONSTRAINT challenges_name_their_user CHECK (kind = 'passkey_sign_in' OR user_id IS NOT NULL),
    CONSTRAINT challenges_of_passkeys_have_state CHECK ((kind = 'second_factor') = (state_sealed IS NULL))
);
CREATE INDEX challenges_expires_at ON challenges (expires_at);

-- When the user last proved who they are; none: when the session was opened.
ALTER TABLE auth_sessions ADD COLUMN auth_time timestamptz;
