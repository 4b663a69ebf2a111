-- What mail, renewals and quiet hours need to know of a person (architecture §13), and claims that changed.
ALTER TABLE users
    ADD COLUMN locale    text NOT NULL DEFAULT 'en' CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$'),
    ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC' CHECK (char_length(time_zone) BETWEEN 1 AND 64);

-- Users whose older tokens are void, which the bucket `revoked` may not know yet. Written with the change, deleted when
-- the bucket has it.
CREATE TABLE pending_claims (
    user_id uuid        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    uv      bigint      NOT NULL,
    due_at  timestamptz NOT NULL
);
CREATE INDEX pending_claims_due_at ON pending_claims (due_at);
