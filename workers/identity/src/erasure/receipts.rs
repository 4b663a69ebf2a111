//! A service says what it erased.

use lectern_core::{Followed, Tx, Unhandled};
use lectern_subjects::privacy::Receipt;
use lectern_subjects::{Envelope, Fact};

use super::note;
use crate::app::App;

/// Notes the receipt of the service whose fact this is; all services' have the same shape.
pub async fn received<F: Fact>(_app: App, mut tx: Tx, fact: Envelope<F>) -> Followed {
    let service = F::SUBJECT.split('.').nth(1).unwrap_or_default();
    let receipt = serde_json::to_value(&fact.data).and_then(serde_json::from_value::<Receipt>);
    let receipt = receipt.map_err(|error| Unhandled::Never(error.into()))?;
    note(&mut tx, receipt.job_id, service, &receipt.erased).await?;
    Ok(tx.commit_followed().await?)
}
