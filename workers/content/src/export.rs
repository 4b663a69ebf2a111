//! What content holds about its caller: what they uploaded.

use lectern_core::export::{self, Held};
use lectern_core::{App, Call, Outcome};
use lectern_subjects::privacy::ExportContent;

/// The rows, as `docs/privacy.tsv` lists them.
pub(crate) const HELD: &[Held] = &[
    Held {
        kind: "uploads",
        table: "content.uploads",
        whose: "owner = $1",
        key: &["id"],
        columns: &["id", "file_name", "mime", "length", "state", "created_at", "expires_at"],
    },
    Held {
        kind: "files",
        table: "content.assets",
        whose: "owner = $1",
        key: &["id"],
        columns: &["id", "file_name", "mime", "size", "sha256", "created_at"],
    },
];

/// A page of them.
pub(crate) async fn export(app: App, call: Call, req: ExportContent) -> Outcome<ExportContent> {
    export::page(&app, &call, HELD, req.cursor.as_deref()).await
}
