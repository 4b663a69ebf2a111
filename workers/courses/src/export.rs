//! What courses holds about its caller: which courses they teach. What they did to courses stands in the audit record.

use lectern_core::export::{self, Held};
use lectern_core::{App, Call, Outcome};
use lectern_subjects::privacy::ExportCourses;

/// The rows, as `docs/privacy.tsv` lists them.
pub(crate) const HELD: &[Held] = &[Held {
    kind: "teaches",
    table: "courses.course_instructors",
    whose: "user_id = $1",
    key: &["course_id"],
    columns: &["course_id"],
}];

/// A page of them.
pub(crate) async fn export(app: App, call: Call, req: ExportCourses) -> Outcome<ExportCourses> {
    export::page(&app, &call, HELD, req.cursor.as_deref()).await
}
