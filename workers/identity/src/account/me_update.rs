//! What the caller says of themselves changes (I-024, I-097).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{Account, IdentityRefusal, UpdateMe, UserUpdated};
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;

use crate::account;
use crate::app::App;

/// Changes the caller's account. What changes nothing is no change: no version, no fact.
pub async fn me_update(app: App, call: Call, req: UpdateMe) -> Outcome<UpdateMe> {
    let caller = call.user()?.user;
    if req == UpdateMe::default() {
        let details = json!([{ "pointer": "", "reason": "at least one field" }]);
        return Err(CommonRefusal::ValidationFailed.because(details).into());
    }
    let mut tx = app.begin_patiently(&call).await?;
    account::lock(&mut tx, caller).await?;
    let mut account =
        account::show_full(&mut tx, app.vault(), caller).await?.ok_or(IdentityRefusal::UserNotFound)?;
    call.expect_version(account.user.version)?;
    let updated_fields = apply(&mut account, req);
    let changes = !updated_fields.is_empty();
    if changes {
        account.user.version = account::save(&mut tx, app.vault(), &account).await?;
        tx.audit("user.updated", Some(caller), json!({ "updated_fields": updated_fields })).await?;
        let updated_fields = updated_fields.into_iter().map(str::to_owned).collect();
        let fact = UserUpdated { user_id: caller, updated_fields, updated_at: tx.now() };
        tx.announce(&fact, account.user.version).await?;
    }
    let user = tx.commit(account.user).await?;
    if changes {
        tracing::info!(event = "user_updated", user_id = %caller, "an account was changed by its user");
    }
    Ok(user)
}

/// Makes the changes; answers the names of the fields that differ now.
fn apply(account: &mut Account, req: UpdateMe) -> Vec<&'static str> {
    let mut changed = Vec::new();
    // names are kept as at sign-up: without the spaces around them
    let name = req.name.map(|name| name.trim().to_owned());
    set("name", &mut account.user.name, name, &mut changed);
    set("phone", &mut account.user.phone, req.phone, &mut changed);
    set("business_type", &mut account.business_type, req.business_type, &mut changed);
    set("business_number", &mut account.business_number, req.business_number, &mut changed);
    set("industry", &mut account.industry, req.industry, &mut changed);
    set("region", &mut account.region, req.region, &mut changed);
    set("locale", &mut account.locale, req.locale, &mut changed);
    set("time_zone", &mut account.time_zone, req.time_zone, &mut changed);
    changed
}

/// Sets a field when another value is asked for, and adds its name to what changed.
pub(crate) fn set<T: PartialEq>(
    name: &'static str,
    field: &mut T,
    asked: Option<T>,
    changed: &mut Vec<&'static str>,
) {
    if let Some(value) = asked.filter(|value| value != field) {
        *field = value;
        changed.push(name);
    }
}
