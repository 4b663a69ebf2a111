//! What notifications holds about its caller: their inbox.

use lectern_core::export::{self, Held};
use lectern_core::{App, Call, Outcome};
use lectern_subjects::privacy::ExportNotifications;

/// The rows, as `docs/privacy.tsv` lists them.
pub(crate) const HELD: &[Held] = &[Held {
    kind: "notices",
    table: "notifications.notices",
    whose: "user_id = $1",
    key: &["id"],
    columns: &["id", "kind", "title", "body", "created_at", "read_at"],
}];

/// A page of them.
pub(crate) async fn export(app: App, call: Call, req: ExportNotifications) -> Outcome<ExportNotifications> {
    export::page(&app, &call, HELD, req.cursor.as_deref()).await
}
