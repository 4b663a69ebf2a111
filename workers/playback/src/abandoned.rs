//! Viewings without a sign of life end by themselves.

use lectern_subjects::id::{PlaybackSessionId, UserId};
use lectern_subjects::playback::PlaybackAbandoned;
use metrics::gauge;
use sqlx::{query_as, query_scalar};

use crate::App;

/// Most viewings ended in one transaction.
const AT_MOST: i64 = 200;

struct Abandoned {
    id: PlaybackSessionId,
    user_id: UserId,
    media_ms: i64,
}

/// Ends silent viewings at their last sign of life. Several processes share the work.
pub(crate) async fn abandoned(app: App) -> anyhow::Result<()> {
    let now = app.now();
    while app.may_judge_silence(now) {
        let mut tx = app.begin_internal().await?;
        let ended = query_as!(
            Abandoned,
            "UPDATE playback.playback_sessions SET ended_at = last_seen_at, end_reason = 'abandoned'
             WHERE id IN (SELECT id FROM playback.playback_sessions WHERE ended_at IS NULL AND last_seen_at <= $1
                          ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
             RETURNING id AS \"id: PlaybackSessionId\", user_id AS \"user_id: UserId\", media_ms",
            app.silent_before(now),
            AT_MOST
        )
        .fetch_all(&mut *tx)
        .await?;
        let all = ended.len() < AT_MOST as usize;
        for Abandoned { id, user_id, media_ms } in ended {
            tx.announce(&PlaybackAbandoned { user_id, playback_session_id: id, media_ms }, 2).await?;
        }
        tx.commit_followed().await?;
        if all {
            break;
        }
    }
    let open = query_scalar!(
        "SELECT count(*) AS \"open!\" FROM playback.playback_sessions WHERE ended_at IS NULL AND last_seen_at > $1",
        app.silent_before(now)
    )
    .fetch_one(app.pool())
    .await?;
    gauge!("playback_sessions_active").set(open as f64);
    Ok(())
}
