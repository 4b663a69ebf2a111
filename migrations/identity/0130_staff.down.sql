DROP TABLE mass_revocations;
DROP TRIGGER users_keep_an_admin_deleted ON users;
DROP TRIGGER users_keep_an_admin_updated ON users;
DROP FUNCTION keep_an_admin();
ALTER TABLE users DROP CONSTRAINT users_role_is_the_highest;
DROP INDEX users_name_prefix;
DROP INDEX users_email_prefix;
DROP INDEX users_page;
