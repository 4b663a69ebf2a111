DELETE FROM challenges WHERE kind = 'oidc';
ALTER TABLE challenges DROP CONSTRAINT challenges_name_their_user;
ALTER TABLE challenges ADD CONSTRAINT challenges_name_their_user
    CHECK (kind = 'passkey_sign_in' OR user_id IS NOT NULL);
ALTER TABLE challenges DROP CONSTRAINT challenges_kind_check;
ALTER TABLE challenges ADD CONSTRAINT challenges_kind_check
    CHECK (kind IN ('second_factor', 'passkey_new', 'passkey_sign_in'));
DELETE FROM credentials WHERE kind = 'oidc';
ALTER TABLE credentials DROP CONSTRAINT credentials_oidc_key;
ALTER TABLE credentials DROP CONSTRAINT credentials_kind_check;
ALTER TABLE credentials ADD CONSTRAINT credentials_kind_check CHECK (kind IN ('totp', 'recovery', 'passkey'));
