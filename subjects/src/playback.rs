//! Playback: playback sessions, beats, progress (`spec/learning.md`).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CourseId, CourseSessionId, PlaybackSessionId, UserId};
use crate::privacy::{ExportPlayback, PersonalData};
use crate::{Access, Page, Reply, facts, refusals, requests};

refusals! {
    /// How playback refuses (`spec/learning.md`, codes).
    PlaybackRefusal {
        /// No access to the course.
        NotEntitled = "PLAY_2301" 403 Forbidden "no access to this course",
        /// The subscription that gave access has ended.
        SubscriptionExpired = "PLAY_2302" 403 Forbidden "the subscription has expired",
        /// As many streams as the account may have; details list them.
        TooManyStreams = "PLAY_2304" 409 Conflict "too many streams at once",
        /// No such playback session, or someone else's.
        NotFound = "PLAY_2305" 404 NotFound "no such playback session",
        /// The playback session has ended.
        Closed = "PLAY_2306" 409 Conflict "the playback session has ended",
        /// A sequence number came again with other content.
        SeqConflict = "PLAY_2307" 409 Conflict "an event with this sequence number and other content was sent before",
        /// An event is out of range; details name each.
        EventInvalid = "PLAY_2308" 400 Invalid "an event is not valid",
        /// No such course session in this course.
        SessionNotFound = "COURSE_2006" 404 NotFound "no such course session",
    }
}

/// Seconds between heartbeats that clients keep while playing.
pub const HEARTBEAT_S: u32 = 10;

/// Most events in one batch.
pub const MAX_BATCH: usize = 200;

/// What the player did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum BeatKind {
    /// Playing began or went on.
    Play,
    /// Playing was paused.
    Pause,
    /// The playhead jumped to `position_to_ms`.
    Seek,
    /// The rate changed.
    Rate,
    /// Waiting for data.
    Buffer,
    /// Playing went on after waiting.
    Resume,
    /// The player failed.
    Error,
    /// Captions were switched.
    Caption,
    /// Full screen was switched.
    Fullscreen,
    /// Nothing happened; still playing or paused.
    Heartbeat,
    /// The video's end was reached.
    Ended,
    /// The viewer stopped.
    Stop,
}

/// One event of a player. Three clocks: `client_at` (device), `position_ms` (playhead), and the server's on arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// From 1 without gaps; an event keeps its number when it is sent again.
    #[garde(range(min = 1))]
    pub seq: i64,
    /// What happened.
    #[garde(skip)]
    pub kind: BeatKind,
    /// The playhead, milliseconds from the start.
    #[garde(range(min = 0))]
    pub position_ms: i64,
    /// Where a seek went.
    #[garde(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_to_ms: Option<i64>,
    /// Playing rate, 0.25 to 4.
    #[garde(range(min = 0.25, max = 4.0))]
    #[serde(default = "normal_rate")]
    pub rate: f64,
    /// The device's clock.
    #[garde(skip)]
    pub client_at: DateTime<Utc>,
    /// Anything the client wants to keep with it, at most 1 KiB as JSON.
    #[garde(custom(small_data))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// Start watching a course session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StartPlayback {
    /// The course.
    #[garde(skip)]
    pub course_id: CourseId,
    /// The course session.
    #[garde(skip)]
    pub session_id: CourseSessionId,
    /// What the client says of itself, at most 1 KiB as JSON.
    #[garde(custom(small_data))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<serde_json::Value>,
}

/// A playback session that was just started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybackStarted {
    /// The playback session's id.
    pub id: PlaybackSessionId,
    /// Where the viewer left off, milliseconds.
    pub resume_position_ms: i64,
    /// The signed URL of an uploaded video, or the external one.
    pub media_url: String,
    /// Seconds between heartbeats.
    pub heartbeat_s: u32,
}

impl Reply for PlaybackStarted {}

/// What the player did since the last batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SendBeats {
    /// The playback session.
    #[garde(skip)]
    pub id: PlaybackSessionId,
    /// 1 to 200 events, by sequence number.
    #[garde(length(min = 1, max = MAX_BATCH), dive)]
    pub events: Vec<Beat>,
}

/// The events are stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BeatsAccepted {
    /// The highest sequence number that was stored with this batch.
    pub accepted_through_seq: i64,
    /// A fresh media URL when the old one is past half its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_url: Option<String>,
}

impl Reply for BeatsAccepted {}

/// Stop watching.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StopPlayback {
    /// The playback session.
    #[garde(skip)]
    pub id: PlaybackSessionId,
    /// Where the playhead stands.
    #[garde(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_ms: Option<i64>,
}

/// One playback session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetPlayback {
    /// The playback session.
    #[garde(skip)]
    pub id: PlaybackSessionId,
}

/// The event log of one playback session, by sequence number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListBeats {
    /// The playback session.
    #[garde(skip)]
    pub id: PlaybackSessionId,
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The caller's playback sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListMyPlayback {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Where a playback session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum PlaybackState {
    /// Started, nothing played yet.
    Initialized,
    /// Playing.
    Playing,
    /// Paused.
    Paused,
    /// Waiting for data.
    Stalled,
    /// The video's end was reached.
    Ended,
    /// Stopped by the viewer.
    Terminated,
    /// No sign of life for 30 s.
    Abandoned,
}

