//! The code that was mailed comes back.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{IdentityRefusal, Message, UserEmailVerified, VerifyEmail};
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;
use sqlx::query;

use crate::account;
use crate::app::{App, Fault};
use crate::verification::{TRIES, is_code};

/// What trying a code came to.
enum Tried {
    Right,
    Wrong,
    Expired,
    /// Its tries are used up; seconds until it is forgotten.
    Exhausted(u32),
}

/// Verifies the address. Unknown addresses, verified ones and wrong codes are answered alike.
pub async fn verify_email(app: App, call: Call, req: VerifyEmail) -> Outcome<VerifyEmail> {
    let tried = attempt(&app, &call, &req).await?;
    let status = match tried {
        Tried::Right => "success",
        Tried::Expired => "expired",
        Tried::Wrong | Tried::Exhausted(_) => "failed",
    };
    metrics::counter!("user_email_verification_total", "status" => status).increment(1);
    match tried {
        Tried::Right => Ok(Message { message: "Email verified".to_owned() }),
        Tried::Wrong => Err(IdentityRefusal::CodeInvalid.into()),
        Tried::Expired => Err(IdentityRefusal::CodeExpired.into()),
        Tried::Exhausted(seconds) => Err(CommonRefusal::RateLimited.retry_after(seconds).into()),
    }
}

async fn attempt(app: &App, call: &Call, req: &VerifyEmail) -> Result<Tried, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    let now = tx.now();
    let newest = query!(
        r#"SELECT u.id AS "user: lectern_subjects::id::UserId", c.id, c.code_hash, c.attempts, c.expires_at
           FROM identity.users u
           JOIN identity.email_codes c ON c.user_id = u.id AND c.purpose = 'verify_email'
           WHERE u.email_norm = $1 AND u.is_active AND NOT u.is_verified AND c.consumed_at IS NULL
           ORDER BY c.created_at DESC, c.id DESC LIMIT 1
           FOR NO KEY UPDATE OF u, c"#,
        account::normal(&req.email)
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(newest) = newest else { return Ok(Tried::Wrong) };
    if newest.expires_at <= now {
        return Ok(Tried::Expired);
    }
    if newest.attempts >= TRIES {
        let left = (newest.expires_at - now).num_seconds() + 1;
        return Ok(Tried::Exhausted(u32::try_from(left).unwrap_or(1)));
    }
    // the try is counted whatever comes of it; the row is locked, so parallel tries can't share one
    let right = is_code(app.vault(), newest.id, &req.code, &newest.code_hash);
    query!(
        "UPDATE identity.email_codes
         SET attempts = attempts + 1, consumed_at = CASE WHEN $2 THEN $3::timestamptz END WHERE id = $1",
        newest.id,
        right,
        now
    )
    .execute(&mut *tx)
    .await?;
    if right {
        let verified = query!(
            "UPDATE identity.users SET is_verified = true, updated_at = $2, version = version + 1
             WHERE id = $1 RETURNING version",
            newest.user.0,
            now
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.set_actor(Some(newest.user));
        tx.announce(&UserEmailVerified { user_id: newest.user }, verified.version).await?;
        tx.audit("user.email_verified", Some(newest.user), json!({})).await?;
    }
    tx.commit_followed().await?;
    Ok(if right { Tried::Right } else { Tried::Wrong })
}
