//! Another e-mail address, second step: the code that went to it comes back.

use lectern_core::{Call, Error, Outcome, Tx};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{ConfirmEmail, IdentityRefusal, User, UserEmailChanged, UserEmailVerified};
use serde_json::json;
use sqlx::query;

use crate::account;
use crate::account::verification::{self, Proof, Purpose, Tried};
use crate::app::{App, Fault};
use crate::mail::{self, Letter};
use crate::mfa::step_up;

/// Changes the address, and tells the old one. Whether the new one is free, the constraint decides.
pub async fn email_confirm(app: App, call: Call, req: ConfirmEmail) -> Outcome<ConfirmEmail> {
    let caller = step_up::recently(&app, &call)?.user;
    let proof = prove(&app, &call, caller, &req.code).await?;
    let mut tx = app.begin_patiently(&call).await?;
    account::lock(&mut tx, caller).await?;
    // another request may have used it since
    if !verification::consume(&mut tx, caller, &proof).await? {
        return Err(IdentityRefusal::CodeInvalid.into());
    }
    let user = change(&mut tx, &app, caller, &proof.address.ok_or(IdentityRefusal::CodeInvalid)?).await?;
    let user = tx.commit(user).await?;
    tracing::info!(event = "user_email_changed", user_id = %caller, "the e-mail address was changed");
    Ok(user)
}

/// Counts the try, whatever comes of it: in a transaction of its own, since a refusal leaves nothing of the one that it
/// stands in.
async fn prove(app: &App, call: &Call, user: UserId, code: &str) -> Result<Proof, Fault> {
    // the idempotency key is the change's
    let mut unkeyed = call.clone();
    unkeyed.idempotency = None;
    let mut tx = app.begin_patiently(&unkeyed).await?;
    account::lock(&mut tx, user).await?;
    let tried = verification::attempt(&mut tx, app, user, Purpose::ChangeEmail, code).await?;
    tx.commit_followed().await?;
    match tried {
        Tried::Right(proof) => Ok(proof),
        wrong => Err(wrong.refusal()),
    }
}

async fn change(tx: &mut Tx, app: &App, id: UserId, address: &str) -> Result<User, Fault> {
    let before = account::show_full(tx, app.vault(), id).await?;
    let before = before.ok_or(IdentityRefusal::UserNotFound)?.user;
    let now = tx.now();
    let changed = query!(
        "UPDATE identity.users
         SET email = $2, email_norm = $3, is_verified = true, updated_at = $4, version = version + 1
         WHERE id = $1 RETURNING version",
        id.0,
        address,
        account::normal(address),
        now
    )
    .fetch_one(&mut **tx)
    .await;
    let mut version = match changed {
        Ok(row) => row.version,
        Err(error) if Error::constraint(&error) == Some("users_email_norm_key") => {
            return Err(IdentityRefusal::EmailAlreadyExists.into());
        }
        Err(error) => return Err(error.into()),
    };
    tx.announce(&UserEmailChanged { user_id: id }, version).await?;
    if !before.is_verified {
        version = account::next_version(tx, id).await?;
        tx.announce(&UserEmailVerified { user_id: id }, version).await?;
    }
    tx.audit("user.email_changed", Some(id), json!({})).await?;
    let language = account::language(tx, id).await?;
    mail::queue(tx, app, &Letter::email_changed(&before.email, language)).await?;
    Ok(User { email: address.to_owned(), is_verified: true, version, ..before })
}
