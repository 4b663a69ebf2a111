//! Staff lift the locks that wrong passwords and wrong codes put on an account.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{UnlockUser, UserUnlocked};
use serde_json::json;

use crate::account;
use crate::app::App;
use crate::mfa;
use crate::sign_in::attempts;

/// Starts every count over: of wrong passwords, at sign-in and within sessions, and of wrong codes. Where there is nothing to lift nothing is announced.
pub async fn unlock(app: App, call: Call, req: UnlockUser) -> Outcome<UnlockUser> {
    let id = req.id;
    let known = account::cache::read(&app, &call, id).await?;
    let mut tx = app.begin_patiently(&call).await?;
    // the counters before the account, as everybody locks them
    let counters =
        [attempts::account(&app, &known.user.email), attempts::signed_in(&app, id), mfa::counter(&app, id)];
    let cleared = attempts::clear(&mut tx, &counters).await?;
    let mut user = account::locked(&mut tx, &app, &call, id).await?.user;
    if cleared && user.email == known.user.email {
        user.version = account::next_version(&mut tx, id).await?;
        tx.audit("user.unlocked", Some(id), json!({})).await?;
        tx.announce(&UserUnlocked { user_id: id }, user.version).await?;
    }
    Ok(tx.commit(user).await?)
}
