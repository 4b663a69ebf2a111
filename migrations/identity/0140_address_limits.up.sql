-- How often an address has lately signed in, signed up or asked for a letter: the moments themselves, so that no stretch
-- of time, wherever it begins, has more than the limit. Only a keyed hash of purpose and address is stored.
CREATE TABLE address_attempts (
    bucket   bytea         PRIMARY KEY CHECK (octet_length(bucket) = 32),
    taken_at timestamptz[] NOT NULL CHECK (cardinality(taken_at) BETWEEN 1 AND 1000),
    -- from then on the row says nothing any more
    idle_at  timestamptz   NOT NULL
);
CREATE INDEX address_attempts_idle_at ON address_attempts (idle_at);
