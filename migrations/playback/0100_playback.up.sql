-- Playback sessions, their event log, what was watched. Runs under search_path = playback.

-- Course sessions as the facts of courses tell of them. Neither asset nor URL: known to exist, the video is not yet known.
CREATE TABLE lessons (
    course_session_id uuid             PRIMARY KEY,
    course_id         uuid             NOT NULL,
    position          integer          NOT NULL CHECK (position > 0),
    duration_ms       bigint           NOT NULL CHECK (duration_ms BETWEEN 1 AND 86400000),
    asset_id          uuid,
    video_url         text,
    required          boolean          NOT NULL,
    preview           boolean          NOT NULL,
    threshold         double precision NOT NULL CHECK (threshold > 0 AND threshold <= 1),
    version           bigint           NOT NULL CHECK (version > 0),
    CHECK (asset_id IS NULL OR video_url IS NULL)
);
CREATE INDEX lessons_course ON lessons (course_id, position);

-- Courses that everyone may see: only their previews are open, and their lessons are known here in full.
CREATE TABLE published_courses (
    course_id    uuid        PRIMARY KEY,
    published_at timestamptz NOT NULL
);

-- Where the files of uploaded videos are.
CREATE TABLE assets (
    asset_id uuid PRIMARY KEY,
    path     text NOT NULL CHECK (path <> '')
);

-- One row per user, to be locked: streams are counted and courses completed one after the other.
CREATE TABLE viewers (
    user_id uuid PRIMARY KEY
);

-- One viewing of one course session. Source, length and threshold are those of its start: a change of the course never
-- breaks a running viewing.
CREATE TABLE playback_sessions (
    id                uuid             PRIMARY KEY,
    user_id           uuid             NOT NULL REFERENCES viewers,
    course_id         uuid             NOT NULL,
    course_session_id uuid             NOT NULL,
    media_path        text,
    video_url         text,
    duration_ms       bigint           NOT NULL CHECK (duration_ms > 0),
    threshold         double precision NOT NULL CHECK (threshold > 0 AND threshold <= 1),
    client            jsonb,
    started_at        timestamptz      NOT NULL,
    -- the last batch of events that came
    last_seen_at      timestamptz      NOT NULL CHECK (last_seen_at >= started_at),
    media_issued_at   timestamptz      NOT NULL,
    accepted_seq      bigint           NOT NULL DEFAULT 0 CHECK (accepted_seq >= 0),
    ended_at          timestamptz,
    end_reason        text             CHECK (end_reason IN ('terminated', 'abandoned')),
    stop_position_ms  bigint           CHECK (stop_position_ms >= 0),
    -- how far the events are folded, and the player as of that event
    last_seq          bigint           NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    player            text             NOT NULL DEFAULT 'initialized'
                      CHECK (player IN ('initialized', 'playing', 'paused', 'stalled', 'ended')),
    position_ms       bigint           NOT NULL DEFAULT 0,
    rate              double precision NOT NULL DEFAULT 1 CHECK (rate BETWEEN 0.25 AND 4),
    last_client_at    timestamptz,
    last_server_at    timestamptz      NOT NULL,
    spent_ms          bigint           NOT NULL DEFAULT 0 CHECK (spent_ms >= 0),
    media_ms          bigint           NOT NULL DEFAULT 0 CHECK (media_ms >= 0),
    -- events wait behind a missing one since then
    gap_since         timestamptz,
    CHECK ((media_path IS NULL) <> (video_url IS NULL)),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    CHECK (position_ms BETWEEN 0 AND duration_ms)
) WITH (fillfactor = 70);
CREATE INDEX playback_sessions_mine ON playback_sessions (user_id, id DESC);
CREATE INDEX playback_sessions_open ON playback_sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX playback_sessions_gaps ON playback_sessions (gap_since) WHERE gap_since IS NOT NULL;

-- The event log. A row never changes: the first event with a number is the one that counts.
CREATE TABLE playback_events (
    playback_session_id uuid             NOT NULL REFERENCES playback_sessions,
    seq                 bigint           NOT NULL CHECK (seq > 0),
    kind                text             NOT NULL,
    position_ms         bigint           NOT NULL CHECK (position_ms >= 0),
    position_to_ms      bigint           CHECK (position_to_ms >= 0),
    rate                double precision NOT NULL CHECK (rate BETWEEN 0.25 AND 4),
    client_at           timestamptz      NOT NULL,
    server_at           timestamptz      NOT NULL,
    -- when it happened by our clock: as long before its batch came as the device says
    occurred_at         timestamptz      NOT NULL CHECK (occurred_at <= server_at),
    data                jsonb,
    PRIMARY KEY (playback_session_id, seq)
);

-- Events that were waited for in vain; if they come later they are logged but not credited.
CREATE TABLE playback_gaps (
    playback_session_id uuid        NOT NULL REFERENCES playback_sessions,
    from_seq            bigint      NOT NULL,
    through_seq         bigint      NOT NULL CHECK (through_seq >= from_seq),
    skipped_at          timestamptz NOT NULL,
    PRIMARY KEY (playback_session_id, from_seq)
);

-- Which parts of a video a user has watched.
CREATE TABLE watched (
    user_id           uuid           NOT NULL,
    course_session_id uuid           NOT NULL,
    course_id         uuid           NOT NULL,
    segments          int8multirange NOT NULL DEFAULT '{}',
    unique_ms         bigint         NOT NULL DEFAULT 0,
    duration_ms       bigint         NOT NULL,
    resume_ms         bigint         NOT NULL CHECK (resume_ms >= 0),
    resume_at         timestamptz    NOT NULL,
    completed_at      timestamptz,
    PRIMARY KEY (user_id, course_session_id),
    CHECK (unique_ms BETWEEN 0 AND duration_ms)
);

-- Courses of which a user has completed all required sessions; never undone.
CREATE TABLE course_completions (
    user_id      uuid        NOT NULL,
    course_id    uuid        NOT NULL,
    completed_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, course_id)
);

-- When a user was watching, by our clock, whatever the number of tabs; days in UTC.
CREATE TABLE user_wall (
    user_id   uuid           NOT NULL,
    day       date           NOT NULL,
    intervals tstzmultirange NOT NULL,
    wall_ms   bigint         NOT NULL CHECK (wall_ms BETWEEN 0 AND 86400000),
    PRIMARY KEY (user_id, day)
);
