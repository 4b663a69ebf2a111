//! Forgets a person: how they called their files. The files stay, courses show them.

use lectern_core::privacy::{count, scrub};
use lectern_core::{App, Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::content::ContentErased;
use lectern_subjects::privacy::{ErasePerson, Erased};
use sqlx::query;

/// Obeys `privacy_erase`.
pub(crate) async fn erase(_app: App, mut tx: Tx, command: Envelope<ErasePerson>) -> Followed {
    let ErasePerson { job_id, user_id } = command.data;
    let mut erased = Erased::new();
    let uploads = query!("UPDATE content.uploads SET file_name = 'erased' WHERE owner = $1", user_id.0);
    count(&mut erased, "uploads", uploads.execute(&mut *tx).await?.rows_affected());
    let assets = query!("UPDATE content.assets SET file_name = 'erased' WHERE owner = $1", user_id.0);
    count(&mut erased, "assets", assets.execute(&mut *tx).await?.rows_affected());
    scrub(&mut tx, user_id, &mut erased).await?;
    tx.announce(&ContentErased { user_id, job_id, erased }, 1).await?;
    Ok(tx.commit_followed().await?)
}
