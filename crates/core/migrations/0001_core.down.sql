DROP TABLE stream_epochs;
DROP TABLE idempotency;
DROP TABLE timers;
DROP TABLE inbox;
DROP TABLE outbox_archive;
DROP TABLE outbox;
