-- The personal part of audit entries. The record itself holds only its hash, so that erasing a person's rows here leaves
-- the chain whole.
CREATE TABLE audit_private (
    entry_id uuid  PRIMARY KEY,
    -- whom the entry is about
    user_id  uuid,
    address  text  CHECK (char_length(address) <= 45),
    agent    text  CHECK (char_length(agent) <= 500),
    salt     bytea NOT NULL CHECK (octet_length(salt) = 16)
);
CREATE INDEX audit_private_user_id ON audit_private (user_id);
