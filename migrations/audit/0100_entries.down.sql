DROP TABLE entries;
DROP FUNCTION refuse_change();
