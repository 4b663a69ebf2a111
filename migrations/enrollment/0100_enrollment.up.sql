-- Published courses as enrolment needs them: followed from facts, asked for once when a fact is still on its way.
CREATE TABLE courses (
    id          uuid   PRIMARY KEY,
    title       text   NOT NULL,
    -- none: free
    price_minor bigint CHECK (price_minor > 0),
    currency    text   CHECK (currency ~ '^[A-Z]{3}$'),
    -- a late fact never overwrites a newer state
    version     bigint NOT NULL CHECK (version > 0),
    CHECK ((price_minor IS NULL) = (currency IS NULL))
);

CREATE TABLE enrollments (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL,
    course_id   uuid        NOT NULL,
    status      text        NOT NULL CHECK (status IN ('active', 'completed', 'suspended', 'cancelled')),
    enrolled_at timestamptz NOT NULL,
    version     bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    UNIQUE (user_id, course_id)
);
CREATE INDEX enrollments_of_user ON enrollments (user_id, id);

-- Why a user may use something. Access is any grant in force; losing one source never removes another.
CREATE TABLE access_grants (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL,
    scope_type  text        NOT NULL CHECK (scope_type IN ('catalog', 'course')),
    scope_id    uuid,
    source_type text        NOT NULL CHECK (source_type IN ('order_line', 'subscription', 'reward_grant', 'admin', 'free')),
    source_id   uuid        NOT NULL,
    starts_at   timestamptz NOT NULL,
    -- none: for ever
    ends_at     timestamptz,
    -- its subscription renews at ends_at: it stays in force until that timer has rung
    renews      boolean     NOT NULL DEFAULT false,
    revoked_at  timestamptz,
    CHECK (ends_at IS NULL OR ends_at > starts_at),
    CHECK (NOT renews OR (source_type = 'subscription' AND ends_at IS NOT NULL)),
    CHECK ((scope_type = 'catalog') = (scope_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (source_type, source_id, scope_type, scope_id)
);
CREATE INDEX access_grants_of_user ON access_grants (user_id, scope_id);

-- The one definition of "in force".
CREATE FUNCTION in_force(starts_at timestamptz, ends_at timestamptz, renews boolean, revoked_at timestamptz, at timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN revoked_at IS NULL AND starts_at <= at AND (ends_at IS NULL OR renews OR ends_at > at);

-- A change makes a new version; subscriptions keep theirs.
CREATE TABLE plans (
    id          uuid        NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    name        text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    price_minor bigint      NOT NULL CHECK (price_minor >= 0),
    currency    text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- ISO 8601 durations
    period      text        NOT NULL,
    trial       text,
    grace       text,
    -- "catalog" or {"courses": [id, …]}
    scope       jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (id, version)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are immutable', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER plans_are_immutable BEFORE UPDATE OR DELETE ON plans
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE subscriptions (
    id                   uuid        PRIMARY KEY,
    user_id              uuid        NOT NULL,
    plan_id              uuid        NOT NULL,
    plan_version         bigint      NOT NULL,
    status               text        NOT NULL CHECK (status IN ('trialing', 'active', 'canceled', 'expired')),
    period_index         integer     NOT NULL CHECK (period_index >= 0),
    period_start         timestamptz NOT NULL,
    period_end           timestamptz NOT NULL,
    -- paid periods are counted from here, so that the day of the month does not drift: this is where period
    -- anchor_index begins (0; after a trial 1)
    anchor               timestamptz NOT NULL,
    anchor_index         integer     NOT NULL CHECK (anchor_index >= 0),
    auto_renew           boolean     NOT NULL,
    -- its user cancelled it; told apart from a subscription that was never to renew
    cancel_at_period_end boolean     NOT NULL DEFAULT false,
    created_at           timestamptz NOT NULL,
    ended_at             timestamptz,
    version              bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    CHECK (period_start < period_end),
    CHECK (NOT (cancel_at_period_end AND auto_renew)),
    CHECK ((ended_at IS NOT NULL) = (status IN ('canceled', 'expired'))),
    FOREIGN KEY (plan_id, plan_version) REFERENCES plans (id, version)
);
CREATE UNIQUE INDEX subscriptions_one_live ON subscriptions (user_id, plan_id) WHERE status IN ('trialing', 'active');
CREATE INDEX subscriptions_of_user ON subscriptions (user_id, id);

-- Every period that ever began: none twice, no two at the same moment.
CREATE TABLE subscription_periods (
    subscription_id uuid        NOT NULL REFERENCES subscriptions (id),
    period_index    integer     NOT NULL CHECK (period_index >= 0),
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, period_index),
    UNIQUE (subscription_id, starts_at),
    CHECK (starts_at < ends_at)
);
