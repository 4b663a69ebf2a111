//! From where acts were done, for the audit record: what of it was not erased.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{AuditPrivate, GetAuditPrivate, PrivatePart};
use sqlx::query;

use crate::app::App;

/// The kept parts of the entries asked for; nothing about the others.
pub async fn private(app: App, _call: Call, req: GetAuditPrivate) -> Outcome<GetAuditPrivate> {
    let rows = query!(
        "SELECT entry_id, address, agent, salt FROM identity.audit_private WHERE entry_id = ANY($1)",
        &req.entry_ids
    )
    .fetch_all(app.pool())
    .await?;
    let items = rows.into_iter().map(|row| PrivatePart {
        entry_id: row.entry_id,
        ip_address: row.address,
        user_agent: row.agent,
        salt: hex::encode(row.salt),
    });
    Ok(AuditPrivate { items: items.collect() })
}
