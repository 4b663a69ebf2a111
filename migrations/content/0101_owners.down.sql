DROP INDEX assets_owner;
DROP INDEX uploads_owner;
