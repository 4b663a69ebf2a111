DROP TABLE assets;
DROP TABLE upload_parts;
DROP TABLE uploads;
