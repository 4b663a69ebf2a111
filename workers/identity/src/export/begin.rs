//! Somebody wants everything that is held about them (GDPR Art. 20; identity spec I-108).

use lectern_core::{Call, Outcome};
use lectern_subjects::SERVICES;
use lectern_subjects::identity::{BeginExport, Export, IdentityRefusal, UserExportReady};
use serde_json::json;
use sqlx::query_scalar;

use crate::account;
use crate::app::App;
use crate::mail::{self, Letter};
use crate::mfa::step_up;
use crate::sign_in::address_limit;

/// Begins an export: noted in the record, told to the owner. The pages themselves ask for a recent proof, too: what
/// they show is more than what the caller could list one by one.
pub async fn begin(app: App, call: Call, _req: BeginExport) -> Outcome<BeginExport> {
    let user = step_up::recently(&app, &call)?.user;
    let mut tx = app.begin_patiently(&call).await?;
    account::lock(&mut tx, user).await?;
    address_limit::take_export(&mut tx, &app, user).await?;
    let (id, begun_at) = (app.new_id(), tx.now());
    let version = account::next_version(&mut tx, user).await?;
    tx.announce(&UserExportReady { user_id: user, export_id: id, begun_at }, version).await?;
    tx.audit("user.exported", Some(user), json!({ "export": id })).await?;
    let email = query_scalar!("SELECT email FROM identity.users WHERE id = $1", user.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(IdentityRefusal::UserNotFound)?;
    let language = account::language(&mut tx, user).await?;
    mail::queue(&mut tx, &app, user, &Letter::exported(&email, language, begun_at)).await?;
    let services = SERVICES.iter().map(|service| service.name.to_owned()).collect();
    tracing::info!(user_id = %user, export = %id, "an export was begun");
    Ok(tx.commit(Export { id, user_id: user, begun_at, services }).await?)
}
