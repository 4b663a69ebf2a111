-- The audit record: one chain over what all services did. What makes it a chain are constraints, so that no code path,
-- process or hand that writes by the rules can fork it, skip a number or link to another hash.
CREATE TABLE entries (
    seq             bigint      PRIMARY KEY CHECK (seq > 0),
    -- the hash of the entry before; 32 zero bytes in the first
    prev_hash       bytea       NOT NULL UNIQUE CHECK (octet_length(prev_hash) = 32),
    hash            bytea       NOT NULL CONSTRAINT entries_hash CHECK (hash = sha256(prev_hash || body)),
    -- the message as its service published it, byte for byte
    body            bytea       NOT NULL,
    entry_id        uuid        NOT NULL UNIQUE,
    -- its place in stream AUDIT, if that stream was made before recorded_at
    stream_sequence bigint      NOT NULL CHECK (stream_sequence > 0),
    recorded_at     timestamptz NOT NULL,
    -- from the body, for searching; verification compares them with it
    service         text        NOT NULL,
    event_type      text        NOT NULL,
    user_id         uuid,
    actor_id        uuid,
    timestamp       timestamptz NOT NULL,
    previous        bigint      GENERATED ALWAYS AS (NULLIF(seq - 1, 0)) STORED,
    CONSTRAINT entries_genesis CHECK ((seq = 1) = (prev_hash = decode(repeat('00', 32), 'hex'))),
    CONSTRAINT entries_place UNIQUE (seq, hash),
    CONSTRAINT entries_link FOREIGN KEY (previous, prev_hash) REFERENCES entries (seq, hash)
);
CREATE INDEX entries_user_id ON entries (user_id, seq);
CREATE INDEX entries_actor_id ON entries (actor_id, seq);
CREATE INDEX entries_event_type ON entries (event_type, seq);
CREATE INDEX entries_service ON entries (service, seq);
CREATE INDEX entries_timestamp ON entries (timestamp, seq);
CREATE INDEX entries_stream_sequence ON entries (stream_sequence);

-- Whatever rights somebody has: entries are added, nothing else. (`lectern migrate` also takes these rights from the role.)
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit record is append-only: no %', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
