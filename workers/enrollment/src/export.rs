//! What enrollment holds about its caller.

use lectern_core::export::{self, Held};
use lectern_core::{App, Call, Outcome};
use lectern_subjects::privacy::ExportEnrollment;

/// The rows, as `docs/privacy.tsv` lists them.
pub(crate) const HELD: &[Held] = &[
    Held {
        kind: "enrollments",
        table: "enrollment.enrollments",
        whose: "user_id = $1",
        key: &["id"],
        columns: &["id", "course_id", "status", "enrolled_at"],
    },
    Held {
        kind: "access_grants",
        table: "enrollment.access_grants",
        whose: "user_id = $1",
        key: &["id"],
        columns: &[
            "id",
            "scope_type",
            "scope_id",
            "source_type",
            "source_id",
            "starts_at",
            "ends_at",
            "renews",
            "revoked_at",
        ],
    },
    Held {
        kind: "subscriptions",
        table: "enrollment.subscriptions",
        whose: "user_id = $1",
        key: &["id"],
        columns: &[
            "id",
            "plan_id",
            "plan_version",
            "status",
            "period_index",
            "period_start",
            "period_end",
            "auto_renew",
            "cancel_at_period_end",
            "created_at",
            "ended_at",
        ],
    },
    Held {
        kind: "subscription_periods",
        table: "enrollment.subscription_periods",
        whose: "subscription_id IN (SELECT id FROM enrollment.subscriptions WHERE user_id = $1)",
        key: &["subscription_id", "period_index"],
        columns: &["subscription_id", "period_index", "starts_at", "ends_at"],
    },
];

/// A page of them.
pub(crate) async fn export(app: App, call: Call, req: ExportEnrollment) -> Outcome<ExportEnrollment> {
    export::page(&app, &call, HELD, req.cursor.as_deref()).await
}
