//! Forgets a person: the record keeps what was done by an id that is nobody's any more.

use lectern_core::privacy::scrub;
use lectern_core::{Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::audit::AuditErased;
use lectern_subjects::privacy::{ErasePerson, Erased};

use crate::App;

/// Obeys `privacy_erase`.
pub(crate) async fn erase(_app: App, mut tx: Tx, command: Envelope<ErasePerson>) -> Followed {
    let ErasePerson { job_id, user_id } = command.data;
    let mut erased = Erased::new();
    scrub(&mut tx, user_id, &mut erased).await?;
    tx.announce(&AuditErased { user_id, job_id, erased }, 1).await?;
    Ok(tx.commit_followed().await?)
}
