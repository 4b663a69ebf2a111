//! Staff have a link mailed that sets a password. They never see it, or the password (ASVS 5.0 6.4.6).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{Message, SendPasswordReset};
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;
use sqlx::query_scalar;

use crate::account;
use crate::app::{App, not_before};
use crate::password::reset_links::{self, Addressee, Occasion, Sent};

/// Mails the link; who was invited and has not come yet is invited again. The present password, lock and sessions stay as
/// they are until the link is used.
pub async fn password_reset(app: App, call: Call, req: SendPasswordReset) -> Outcome<SendPasswordReset> {
    let id = req.id;
    let mut tx = app.begin_patiently(&call).await?;
    let account = account::locked(&mut tx, &app, &call, id).await?;
    if !account.user.is_active {
        let details = json!({ "reason": "the account is switched off, and so would be the link" });
        return Err(CommonRefusal::Forbidden.because(details).into());
    }
    let never_came = query_scalar!(
        r#"SELECT password_hash IS NULL AND last_login_at IS NULL AS "never_came!" FROM identity.users WHERE id = $1"#,
        id.0
    )
    .fetch_one(&mut *tx)
    .await?;
    let (occasion, message) = match never_came {
        true => (Occasion::Invited, "An invitation is on its way"),
        false => (Occasion::Admin, "A link that sets another password is on its way"),
    };
    let to = Addressee { id, email: account.user.email, locale: account.locale };
    if let Sent::NotBefore(then) = reset_links::send(&mut tx, &app, &to, occasion).await? {
        return Err(not_before(then, tx.now()));
    }
    let message = tx.commit(Message { message: message.to_owned() }).await?;
    metrics::counter!("user_password_reset_total", "status" => "requested").increment(1);
    tracing::info!(about = %id, ?occasion, "a link that sets a password is on its way");
    Ok(message)
}
