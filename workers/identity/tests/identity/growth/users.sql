-- People :from to :to with what they leave behind, as much for each: nine in ten are learners, every tenth is called Kim.
-- What is sealed or hashed is never opened here, so it is anything of the right length.
SET session_replication_role = replica;
SET search_path = identity;
SET jit = off;

-- ids grow with time, as those of version 7 do
CREATE OR REPLACE FUNCTION pg_temp.made(kind int, n bigint, part int DEFAULT 0) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8' || lpad(to_hex(kind), 3, '0') || '-' || lpad(to_hex(part), 12, '0'))::uuid $$;
CREATE OR REPLACE FUNCTION pg_temp.hash(kind text, n bigint, part int DEFAULT 0) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$ SELECT sha256(convert_to(kind || n || '/' || part, 'UTF8')) $$;
CREATE OR REPLACE FUNCTION pg_temp.since(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT now() - interval '400 days' + n * interval '5 minutes' $$;

INSERT INTO users (id, email, email_norm, password_hash, name, role, roles, status, is_verified, created_at, updated_at, last_login_at)
SELECT pg_temp.made(1, n), md5(n::text) || '@example.org', md5(n::text) || '@example.org',
       CASE WHEN n % 100 <> 9 THEN '$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$' || md5(n::text) END,
       (ARRAY['Kim', 'Lee', 'Park', 'Choi', 'Jung', 'Kang', 'Cho', 'Yoon', 'Jang', 'Lim'])[n % 10 + 1] || ' ' || md5('name' || n),
       role, CASE role WHEN 'user' THEN '{user}' ELSE ARRAY['user', role] END,
       CASE WHEN n % 100 = 9 THEN 'deleted' WHEN n % 50 = 7 THEN 'disabled' ELSE 'active' END,
       n % 3 > 0, pg_temp.since(n), pg_temp.since(n), now() - interval '1 day'
FROM generate_series(:from, :to) AS n,
     LATERAL (SELECT CASE n % 500 WHEN 0 THEN 'moderator' WHEN 1 THEN 'operator' WHEN 2 THEN 'auditor' WHEN 3 THEN 'admin'
                          ELSE 'user' END) AS r (role);

-- three sessions each, two of them alive, and a family of two refresh tokens each
INSERT INTO auth_sessions (sid, kind, user_id, created_at, last_seen_at, expires_at_idle, expires_at_abs, ip_last, user_agent,
                           device_name, amr, revoked_at, revoke_reason)
SELECT pg_temp.made(2, n, part), 'user', pg_temp.made(1, n), at, at, at + interval '29 days', at + interval '30 days', '203.0.113.7',
       'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0', 'Firefox on Linux', '{pwd}',
       CASE WHEN part = 0 THEN at + interval '1 hour' END, CASE WHEN part = 0 THEN 'logout' END
FROM generate_series(:from, :to) AS n, generate_series(0, 2) AS part,
     LATERAL (SELECT now() - (n % 400 + part) * interval '1 hour') AS s (at);

INSERT INTO refresh_tokens (hash, sid, parent_hash, issued_at, expires_at, consumed_at)
SELECT pg_temp.hash('refresh', n, part), pg_temp.made(2, n, part / 2),
       CASE WHEN part % 2 > 0 THEN pg_temp.hash('refresh', n, part - 1) END,
       now() - interval '1 hour', now() + interval '6 days', CASE WHEN part % 2 = 0 THEN now() - interval '1 hour' END
FROM generate_series(:from, :to) AS n, generate_series(0, 5) AS part;

INSERT INTO login_history (id, user_id, action, ip, user_agent, success, failure_reason, created_at)
SELECT pg_temp.made(3, n, part), CASE WHEN part < 4 THEN pg_temp.made(1, n) END, 'login', '203.0.113.7', 'Firefox', part < 3,
       CASE WHEN part >= 3 THEN 'invalid_password' END,
       -- a guess at an address that nobody has is kept for a day
       CASE WHEN part < 4 THEN now() - (n % 9000) * interval '1 hour' - part * interval '1 day'
            ELSE now() - (n % 1000) * interval '1 minute' END
FROM generate_series(:from, :to) AS n, generate_series(0, 4) AS part;

INSERT INTO email_codes (id, user_id, purpose, code_hash, created_at, expires_at, consumed_at)
SELECT pg_temp.made(4, n), pg_temp.made(1, n), 'verify_email', pg_temp.hash('code', n), now(), now() + interval '10 minutes', now()
FROM generate_series(:from, :to) AS n;

INSERT INTO password_resets (hash, user_id, occasion, address_hash, created_at, expires_at)
SELECT pg_temp.hash('reset', n), pg_temp.made(1, n), 'forgotten', pg_temp.hash('address', n), now() - interval '2 hours',
       now() + interval '1 hour'
FROM generate_series(:from, :to) AS n WHERE n % 4 = 0;

INSERT INTO password_history (user_id, hash, created_at)
SELECT pg_temp.made(1, n), md5(n::text || part), now() - part * interval '1 day'
FROM generate_series(:from, :to) AS n, generate_series(1, 1) AS part;

INSERT INTO sign_in_attempts (account, failed, in_flight, last_failed_at, locked_until, touched_at)
SELECT pg_temp.hash('account', n), n % 6, '{}', CASE WHEN n % 6 > 0 THEN now() END,
       CASE WHEN n % 6 = 5 THEN now() + interval '1 hour' END, now()
FROM generate_series(:from, :to) AS n;

INSERT INTO address_attempts (bucket, taken_at, idle_at)
SELECT pg_temp.hash('bucket', n), ARRAY[now()], now() + interval '1 hour' FROM generate_series(:from, :to) AS n;

INSERT INTO failing_addresses (address, since, accounts, crossed)
SELECT pg_temp.hash('failing', n), now(), ARRAY[pg_temp.hash('account', n)], false
FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;

INSERT INTO sign_in_places (user_id, place, last_seen_at)
SELECT pg_temp.made(1, n), pg_temp.hash('place', n, part), now() - interval '1 day'
FROM generate_series(:from, :to) AS n, generate_series(1, 2) AS part;

INSERT INTO lock_letters (user_id, written_at)
SELECT pg_temp.made(1, n), now() FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;

INSERT INTO credentials (id, user_id, kind, external_key, secret_sealed, public, name, created_at, confirmed_at)
SELECT pg_temp.made(5, n, part), pg_temp.made(1, n), kind,
       CASE WHEN kind <> 'totp' THEN pg_temp.hash('credential', n, part) END, CASE kind WHEN 'totp' THEN pg_temp.hash('secret', n) END,
       CASE kind WHEN 'passkey' THEN '{}'::jsonb END, CASE kind WHEN 'passkey' THEN 'A key' END, now(), now()
FROM generate_series(:from, :to) AS n, generate_series(0, 4) AS part,
     LATERAL (SELECT CASE part WHEN 0 THEN 'totp' WHEN 1 THEN 'passkey' ELSE 'recovery' END) AS k (kind)
WHERE n % 5 = 0;
-- begun just now and not confirmed
INSERT INTO credentials (id, user_id, kind, secret_sealed, created_at)
SELECT pg_temp.made(6, n), pg_temp.made(1, n), 'totp', pg_temp.hash('secret', n), now()
FROM generate_series(:from, :to) AS n WHERE n % 5 = 1;

INSERT INTO challenges (hash, kind, user_id, password, created_at, expires_at)
SELECT pg_temp.hash('challenge', n), 'second_factor', pg_temp.made(1, n), pg_temp.hash('password', n), now(), now() + interval '1 hour'
FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;

-- told or delivered later
INSERT INTO mail_queue (id, sealed, created_at, due_at)
SELECT pg_temp.made(7, n), pg_temp.hash('letter', n), now(), now() + interval '1 day' FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;
INSERT INTO pending_revocations (sid, due_at)
SELECT pg_temp.made(2, n, 0), now() + interval '1 day' FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;
INSERT INTO pending_claims (user_id, uv, due_at)
SELECT pg_temp.made(1, n), 2, now() + interval '1 day' FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;

INSERT INTO erasures (id, user_id, requested_at, told_at, done_at)
SELECT pg_temp.made(8, n), pg_temp.made(1, n), now() - interval '2 days', now() - interval '2 days', now() - interval '1 day'
FROM generate_series(:from, :to) AS n WHERE n % 3 = 0;
INSERT INTO erasure_receipts (erasure_id, service, erased, received_at)
SELECT pg_temp.made(8, n), service, '{}', now()
FROM generate_series(:from, :to) AS n, unnest(ARRAY['courses', 'content', 'playback']) AS service WHERE n % 3 = 0;

INSERT INTO audit_private (entry_id, user_id, address, salt)
SELECT pg_temp.made(9, n, part), pg_temp.made(1, n), '203.0.113.7', substring(pg_temp.hash('salt', n) FOR 16)
FROM generate_series(:from, :to) AS n, generate_series(1, 1) AS part;
INSERT INTO outbox_archive (seq, id, stream, subject, key, headers, payload, created_at, published_at)
SELECT -(n * 2 + part), pg_temp.made(10, n, part), 'EVENTS', 'evt.identity.v1.user.logged_in.' || pg_temp.made(1, n),
       pg_temp.made(1, n)::text, '{}', '{}', now() - interval '1 day', now() - interval '1 day'
FROM generate_series(:from, :to) AS n, generate_series(0, 1) AS part;
INSERT INTO inbox (consumer, fact_id, handled_at)
SELECT 'identity', pg_temp.made(11, n), now() FROM generate_series(:from, :to) AS n;
INSERT INTO idempotency (actor, request, key, fingerprint, answer, created_at)
SELECT pg_temp.made(1, n), 'svc.identity.v1.users.me_update', 'once', pg_temp.hash('print', n), '{}', now()
FROM generate_series(:from, :to) AS n;
