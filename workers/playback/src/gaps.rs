//! Events that never came: after five minutes a viewing goes on without them.

use lectern_core::Tx;
use lectern_subjects::id::PlaybackSessionId;
use sqlx::query_scalar;

use crate::App;
use crate::credit::GAP_PATIENCE;
use crate::fold;

/// Most viewings looked at in one run.
const AT_MOST: i64 = 200;

pub(crate) async fn gaps(app: App) -> anyhow::Result<()> {
    let due = query_scalar!(
        "SELECT id AS \"id: PlaybackSessionId\" FROM playback.playback_sessions
         WHERE gap_since <= $1 ORDER BY gap_since LIMIT $2",
        app.now() - GAP_PATIENCE,
        AT_MOST
    )
    .fetch_all(app.pool())
    .await?;
    for session in due {
        let mut tx: Tx = app.begin_internal().await?;
        // another process may have been faster; then there is nothing left to do
        if let Some(locked) = fold::lock(&mut tx, session).await? {
            tx.set_actor(Some(locked.user_id));
            fold::advance(&mut tx, locked).await?;
            tx.commit_followed().await?;
        }
    }
    Ok(())
}
