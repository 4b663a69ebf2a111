-- Uploads and the assets they become. Runs under search_path = content.

CREATE TABLE uploads (
    id         uuid        PRIMARY KEY,
    owner      uuid        NOT NULL,
    -- as the owner called it, without folders and invisible characters
    file_name  text        NOT NULL CHECK (char_length(file_name) BETWEEN 1 AND 255),
    mime       text        NOT NULL,
    -- where the whole file will stand in the object store
    path       text        NOT NULL UNIQUE,
    length     bigint      NOT NULL CHECK (length BETWEEN 1 AND 8589934592),
    "offset"   bigint      NOT NULL DEFAULT 0,
    state      text        NOT NULL CHECK (state IN ('open', 'complete')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT uploads_path CHECK (path ~ ('^media/' || id || '/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$')),
    CONSTRAINT uploads_offset_within CHECK ("offset" BETWEEN 0 AND length),
    CONSTRAINT uploads_complete_is_whole CHECK (state = 'open' OR "offset" = length)
);
CREATE INDEX uploads_expiry ON uploads (expires_at) WHERE state = 'open';

-- The chunks as they lie in the object store.
CREATE TABLE upload_parts (
    upload_id uuid   NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    starts_at bigint NOT NULL CHECK (starts_at >= 0),
    bytes     bigint NOT NULL CHECK (bytes > 0),
    name      text   NOT NULL CHECK (name ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$'),
    PRIMARY KEY (upload_id, starts_at),
    CONSTRAINT upload_parts_name UNIQUE (upload_id, name)
);

-- An asset has the id of the upload that it was.
CREATE TABLE assets (
    id         uuid        PRIMARY KEY REFERENCES uploads (id),
    owner      uuid        NOT NULL,
    file_name  text        NOT NULL,
    mime       text        NOT NULL,
    size       bigint      NOT NULL CHECK (size > 0),
    sha256     text        NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    path       text        NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
