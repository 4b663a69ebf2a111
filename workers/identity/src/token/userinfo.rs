//! The caller in the standard claims of OpenID Connect (Core §5.3).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetUserinfo, Userinfo};

use crate::account::cache;
use crate::app::App;

/// Says who the bearer of the token is.
pub async fn userinfo(app: App, call: Call, _req: GetUserinfo) -> Outcome<GetUserinfo> {
    let sub = call.user()?.user;
    let account = cache::read(&app, &call, sub).await?;
    let user = &account.user;
    Ok(Userinfo {
        sub,
        email: user.email.clone(),
        email_verified: user.is_verified,
        name: user.name.clone(),
        phone_number: user.phone.clone(),
        locale: account.locale.clone(),
        zoneinfo: account.time_zone.clone(),
        updated_at: account.updated_at.timestamp(),
    })
}
