DROP TABLE address_attempts;
