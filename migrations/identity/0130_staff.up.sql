-- What staff do with accounts.

-- The list of accounts, whatever it is filtered by: one short scan per role and state, newest first.
CREATE INDEX users_page ON users (role, is_active, created_at, id) WHERE status <> 'deleted';
-- how an address or a name begins
CREATE INDEX users_email_prefix ON users (email_norm text_pattern_ops) WHERE status <> 'deleted';
CREATE INDEX users_name_prefix ON users (lower(name) text_pattern_ops) WHERE status <> 'deleted';

ALTER TABLE users ADD CONSTRAINT users_role_is_the_highest CHECK (
    role = CASE
        WHEN 'admin' = ANY (roles) THEN 'admin'
        WHEN 'auditor' = ANY (roles) THEN 'auditor'
        WHEN 'operator' = ANY (roles) THEN 'operator'
        WHEN 'moderator' = ANY (roles) THEN 'moderator'
        ELSE 'user'
    END);

-- Somebody has to be admin. Whoever takes an admin away waits for the others who do, and then looks: the look is a
-- statement of its own, so it sees what they have committed.
CREATE FUNCTION keep_an_admin() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('identity.keep_an_admin', 0));
    IF NOT EXISTS (SELECT FROM users WHERE role = 'admin' AND status = 'active') THEN
        RAISE EXCEPTION 'the last active admin can''t be removed'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'users_keep_an_admin';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER users_keep_an_admin_updated AFTER UPDATE ON users FOR EACH ROW
    WHEN (OLD.role = 'admin' AND OLD.status = 'active' AND (NEW.role <> 'admin' OR NEW.status <> 'active'))
    EXECUTE FUNCTION keep_an_admin();
CREATE TRIGGER users_keep_an_admin_deleted AFTER DELETE ON users FOR EACH ROW
    WHEN (OLD.role = 'admin' AND OLD.status = 'active')
    EXECUTE FUNCTION keep_an_admin();

-- Orders to end everybody's sessions, carried out in batches by whichever process has the time.
CREATE TABLE mass_revocations (
    id           uuid        PRIMARY KEY,
    -- sessions that began before this moment end
    began_before timestamptz NOT NULL,
    asked_by     uuid        NOT NULL,
    asked_at     timestamptz NOT NULL,
    done_at      timestamptz
);
CREATE INDEX mass_revocations_open ON mass_revocations (asked_at) WHERE done_at IS NULL;
