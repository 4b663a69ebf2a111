//! Another verification code.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{Message, ResendVerification};
use sqlx::query;

use crate::account;
use crate::account::verification;
use crate::app::App;
use crate::sign_in::address_limit::{self, Action};

/// Mails a new code to an address that waits for one. The answer never says whether there is such an address.
pub async fn resend(app: App, call: Call, req: ResendVerification) -> Outcome<ResendVerification> {
    verification::is_on(&app)?;
    address_limit::take(&app, &call, Action::Resend).await?;
    let mut tx = app.begin_patiently(&call).await?;
    let waiting = query!(
        r#"SELECT id AS "id: lectern_subjects::id::UserId", email FROM identity.users
           WHERE email_norm = $1 AND is_active AND NOT is_verified FOR NO KEY UPDATE"#,
        account::normal(&req.email)
    )
    .fetch_optional(&mut *tx)
    .await?;
    // counted for whatever address: how many tries it has left must not tell whether it waits
    if verification::count_code(&mut tx, &app, &req.email).await?
        && let Some(user) = waiting
        && !verification::send(&mut tx, &app, user.id, &user.email).await?
    {
        tracing::warn!(user_id = %user.id, "no further verification code this hour");
    }
    let message = "If this address waits to be verified, a new code is on its way".to_owned();
    Ok(tx.commit(Message { message }).await?)
}
