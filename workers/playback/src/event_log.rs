//! The event log of one playback session: every event with its three clocks, in order of seq.

use lectern_core::{Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::page;
use lectern_subjects::playback::{BeatKind, ListBeats, LoggedBeat, PlaybackRefusal};
use sqlx::query_as;

use crate::{App, viewing};

pub(crate) async fn event_log(app: App, call: Call, req: ListBeats) -> Outcome<ListBeats> {
    let session = viewing::find(app.pool(), req.id, call.user()?.user).await?;
    session.ok_or(PlaybackRefusal::NotFound)?;
    let limit = page::limit(req.limit);
    let after: i64 = page::key(req.cursor.as_deref())?.unwrap_or(0);
    let rows = query_as!(
        LoggedBeat,
        "SELECT seq, kind AS \"kind: BeatKind\", position_ms, position_to_ms, rate, client_at, server_at
         FROM playback.playback_events WHERE playback_session_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        req.id.0,
        after,
        i64::from(limit) + 1
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |row| row.seq.to_string()))
}
