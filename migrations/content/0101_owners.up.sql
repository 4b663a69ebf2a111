-- Erasure looks for what somebody uploaded.
CREATE INDEX uploads_owner ON uploads (owner);
CREATE INDEX assets_owner ON assets (owner);
