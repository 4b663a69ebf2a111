//! The code that was mailed comes back.

use lectern_core::{Call, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{Message, UserEmailVerified, VerifyEmail};
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::account;
use crate::account::verification::{self, Purpose, Tried};
use crate::app::{App, Fault};

/// Verifies the address. Unknown addresses, verified ones and wrong codes are answered alike.
pub async fn verify_email(app: App, call: Call, req: VerifyEmail) -> Outcome<VerifyEmail> {
    verification::is_on(&app)?;
    let tried = attempt(&app, &call, &req).await?;
    let status = match tried {
        Tried::Right(_) => "success",
        Tried::Expired => "expired",
        Tried::Wrong | Tried::Exhausted(_) => "failed",
    };
    metrics::counter!("user_email_verification_total", "status" => status).increment(1);
    match tried {
        Tried::Right(_) => Ok(Message { message: "Email verified".to_owned() }),
        wrong => Err(wrong.refusal()),
    }
}

async fn attempt(app: &App, call: &Call, req: &VerifyEmail) -> Result<Tried, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    let now = tx.now();
    let waiting = query_scalar!(
        r#"SELECT id AS "id: UserId" FROM identity.users
           WHERE email_norm = $1 AND is_active AND NOT is_verified FOR NO KEY UPDATE"#,
        account::normal(&req.email)
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(exhausted) = verification::count_try(&mut tx, app, &req.email).await? {
        return Ok(exhausted);
    }
    let Some(user) = waiting else {
        tx.commit_followed().await?;
        return Ok(Tried::Wrong);
    };
    let tried = verification::attempt(&mut tx, app, user, Purpose::VerifyEmail, &req.code).await?;
    if let Tried::Right(proof) = &tried {
        verification::consume(&mut tx, user, proof).await?;
        let verified = query!(
            "UPDATE identity.users SET is_verified = true, updated_at = $2, version = version + 1
             WHERE id = $1 RETURNING version",
            user.0,
            now
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.set_actor(Some(user));
        tx.announce(&UserEmailVerified { user_id: user }, verified.version).await?;
        tx.audit("user.email_verified", Some(user), json!({})).await?;
    }
    tx.commit_followed().await?;
    Ok(tried)
}
