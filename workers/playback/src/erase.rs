//! Forgets a person: what they watched, when and how far.

use lectern_core::privacy::{count, scrub};
use lectern_core::{Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::playback::PlaybackErased;
use lectern_subjects::privacy::{ErasePerson, Erased};
use sqlx::query;

use crate::App;

/// Obeys `privacy_erase`.
pub(crate) async fn erase(_app: App, mut tx: Tx, command: Envelope<ErasePerson>) -> Followed {
    let ErasePerson { job_id, user_id } = command.data;
    let user = user_id.0;
    let mut erased = Erased::new();
    let events = query!(
        "DELETE FROM playback.playback_events WHERE playback_session_id IN
             (SELECT id FROM playback.playback_sessions WHERE user_id = $1)",
        user
    );
    count(&mut erased, "playback_events", events.execute(&mut *tx).await?.rows_affected());
    query!(
        "DELETE FROM playback.playback_gaps WHERE playback_session_id IN
             (SELECT id FROM playback.playback_sessions WHERE user_id = $1)",
        user
    )
    .execute(&mut *tx)
    .await?;
    let sessions = query!("DELETE FROM playback.playback_sessions WHERE user_id = $1", user);
    count(&mut erased, "playback_sessions", sessions.execute(&mut *tx).await?.rows_affected());
    let watched = query!("DELETE FROM playback.watched WHERE user_id = $1", user);
    count(&mut erased, "watched", watched.execute(&mut *tx).await?.rows_affected());
    let completed = query!("DELETE FROM playback.course_completions WHERE user_id = $1", user);
    count(&mut erased, "course_completions", completed.execute(&mut *tx).await?.rows_affected());
    let wall = query!("DELETE FROM playback.user_wall WHERE user_id = $1", user);
    count(&mut erased, "user_wall", wall.execute(&mut *tx).await?.rows_affected());
    let viewers = query!("DELETE FROM playback.viewers WHERE user_id = $1", user);
    count(&mut erased, "viewers", viewers.execute(&mut *tx).await?.rows_affected());
    scrub(&mut tx, user_id, &mut erased).await?;
    tx.announce(&PlaybackErased { user_id, job_id, erased }, 1).await?;
    Ok(tx.commit_followed().await?)
}
