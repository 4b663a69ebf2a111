//! Staff change what somebody's account says of them.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{UpdateMe, UpdateUser};
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;

use crate::account::{self, me_update};
use crate::app::App;

/// Changes an account, as its owner would.
pub async fn user_update(app: App, call: Call, req: UpdateUser) -> Outcome<UpdateUser> {
    let UpdateUser { id, name, phone, business_type, business_number, industry, region } = req;
    let asked = UpdateMe {
        name,
        phone,
        business_type,
        business_number,
        industry,
        region,
        // how they want to be spoken to is their own business
        locale: None,
        time_zone: None,
    };
    if asked == UpdateMe::default() {
        let details = json!([{ "pointer": "", "reason": "at least one field besides id" }]);
        return Err(CommonRefusal::ValidationFailed.because(details).into());
    }
    let mut tx = app.begin_patiently(&call).await?;
    let mut account = account::locked(&mut tx, &app, &call, id).await?;
    let changes = me_update::change(&mut tx, &app, &mut account, asked).await?;
    let account = tx.commit(account).await?;
    if changes {
        tracing::info!(event = "user_updated", about = %id, "an account was changed by staff");
    }
    Ok(account)
}
