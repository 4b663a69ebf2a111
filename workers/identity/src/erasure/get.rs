//! How far an erasure is.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetErasure, IdentityRefusal};

use super::show;
use crate::app::App;

/// Shows an erasure with the receipts so far.
pub async fn get(app: App, call: Call, req: GetErasure) -> Outcome<GetErasure> {
    let mut connection = app.connect_patiently(&call).await?;
    let erasure = show(&mut connection, req.id.into()).await?;
    Ok(erasure.ok_or(IdentityRefusal::ErasureNotFound)?)
}
