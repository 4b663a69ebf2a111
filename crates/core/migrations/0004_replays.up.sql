-- What was done under a key changed these entities, `<id> <version>` in a line each: who repeats the answer tells it again.
-- Empty of keys that an older process used.
ALTER TABLE idempotency ADD COLUMN changed text;
-- What is about nobody is deleted after a while; what is about people is not looked at for that.
CREATE INDEX audit_private_nobodys ON audit_private (entry_id) WHERE user_id IS NULL;
