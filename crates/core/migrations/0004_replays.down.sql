DROP INDEX audit_private_nobodys;
ALTER TABLE idempotency DROP COLUMN changed;
