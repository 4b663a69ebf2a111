//! The caller in the standard claims of OpenID Connect (Core §5.3).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetUserinfo, IdentityRefusal, Userinfo};
use sqlx::query;

use crate::account;
use crate::app::App;

/// Says who the bearer of the token is.
pub async fn userinfo(app: App, call: Call, _req: GetUserinfo) -> Outcome<GetUserinfo> {
    let sub = call.user()?.user;
    let row = query!(
        "SELECT email, is_verified, name, phone_sealed, locale, time_zone, updated_at
         FROM identity.users WHERE id = $1 AND status <> 'deleted'",
        sub.0
    )
    .fetch_optional(app.pool())
    .await?
    .ok_or(IdentityRefusal::UserNotFound)?;
    Ok(Userinfo {
        sub,
        email: row.email,
        email_verified: row.is_verified,
        name: row.name,
        phone_number: account::phone(app.vault(), sub, row.phone_sealed.as_deref())?,
        locale: row.locale,
        zoneinfo: row.time_zone,
        updated_at: row.updated_at.timestamp(),
    })
}
