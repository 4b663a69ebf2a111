DROP TABLE lock_letters;
DROP TABLE sign_in_places;
DROP TABLE failing_addresses;
