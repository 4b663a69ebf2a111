-- Which rows a key-encryption key still holds: the key's id is in bytes 2 to 9 of what is sealed.
CREATE INDEX users_phone_sealed_under ON users (substring(phone_sealed FROM 2 FOR 8), id)
    WHERE phone_sealed IS NOT NULL;
CREATE INDEX users_business_number_sealed_under ON users (substring(business_number_sealed FROM 2 FOR 8), id)
    WHERE business_number_sealed IS NOT NULL;
CREATE INDEX credentials_sealed_under ON credentials (substring(secret_sealed FROM 2 FOR 8), id)
    WHERE secret_sealed IS NOT NULL;
