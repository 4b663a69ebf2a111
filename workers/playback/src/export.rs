//! What playback holds about its caller: what they watched, when, how far, and what their player said.

use lectern_core::export::{self, Held};
use lectern_core::{Call, Outcome};
use lectern_subjects::privacy::ExportPlayback;

use crate::App;

/// The rows, as `docs/privacy.tsv` lists them.
pub(crate) const HELD: &[Held] = &[
    Held {
        kind: "playback_sessions",
        table: "playback.playback_sessions",
        whose: "user_id = $1",
        key: &["id"],
        columns: &[
            "id",
            "course_id",
            "course_session_id",
            "client",
            "started_at",
            "last_seen_at",
            "ended_at",
            "end_reason",
            "stop_position_ms",
            "position_ms",
            "rate",
            "spent_ms",
            "media_ms",
        ],
    },
    Held {
        kind: "watched",
        table: "playback.watched",
        whose: "user_id = $1",
        key: &["course_session_id"],
        columns: &[
            "course_session_id",
            "course_id",
            "(SELECT coalesce(json_agg(json_build_object('from_ms', lower(part), 'to_ms', upper(part))), '[]') FROM unnest(segments) part) AS segments",
            "unique_ms",
            "duration_ms",
            "resume_ms",
            "resume_at",
            "completed_at",
        ],
    },
    Held {
        kind: "course_completions",
        table: "playback.course_completions",
        whose: "user_id = $1",
        key: &["course_id"],
        columns: &["course_id", "completed_at"],
    },
    Held {
        kind: "watching_time",
        table: "playback.user_wall",
        whose: "user_id = $1",
        key: &["day"],
        columns: &[
            "day",
            "(SELECT coalesce(json_agg(json_build_object('from', lower(part), 'to', upper(part))), '[]') FROM unnest(intervals) part) AS intervals",
            "wall_ms",
        ],
    },
    Held {
        kind: "playback_events",
        table: "playback.playback_events",
        whose: "playback_session_id IN (SELECT id FROM playback.playback_sessions WHERE user_id = $1)",
        key: &["playback_session_id", "seq"],
        columns: &[
            "playback_session_id",
            "seq",
            "kind",
            "position_ms",
            "position_to_ms",
            "rate",
            "client_at",
            "server_at",
            "occurred_at",
            "data",
        ],
    },
];

/// A page of them.
pub(crate) async fn export(app: App, call: Call, req: ExportPlayback) -> Outcome<ExportPlayback> {
    export::page(app.as_ref(), &call, HELD, req.cursor.as_deref()).await
}
