-- What is due, as much of it whatever the number of people: round :round.
SET session_replication_role = replica;
SET search_path = identity;
CREATE OR REPLACE FUNCTION pg_temp.old(kind text, n bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$ SELECT sha256(convert_to('due' || kind || :round || '/' || n, 'UTF8')) $$;
CREATE TEMP TABLE due AS
SELECT n, id AS user_id, now() - interval '100 days' AS long_ago FROM (
    SELECT id, row_number() OVER (ORDER BY id) AS n FROM users WHERE id < '00000400-0000-7000-8001-000000000000') AS first
WHERE n <= 1000;

INSERT INTO sign_in_attempts (account, failed, in_flight, touched_at) SELECT pg_temp.old('account', n), 0, '{}', long_ago FROM due;
INSERT INTO address_attempts (bucket, taken_at, idle_at) SELECT pg_temp.old('bucket', n), ARRAY[long_ago], long_ago FROM due;
INSERT INTO failing_addresses (address, since, accounts, crossed)
SELECT pg_temp.old('failing', n), long_ago, ARRAY[pg_temp.old('account', n)], false FROM due;
INSERT INTO sign_in_places (user_id, place, last_seen_at) SELECT user_id, pg_temp.old('place', n), now() - interval '1000 days' FROM due;
INSERT INTO email_codes (id, user_id, purpose, code_hash, created_at, expires_at)
SELECT gen_random_uuid(), user_id, 'verify_email', pg_temp.old('code', n), long_ago, long_ago + interval '1 minute' FROM due;
INSERT INTO password_resets (hash, user_id, occasion, address_hash, created_at, expires_at)
SELECT pg_temp.old('reset', n), user_id, 'forgotten', pg_temp.old('address', n), long_ago, long_ago + interval '1 hour' FROM due;
INSERT INTO challenges (hash, kind, user_id, password, created_at, expires_at)
SELECT pg_temp.old('challenge', n), 'second_factor', user_id, pg_temp.old('password', n), long_ago, long_ago + interval '1 minute' FROM due;
INSERT INTO login_history (id, action, success, failure_reason, created_at)
SELECT gen_random_uuid(), 'login', false, 'user_not_found', long_ago FROM due;
INSERT INTO auth_sessions (sid, kind, user_id, created_at, last_seen_at, expires_at_idle, expires_at_abs)
SELECT gen_random_uuid(), 'user', user_id, long_ago, long_ago, long_ago + interval '7 days', long_ago + interval '30 days' FROM due;
INSERT INTO refresh_tokens (hash, sid, issued_at, expires_at)
SELECT sha256(convert_to(sid::text, 'UTF8')), sid, created_at, expires_at_idle FROM auth_sessions WHERE expires_at_abs < now() - interval '60 days';
INSERT INTO refresh_tokens (hash, sid, parent_hash, issued_at, expires_at, consumed_at, grace_pair_sealed, grace_until)
SELECT pg_temp.old('refresh', n), s.sid, NULL, long_ago, now() + interval '1 day', long_ago, 'sealed', long_ago
FROM due JOIN LATERAL (SELECT sid FROM auth_sessions a WHERE a.user_id = due.user_id AND a.expires_at_abs > now() LIMIT 1) AS s ON true;
UPDATE credentials SET created_at = now() - interval '2 days'
WHERE id IN (SELECT id FROM credentials WHERE confirmed_at IS NULL AND created_at > now() - interval '1 day' ORDER BY id LIMIT 150);
UPDATE pending_revocations SET due_at = now() WHERE sid IN (SELECT sid FROM pending_revocations WHERE due_at > now() ORDER BY sid LIMIT 250);
UPDATE pending_claims SET due_at = now() WHERE user_id IN (SELECT user_id FROM pending_claims WHERE due_at > now() ORDER BY user_id LIMIT 150);
UPDATE mail_queue SET due_at = now() WHERE id IN (SELECT id FROM mail_queue WHERE due_at > now() + interval '1 hour' ORDER BY id LIMIT 20);
UPDATE erasures SET done_at = NULL, told_at = now() + interval '1 hour' WHERE id IN (SELECT id FROM erasures WHERE done_at IS NOT NULL ORDER BY id LIMIT 3);
DROP TABLE due;
