-- Erasure deletes a person's published facts by their key.
CREATE INDEX outbox_archive_key ON outbox_archive (key);