/// One viewing of one course session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybackSession {
    /// The playback session's id.
    pub id: PlaybackSessionId,
    /// The course.
    pub course_id: CourseId,
    /// The course session.
    pub session_id: CourseSessionId,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Where it is in its life.
    pub state: PlaybackState,
    /// The highest sequence number of the event log without a gap.
    pub last_seq: i64,
    /// The playhead at that event, milliseconds.
    pub position_ms: i64,
    /// Media time credited to this viewing, milliseconds.
    pub media_ms: i64,
}

impl Reply for PlaybackSession {}

/// One row of the event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedBeat {
    /// The sequence number.
    pub seq: i64,
    /// What happened.
    pub kind: BeatKind,
    /// The playhead, milliseconds.
    pub position_ms: i64,
    /// Where a seek went.
    pub position_to_ms: Option<i64>,
    /// Playing rate.
    pub rate: f64,
    /// The device's clock.
    pub client_at: DateTime<Utc>,
    /// Our clock on arrival.
    pub server_at: DateTime<Utc>,
}

/// How far the caller is in a course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetProgress {
    /// The course.
    #[garde(skip)]
    pub course_id: CourseId,
}

/// Progress in a course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CourseProgress {
    /// The course.
    pub course_id: CourseId,
    /// Unique watched time of required sessions over their length, 0 to 1.
    pub progress: f64,
    /// Per course session, in order of the course.
    pub sessions: Vec<SessionProgress>,
}

impl Reply for CourseProgress {}

/// Progress in one course session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionProgress {
    /// The course session.
    pub session_id: CourseSessionId,
    /// Different milliseconds of the video that were watched.
    pub unique_ms: i64,
    /// `unique_ms` over the video's length, 0 to 1.
    pub progress: f64,
    /// Where to go on, milliseconds.
    pub resume_ms: i64,
    /// When the completion threshold was reached.
    pub completed_at: Option<DateTime<Utc>>,
}

requests! { PlaybackRefusal;
    /// Start watching a course session.
    "svc.playback.v1.sessions.start" Access::User, Unkeyed StartPlayback => PlaybackStarted;
    /// Send what the player did.
    "svc.playback.v1.sessions.events" Access::Owner, Unkeyed SendBeats => BeatsAccepted, shape { "events" => EventInvalid };
    /// Stop watching.
    "svc.playback.v1.sessions.stop" Access::Owner, Write StopPlayback => PlaybackSession;
    /// One playback session.
    "svc.playback.v1.sessions.get" Access::Owner, Read GetPlayback => PlaybackSession;
    /// The event log of a playback session.
    "svc.playback.v1.sessions.event_log" Access::Owner, Read ListBeats => Page<LoggedBeat>;
    /// The caller's playback sessions.
    "svc.playback.v1.sessions.mine" Access::User, Read ListMyPlayback => Page<PlaybackSession>;
    /// How far the caller is in a course.
    "svc.playback.v1.sessions.progress" Access::User, Read GetProgress => CourseProgress;
    /// What playback holds about the caller (GDPR Art. 20).
    "svc.playback.v1.privacy.export" Access::User, Read ExportPlayback => PersonalData;
}

facts! {
    /// Everything of a user was erased here.
    PlaybackErased "evt.playback.v1.privacy.erased" by user_id {
        /// The user.
        user_id: UserId,
        /// The erasure that it belongs to.
        job_id: uuid::Uuid,
        /// What was erased: table or kind of thing, and how many.
        erased: crate::privacy::Erased,
    }
    /// A playback session began.
    PlaybackInitialized "evt.playback.v1.playback.initialized" by user_id {
        /// The viewer.
        user_id: UserId,
        /// The playback session.
        playback_session_id: PlaybackSessionId,
        /// The course.
        course_id: CourseId,
        /// The course session.
        session_id: CourseSessionId,
    }
    /// A playback session was stopped by its viewer.
    PlaybackTerminated "evt.playback.v1.playback.terminated" by user_id {
        /// The viewer.
        user_id: UserId,
        /// The playback session.
        playback_session_id: PlaybackSessionId,
        /// Media time credited, milliseconds.
        media_ms: i64,
    }
    /// A playback session gave no sign of life for 30 s.
    PlaybackAbandoned "evt.playback.v1.playback.abandoned" by user_id {
        /// The viewer.
        user_id: UserId,
        /// The playback session.
        playback_session_id: PlaybackSessionId,
        /// Media time credited, milliseconds.
        media_ms: i64,
    }
    /// The completion threshold of a course session was reached; announced once per user and session.
    SessionCompleted "evt.playback.v1.session.completed" by user_id {
        /// The viewer.
        user_id: UserId,
        /// The course.
        course_id: CourseId,
        /// The course session.
        session_id: CourseSessionId,
        /// When.
        completed_at: DateTime<Utc>,
    }
    /// All required sessions of a course are complete; announced once per user and course.
    CourseCompleted "evt.playback.v1.course.completed" by user_id {
        /// The viewer.
        user_id: UserId,
        /// The course.
        course_id: CourseId,
        /// When.
        completed_at: DateTime<Utc>,
    }
}

fn normal_rate() -> f64 {
    1.0
}

fn small_data(data: &Option<serde_json::Value>, _: &()) -> garde::Result {
    match data {
        Some(data) if data.to_string().len() > 1024 => Err(garde::Error::new("at most 1 KiB as JSON")),
        _ => Ok(()),
    }
}
