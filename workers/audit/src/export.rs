//! What the audit record says of its caller: what they did, and what others did to them, without who.

use lectern_core::export::{self, Held};
use lectern_core::{Call, Outcome};
use lectern_subjects::privacy::ExportAudit;

use crate::App;

/// What is shown of an entry; its details hold no personal data (`docs/audit.md`).
const ENTRY: &[&str] = &[
    "seq",
    "entry_id",
    "timestamp",
    "service",
    "event_type",
    "convert_from(body, 'UTF8')::json -> 'details' AS details",
];

/// The rows, as `docs/privacy.tsv` lists them.
pub(crate) const HELD: &[Held] = &[
    Held { kind: "acts", table: "audit.entries", whose: "actor_id = $1", key: &["seq"], columns: ENTRY },
    Held {
        kind: "done_to_you",
        table: "audit.entries",
        whose: "user_id = $1 AND actor_id IS DISTINCT FROM $1",
        key: &["seq"],
        columns: ENTRY,
    },
];

/// A page of them.
pub(crate) async fn export(app: App, call: Call, req: ExportAudit) -> Outcome<ExportAudit> {
    export::page(&app, &call, HELD, req.cursor.as_deref()).await
}
