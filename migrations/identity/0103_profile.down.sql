DROP TABLE pending_claims;
ALTER TABLE users DROP COLUMN time_zone, DROP COLUMN locale;
