-- The catalogue. Runs under search_path = courses.

CREATE TABLE courses (
    id              uuid        PRIMARY KEY,
    title           text        NOT NULL CHECK (char_length(title) BETWEEN 1 AND 200),
    description     text        NOT NULL CHECK (char_length(description) <= 20000),
    status          text        NOT NULL CHECK (status IN ('draft', 'published', 'archived')),
    language        text        NOT NULL CHECK (language ~ '^[A-Za-z0-9]{2,8}(-[A-Za-z0-9]{2,8})*$'),
    instructor_name text        CHECK (char_length(instructor_name) BETWEEN 1 AND 100),
    instructor_bio  text        CHECK (char_length(instructor_bio) <= 5000),
    -- minor units; a free course has neither price nor currency
    price_minor     bigint      CHECK (price_minor > 0),
    currency        text        CHECK (currency ~ '^[A-Z]{3}$'),
    -- sums over course_sessions, written under this row's lock together with them: reading a course is reading one row
    session_count   bigint      NOT NULL DEFAULT 0 CHECK (session_count >= 0),
    duration_ms     bigint      NOT NULL DEFAULT 0 CHECK (duration_ms >= 0),
    created_by      uuid        NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    published_at    timestamptz,
    version         bigint      NOT NULL CHECK (version > 0),
    CONSTRAINT courses_price_has_currency CHECK ((price_minor IS NULL) = (currency IS NULL)),
    CONSTRAINT courses_bio_has_name CHECK (instructor_bio IS NULL OR instructor_name IS NOT NULL),
    CONSTRAINT courses_published_since CHECK ((status = 'draft') = (published_at IS NULL)),
    CONSTRAINT courses_published_has_sessions CHECK (status <> 'published' OR session_count > 0)
);
-- the order of the list: drafts have no publication, they are listed by creation
CREATE INDEX courses_listed ON courses (status, (coalesce(published_at, created_at)) DESC, id DESC);

-- Users who teach a course: they may edit it.
CREATE TABLE course_instructors (
    course_id uuid NOT NULL REFERENCES courses (id) ON DELETE CASCADE,
    user_id   uuid NOT NULL,
    PRIMARY KEY (course_id, user_id)
);
CREATE INDEX course_instructors_user ON course_instructors (user_id);

-- What a course was at each version, and who made it so.
CREATE TABLE course_revisions (
    course_id uuid        NOT NULL REFERENCES courses (id) ON DELETE CASCADE,
    version   bigint      NOT NULL CHECK (version > 0),
    body      jsonb       NOT NULL,
    actor     uuid        NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (course_id, version)
);

CREATE TABLE course_sessions (
    id                   uuid             PRIMARY KEY,
    course_id            uuid             NOT NULL REFERENCES courses (id) ON DELETE CASCADE,
    position             integer          NOT NULL CHECK (position >= 1),
    title                text             NOT NULL CHECK (char_length(title) BETWEEN 1 AND 200),
    duration_ms          bigint           NOT NULL CHECK (duration_ms BETWEEN 1 AND 86400000),
    video_url            text             CHECK (video_url LIKE 'https://%' AND octet_length(video_url) <= 2000),
    -- an asset of content; checked by asking when the session is added
    asset_id             uuid,
    required             boolean          NOT NULL,
    preview              boolean          NOT NULL,
    -- a double like on the wire, so that what is answered is what was sent
    completion_threshold double precision NOT NULL CHECK (completion_threshold > 0 AND completion_threshold <= 1),
    version              bigint           NOT NULL CHECK (version > 0),
    created_at           timestamptz      NOT NULL,
    CONSTRAINT course_sessions_one_video CHECK ((video_url IS NULL) <> (asset_id IS NULL)),
    -- deferrable: a new order may pass through states in which two sessions share a place
    CONSTRAINT course_sessions_position UNIQUE (course_id, position) DEFERRABLE INITIALLY IMMEDIATE
);
