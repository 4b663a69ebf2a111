DROP INDEX outbox_archive_key;
