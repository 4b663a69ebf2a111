-- Accounts at OpenID providers are credentials: external_key is the keyed hash of (issuer, subject), so an account there
-- signs in to one account here; public says which provider and issuer it is, name what people call the provider.
ALTER TABLE credentials DROP CONSTRAINT credentials_kind_check;
ALTER TABLE credentials ADD CONSTRAINT credentials_kind_check
    CHECK (kind IN ('totp', 'recovery', 'passkey', 'oidc'));
ALTER TABLE credentials ADD CONSTRAINT credentials_oidc_key CHECK (kind <> 'oidc' OR octet_length(external_key) = 32);

-- A sign-in that is under way at a provider waits as a challenge. It names a user only when it is to link an identity.
ALTER TABLE challenges DROP CONSTRAINT challenges_kind_check;
ALTER TABLE challenges ADD CONSTRAINT challenges_kind_check
    CHECK (kind IN ('second_factor', 'passkey_new', 'passkey_sign_in', 'oidc'));
ALTER TABLE challenges DROP CONSTRAINT challenges_name_their_user;
ALTER TABLE challenges ADD CONSTRAINT challenges_name_their_user
    CHECK (kind IN ('passkey_sign_in', 'oidc') OR user_id IS NOT NULL);
