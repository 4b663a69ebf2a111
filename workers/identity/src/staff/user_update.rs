//! Staff change what somebody's account says of them.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{Account, UpdateUser, UserUpdated};
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;

use crate::account;
use crate::account::me_update::set;
use crate::app::App;

/// Changes an account. What changes nothing is no change: no version, no fact.
pub async fn user_update(app: App, call: Call, req: UpdateUser) -> Outcome<UpdateUser> {
    let id = req.id;
    if says_nothing(&req) {
        let details = json!([{ "pointer": "", "reason": "at least one field besides id" }]);
        return Err(CommonRefusal::ValidationFailed.because(details).into());
    }
    let mut tx = app.begin_patiently(&call).await?;
    let mut account = account::locked(&mut tx, &app, &call, id).await?;
    let updated_fields = apply(&mut account, req);
    let changes = !updated_fields.is_empty();
    if changes {
        account.user.version = account::save(&mut tx, app.vault(), &account).await?;
        account.updated_at = tx.now();
        tx.audit("user.updated", Some(id), json!({ "updated_fields": updated_fields })).await?;
        let updated_fields = updated_fields.into_iter().map(str::to_owned).collect();
        let fact = UserUpdated { user_id: id, updated_fields, updated_at: tx.now() };
        tx.announce(&fact, account.user.version).await?;
    }
    let account = tx.commit(account).await?;
    if changes {
        tracing::info!(event = "user_updated", about = %id, "an account was changed by staff");
    }
    Ok(account)
}

fn says_nothing(req: &UpdateUser) -> bool {
    req.name.is_none()
        && req.phone.is_none()
        && req.business_type.is_none()
        && req.business_number.is_none()
        && req.industry.is_none()
        && req.region.is_none()
}

/// Makes the changes; answers the names of the fields that differ now.
fn apply(account: &mut Account, req: UpdateUser) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let name = req.name.map(|name| name.trim().to_owned());
    set("name", &mut account.user.name, name, &mut changed);
    set("phone", &mut account.user.phone, req.phone, &mut changed);
    set("business_type", &mut account.business_type, req.business_type, &mut changed);
    set("business_number", &mut account.business_number, req.business_number, &mut changed);
    set("industry", &mut account.industry, req.industry, &mut changed);
    set("region", &mut account.region, req.region, &mut changed);
    changed
}
