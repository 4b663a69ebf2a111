-- What core keeps in every worker's schema. Runs under the worker's search_path.

-- Announced, not yet stored by the broker. Rows leave for the archive when the broker has acknowledged them.
CREATE TABLE outbox (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid        NOT NULL UNIQUE,
    stream     text        NOT NULL,
    subject    text        NOT NULL,
    -- rows of one key are published in order, the next only after the previous is acknowledged
    key        text        NOT NULL,
    headers    jsonb       NOT NULL DEFAULT '{}',
    payload    bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

-- Published; kept 35 days so that the streams can be rebuilt from here.
CREATE TABLE outbox_archive (
    seq          bigint      PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE,
    stream       text        NOT NULL,
    subject      text        NOT NULL,
    key          text        NOT NULL,
    headers      jsonb       NOT NULL,
    payload      bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    published_at timestamptz NOT NULL
);
CREATE INDEX outbox_archive_published_at ON outbox_archive (published_at);

-- A fact that had its effect here has it never again.
CREATE TABLE inbox (
    consumer   text        NOT NULL,
    fact_id    uuid        NOT NULL,
    handled_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, fact_id)
);
CREATE INDEX inbox_handled_at ON inbox (handled_at);

-- The truth about timers; the broker only rings.
CREATE TABLE timers (
    id         uuid        PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind ~ '^[a-z0-9_]{1,64}$'),
    entity     uuid        NOT NULL,
    due_at     timestamptz NOT NULL,
    generation bigint      NOT NULL CHECK (generation > 0),
    -- dead: every attempt failed, the dead letters hold it
    state      text        NOT NULL CHECK (state IN ('armed', 'fired', 'cancelled', 'dead')),
    trace      text,
    armed_at   timestamptz NOT NULL,
    fired_at   timestamptz,
    -- rings of this generation that failed, and when the next one may be tried
    attempts   integer     NOT NULL DEFAULT 0,
    retry_at   timestamptz,
    UNIQUE (kind, entity)
);
CREATE INDEX timers_due ON timers (due_at) WHERE state = 'armed';

-- Committed answers of requests with an Idempotency-Key. A row without an answer exists only inside the transaction
-- that makes it, so a key can't be stuck.
CREATE TABLE idempotency (
    actor       uuid        NOT NULL,
    request     text        NOT NULL,
    key         text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32),
    answer      bytea,
    version     bigint,
    existing    boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (actor, request, key)
);
CREATE INDEX idempotency_created_at ON idempotency (created_at);

-- A stream sequence is meaningful only with its stream's epoch (creation time): a change means that the stream was lost.
CREATE TABLE stream_epochs (
    stream     text        PRIMARY KEY,
    epoch      timestamptz NOT NULL,
    noticed_at timestamptz NOT NULL
);
