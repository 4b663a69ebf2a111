DROP VIEW factors;
