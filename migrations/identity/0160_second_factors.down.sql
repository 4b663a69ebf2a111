ALTER TABLE auth_sessions DROP COLUMN auth_time;
DROP TABLE challenges;
DROP TABLE credentials;
