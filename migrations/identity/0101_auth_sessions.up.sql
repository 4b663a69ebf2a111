-- Auth sessions, the refresh tokens that descend from each, and the keys that sign access tokens.

-- Machines that call with a service token; they have no account.
CREATE TABLE service_principals (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    created_at timestamptz NOT NULL,
    CONSTRAINT service_principals_name_key UNIQUE (name)
);

CREATE TABLE auth_sessions (
    sid             uuid        PRIMARY KEY,
    kind            text        NOT NULL CHECK (kind IN ('user', 'service')),
    user_id         uuid        REFERENCES users (id) ON DELETE CASCADE,
    service_id      uuid        REFERENCES service_principals (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    expires_at_idle timestamptz NOT NULL,
    expires_at_abs  timestamptz NOT NULL,
    ip_last         text        CHECK (char_length(ip_last) <= 45),
    user_agent      text        CHECK (char_length(user_agent) <= 500),
    device_name     text        CHECK (char_length(device_name) <= 100),
    -- how the user proved who they are (RFC 8176)
    amr             text[]      NOT NULL DEFAULT '{}',
    revoked_at      timestamptz,
    revoke_reason   text        CHECK (revoke_reason IN ('logout', 'limit', 'admin', 'password', 'reuse', 'erase')),
    CONSTRAINT auth_sessions_one_owner CHECK (
        (kind = 'user') = (user_id IS NOT NULL) AND (kind = 'service') = (service_id IS NOT NULL)),
    CONSTRAINT auth_sessions_revoked_for_a_reason CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL)),
    CONSTRAINT auth_sessions_idle_within_absolute CHECK (expires_at_idle <= expires_at_abs)
);
CREATE INDEX auth_sessions_live ON auth_sessions (user_id, created_at) WHERE revoked_at IS NULL;
CREATE INDEX auth_sessions_service_id ON auth_sessions (service_id) WHERE service_id IS NOT NULL;
CREATE INDEX auth_sessions_expires_at_abs ON auth_sessions (expires_at_abs);

-- Single use. A token is 256 random bits; only its SHA-256 is kept.
CREATE TABLE refresh_tokens (
    hash              bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    sid               uuid        NOT NULL REFERENCES auth_sessions (sid) ON DELETE CASCADE,
    parent_hash       bytea       REFERENCES refresh_tokens (hash) ON DELETE CASCADE,
    issued_at         timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    consumed_at       timestamptz,
    -- the answer that consumed it, sealed: repeated to whoever lost it, until grace_until or the child's first use
    grace_pair_sealed bytea,
    grace_until       timestamptz,
    child_used_at     timestamptz,
    -- one child per parent, whatever happens
    CONSTRAINT refresh_tokens_parent_hash_key UNIQUE (parent_hash),
    CONSTRAINT refresh_tokens_grace_after_use CHECK (grace_until IS NULL OR consumed_at IS NOT NULL)
);
CREATE INDEX refresh_tokens_sid ON refresh_tokens (sid);
CREATE INDEX refresh_tokens_grace ON refresh_tokens (grace_until) WHERE grace_pair_sealed IS NOT NULL;

-- Ended sessions that the bucket `revoked` may not know yet. Written with the revocation, deleted when the bucket has it.
CREATE TABLE pending_revocations (
    sid          uuid        PRIMARY KEY REFERENCES auth_sessions (sid) ON DELETE CASCADE,
    due_at       timestamptz NOT NULL,
    -- for tokens that outlive the bucket's entries (service tokens): the entry is renewed until then
    repeat_until timestamptz
);
CREATE INDEX pending_revocations_due_at ON pending_revocations (due_at);

CREATE TABLE signing_keys (
    kid            text        PRIMARY KEY CHECK (char_length(kid) BETWEEN 1 AND 64),
    -- 1 for the first: processes that start together agree on one, because there can only be one
    generation     integer     NOT NULL CHECK (generation > 0),
    alg            text        NOT NULL CHECK (alg = 'EdDSA'),
    -- PKCS#8, sealed under the key-encryption key
    private_sealed bytea       NOT NULL,
    public_key     bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    created_at     timestamptz NOT NULL,
    -- it signs from then on; it is published before, so that every verifier knows it in time
    not_before     timestamptz NOT NULL,
    -- it verifies until then
    retire_at      timestamptz CHECK (retire_at > not_before),
    CONSTRAINT signing_keys_generation_key UNIQUE (generation)
);
