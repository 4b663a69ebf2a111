-- What the gauges of every process show: counted by one of them at a time, read by all.
CREATE TABLE counts (
    only_row        boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    users           bigint      NOT NULL DEFAULT 0,
    active_users    bigint      NOT NULL DEFAULT 0,
    active_sessions bigint      NOT NULL DEFAULT 0,
    counted_at      timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO counts DEFAULT VALUES;
