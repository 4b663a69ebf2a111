-- Addresses whose sign-ins fail, and for which accounts: keyed hashes of both. `crossed` says whether the last write was
-- the one that reached the number of accounts at which an address is suspicious.
CREATE TABLE failing_addresses (
    address  bytea       PRIMARY KEY CHECK (octet_length(address) = 32),
    since    timestamptz NOT NULL,
    accounts bytea[]     NOT NULL CHECK (cardinality(accounts) BETWEEN 1 AND 100),
    crossed  boolean     NOT NULL
);
CREATE INDEX failing_addresses_since ON failing_addresses (since);

-- From where an account has signed in: a keyed hash of account and address prefix, so that rows of two accounts can't be
-- matched.
CREATE TABLE sign_in_places (
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    place        bytea       NOT NULL CHECK (octet_length(place) = 32),
    last_seen_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, place)
);
CREATE INDEX sign_in_places_last_seen_at ON sign_in_places (last_seen_at);

-- When an owner was last written to because of the account's lock: a stranger must not fill a mailbox.
CREATE TABLE lock_letters (
    user_id    uuid        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    written_at timestamptz NOT NULL
);
