//! Stop watching.

use std::time::Duration;

use lectern_core::{Call, Error, Fault, Outcome, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::id::PlaybackSessionId;
use lectern_subjects::playback::{PlaybackRefusal, PlaybackSession, PlaybackTerminated, StopPlayback};
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::{App, viewing};

/// How long a stop waits for the fold of events that were accepted before it; those that are later are folded all the
/// same, only the answer does not show them yet.
const FOLD_PATIENCE: Duration = Duration::from_secs(1);
/// A position may stand this much behind the video's end, milliseconds.
const END_SLACK_MS: i64 = 2_000;

/// Ends a viewing once: stopping it again answers as it ended.
pub(crate) async fn stop(app: App, call: Call, req: StopPlayback) -> Outcome<StopPlayback> {
    let viewer = call.user()?;
    wait_for_fold(&app, &call, req.id).await?;
    let mut tx = app.begin(&call).await?;
    let found = query!(
        "SELECT duration_ms, ended_at FROM playback.playback_sessions WHERE id = $1 AND user_id = $2 FOR UPDATE",
        req.id.0,
        viewer.user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(PlaybackRefusal::NotFound)?;
    if req.position_ms.is_some_and(|position| position > found.duration_ms + END_SLACK_MS) {
        let details = json!([{ "pointer": "/position_ms", "reason": "behind the end of the video" }]);
        return Err(PlaybackRefusal::EventInvalid.because(details).into());
    }
    if found.ended_at.is_none() {
        let position_ms = req.position_ms.map(|position| position.min(found.duration_ms));
        end(&mut tx, req.id, position_ms).await?;
        let session = read(&mut tx, &call, req.id).await?;
        let terminated = PlaybackTerminated {
            user_id: viewer.user,
            playback_session_id: req.id,
            media_ms: session.media_ms,
        };
        tx.announce(&terminated, 2).await?;
        return Ok(tx.commit(session).await?);
    }
    let session = read(&mut tx, &call, req.id).await?;
    Ok(tx.commit(session).await?)
}

async fn read(tx: &mut Tx, call: &Call, id: PlaybackSessionId) -> Outcome<StopPlayback> {
    let found: Option<PlaybackSession> = viewing::find(&mut **tx, id, call.user()?.user).await?;
    Ok(found.ok_or(PlaybackRefusal::NotFound)?)
}

/// The terminal state, by our clock; where the viewer stopped is where they resume.
async fn end(tx: &mut Tx, id: PlaybackSessionId, position_ms: Option<i64>) -> Result<(), Error> {
    let now = tx.now();
    query!(
        "UPDATE playback.playback_sessions SET ended_at = $2, end_reason = 'terminated', stop_position_ms = $3
         WHERE id = $1 AND ended_at IS NULL",
        id.0,
        now,
        position_ms
    )
    .execute(&mut **tx)
    .await?;
    if let Some(position_ms) = position_ms {
        query!(
            "INSERT INTO playback.watched AS w
                 (user_id, course_session_id, course_id, duration_ms, resume_ms, resume_at)
             SELECT user_id, course_session_id, course_id, duration_ms, $2, $3
             FROM playback.playback_sessions WHERE id = $1
             ON CONFLICT (user_id, course_session_id) DO UPDATE
             SET resume_ms = excluded.resume_ms, resume_at = excluded.resume_at
             WHERE excluded.resume_at >= w.resume_at",
            id.0,
            position_ms,
            now
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn wait_for_fold(app: &App, call: &Call, id: PlaybackSessionId) -> Result<(), Fault<PlaybackRefusal>> {
    let patience = FOLD_PATIENCE.min(call.time_left(app.now()) / 2);
    let until = tokio::time::Instant::now() + patience;
    loop {
        let folded = query_scalar!(
            "SELECT last_seq >= accepted_seq AS \"folded!\" FROM playback.playback_sessions WHERE id = $1 AND user_id = $2",
            id.0,
            call.user()?.user.0
        )
        .fetch_optional(app.pool())
        .await?;
        if folded.unwrap_or(true) || tokio::time::Instant::now() >= until {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
