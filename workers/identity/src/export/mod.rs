//! What identity holds about its caller (GDPR Art. 15 and 20; identity spec I-108): first what seed 001 asks for, in its
//! words, then the rest. Secrets and what is made of them (hashes, sealed keys, tokens) are shown to nobody.

mod begin;

use lectern_core::export::{self, Held};
use lectern_core::{Call, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{Account, IdentityRefusal};
use lectern_subjects::privacy::{ExportIdentity, Section};
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, query};

pub(crate) use begin::begin;

use crate::account::{self, verification};
use crate::app::{App, Fault};
use crate::mfa::step_up;

/// The rows, as `docs/privacy.tsv` lists them. Of [`login_history`](crate::session::login_history) seed 001's three fields
/// come first.
pub(crate) const HELD: &[Held] = &[
    Held {
        kind: "login_history",
        table: "identity.login_history",
        whose: "user_id = $1",
        key: &["created_at", "id"],
        columns: &[
            "created_at AS timestamp",
            "ip AS ip_address",
            "success",
            "action",
            "failure_reason",
            "user_agent",
        ],
    },
    Held {
        kind: "sessions",
        table: "identity.auth_sessions",
        whose: "user_id = $1",
        key: &["sid"],
        columns: &[
            "sid",
            "created_at",
            "last_seen_at",
            "expires_at_abs AS expires_at",
            "auth_time",
            "amr",
            "ip_last AS ip_address",
            "user_agent",
            "device_name",
            "revoked_at",
            "revoke_reason",
        ],
    },
    Held {
        kind: "sign_in_methods",
        table: "identity.credentials",
        whose: "user_id = $1",
        key: &["id"],
        columns: &["id", "kind", "name", "created_at", "confirmed_at", "last_used_at"],
    },
];

/// A page of it. The account stands on the first page and on the last. The first asks for a proof as recent as [`begin`]
/// does, so that nobody else is asked anything in vain.
pub async fn export(app: App, call: Call, req: ExportIdentity) -> Outcome<ExportIdentity> {
    let user = match req.cursor {
        None => step_up::recently(&app, &call)?.user,
        Some(_) => call.user()?.user,
    };
    let mut connection = app.connect_patiently(&call).await?;
    let account = account::show_full(&mut connection, app.vault(), user).await?;
    let account = account.ok_or(IdentityRefusal::UserNotFound)?;
    let new_addresses = new_addresses(&mut connection, &app, user).await?;
    drop(connection);
    let mut page = export::page(app.as_ref(), &call, HELD, req.cursor.as_deref()).await?;
    if req.cursor.is_none() {
        page.sections.insert(0, personal_data(&account)?);
    }
    if page.next_cursor.is_none() {
        page.sections.push(single("account", json!(account))?);
        page.sections.push(new_addresses);
    }
    Ok(page)
}

/// Seed 001's four fields.
fn personal_data(account: &Account) -> Result<Section, Fault> {
    let user = &account.user;
    single(
        "personal_data",
        json!({
            "email": user.email,
            "name": user.name,
            "phone": user.phone,
            "created_at": user.created_at,
        }),
    )
}

fn single(kind: &str, value: Value) -> Result<Section, Fault> {
    let row: Map<String, Value> = serde_json::from_value(value)?;
    Ok(Section { kind: kind.to_owned(), single: true, rows: vec![row] })
}

/// Addresses that the account was to have instead, while their codes are kept.
async fn new_addresses(connection: &mut PgConnection, app: &App, user: UserId) -> Result<Section, Fault> {
    let asked = query!(
        r#"SELECT id, address_sealed AS "address_sealed!", created_at, expires_at, consumed_at FROM identity.email_codes
           WHERE user_id = $1 AND address_sealed IS NOT NULL ORDER BY created_at, id LIMIT 1000"#,
        user.0
    );
    let mut section = Section { kind: "email_changes".to_owned(), single: false, rows: Vec::new() };
    for row in asked.fetch_all(connection).await? {
        let email = verification::address(app.vault(), row.id, &row.address_sealed)?;
        section.rows.push(serde_json::from_value(json!({
            "email": email,
            "asked_at": row.created_at,
            "expires_at": row.expires_at,
            "confirmed_at": row.consumed_at,
        }))?);
    }
    Ok(section)
}
