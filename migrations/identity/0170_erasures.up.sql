-- People who are being forgotten, in every service. A row stays: it says that it was done, and of whom only the id.
CREATE TABLE erasures (
    id           uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL UNIQUE REFERENCES users (id),
    requested_by uuid,
    requested_at timestamptz NOT NULL,
    -- when the services were last told; those that have not answered are told again
    told_at      timestamptz NOT NULL,
    told         integer     NOT NULL DEFAULT 1 CHECK (told > 0),
    -- every service has answered, and the streams hold nothing any more
    done_at      timestamptz
);
CREATE INDEX erasures_open ON erasures (told_at) WHERE done_at IS NULL;

-- What each service says that it did.
CREATE TABLE erasure_receipts (
    erasure_id  uuid        NOT NULL REFERENCES erasures (id) ON DELETE CASCADE,
    service     text        NOT NULL,
    erased      jsonb       NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (erasure_id, service)
);
