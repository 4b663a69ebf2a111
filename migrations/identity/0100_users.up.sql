-- Accounts and what proves that somebody owns one. Runs under the worker's search_path.

CREATE TABLE users (
    id                     uuid        PRIMARY KEY,
    -- as it was given, trimmed
    email                  text        NOT NULL CHECK (char_length(email) BETWEEN 3 AND 255),
    -- lower-cased: the one that is compared. An erased account keeps a made-up address here, so the real one is free
    email_norm             text        NOT NULL CHECK (email_norm = lower(email_norm)),
    -- PHC string; none for an account that can't sign in by password
    password_hash          text        CHECK (octet_length(password_hash) <= 255),
    name                   text        NOT NULL CHECK (char_length(name) BETWEEN 2 AND 100),
    phone_sealed           bytea,
    business_type          text        CHECK (char_length(business_type) <= 50),
    business_number_sealed bytea,
    industry               text        CHECK (char_length(industry) <= 100),
    region                 text        CHECK (char_length(region) <= 100),
    -- the highest of the roles
    role                   text        NOT NULL DEFAULT 'user'
        CHECK (role IN ('user', 'moderator', 'operator', 'auditor', 'admin')),
    roles                  text[]      NOT NULL DEFAULT '{user}'
        CHECK (roles <@ ARRAY['user', 'moderator', 'operator', 'auditor', 'admin']),
    status                 text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'deleted')),
    is_active              boolean     NOT NULL GENERATED ALWAYS AS (status = 'active') STORED,
    is_verified            boolean     NOT NULL DEFAULT false,
    -- claims version: grows when a role change, disabling or erasure makes older tokens void
    uv                     bigint      NOT NULL DEFAULT 1 CHECK (uv > 0),
    version                bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    last_login_at          timestamptz,
    CONSTRAINT users_email_norm_key UNIQUE (email_norm),
    CONSTRAINT users_role_held CHECK (role = ANY (roles)),
    CONSTRAINT users_deleted_cannot_sign_in CHECK (status <> 'deleted' OR password_hash IS NULL)
);
CREATE INDEX users_role ON users (role);
CREATE INDEX users_created_at ON users (created_at, id);
CREATE INDEX users_active ON users (created_at, id) WHERE is_active;

-- Sign-ins and sign-outs. Rows without a user are guesses at addresses that nobody has; they are kept for a day.
CREATE TABLE login_history (
    id             uuid        PRIMARY KEY,
    user_id        uuid        REFERENCES users (id) ON DELETE CASCADE,
    action         text        NOT NULL CHECK (action IN ('login', 'logout')),
    ip             text        CHECK (char_length(ip) <= 45),
    user_agent     text        CHECK (char_length(user_agent) <= 500),
    success        boolean     NOT NULL,
    failure_reason text        CHECK (char_length(failure_reason) <= 100),
    created_at     timestamptz NOT NULL,
    CONSTRAINT login_history_failure_has_reason CHECK (success = (failure_reason IS NULL))
);
CREATE INDEX login_history_user_id ON login_history (user_id, created_at);
CREATE INDEX login_history_created_at ON login_history (created_at);
CREATE INDEX login_history_failed ON login_history (created_at) WHERE NOT success;

-- Mailed codes: only their keyed hash is kept. The newest of a user and purpose is the one that counts.
CREATE TABLE email_codes (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose     text        NOT NULL CHECK (purpose IN ('verify_email')),
    code_hash   bytea       NOT NULL CHECK (octet_length(code_hash) = 32),
    attempts    smallint    NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 5),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL CHECK (expires_at > created_at),
    consumed_at timestamptz
);
CREATE INDEX email_codes_user_id ON email_codes (user_id, purpose, created_at DESC);
CREATE INDEX email_codes_expires_at ON email_codes (expires_at);

-- Exact counter of wrong passwords, by a keyed hash of the address: an address that nobody has locks like any other.
CREATE TABLE sign_in_attempts (
    account        bytea         PRIMARY KEY CHECK (octet_length(account) = 32),
    failed         integer       NOT NULL CHECK (failed BETWEEN 0 AND 100),
    -- one lease per password that is being checked right now: it ends by itself when its process dies
    in_flight      timestamptz[] NOT NULL,
    last_failed_at timestamptz,
    locked_until   timestamptz,
    touched_at     timestamptz   NOT NULL
);
CREATE INDEX sign_in_attempts_touched_at ON sign_in_attempts (touched_at);
