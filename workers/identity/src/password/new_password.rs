//! Another password for an account that is there: what it must not be, and what else changes with it.

use lectern_core::{Call, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, UserPasswordChanged};
use serde_json::json;
use sqlx::{query, query_as, query_scalar};

use crate::app::{App, Fault};
use crate::mail::letters::Language;
use crate::mail::{self, Letter};
use crate::password::reset_links;
use crate::password::{self, Verdict};

/// An account as it was when its new password was checked.
pub(crate) struct Owner {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub locale: String,
    /// The present password; none for an account that has had none yet.
    pub password_hash: Option<String>,
}

/// The account, if it may be used.
pub(crate) async fn owner(app: &App, call: &Call, id: UserId) -> Result<Option<Owner>, Fault> {
    let mut connection = app.connect_patiently(call).await?;
    let owner = query_as!(
        Owner,
        r#"SELECT id AS "id: UserId", email, name, locale, password_hash FROM identity.users
           WHERE id = $1 AND is_active"#,
        id.0
    );
    Ok(owner.fetch_optional(&mut *connection).await?)
}

/// Who changed it, as facts and records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Its owner, who knew the old one.
    User,
    /// Who reads the account's mail.
    Reset,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::User => "user",
            By::Reset => "reset",
        }
    }
}

/// Checks a new password by the rules.
///
/// # Errors
/// USER_1103.
pub(crate) fn check(app: &App, owner: &Owner, new: &str) -> Result<(), Fault> {
    let profile = app.settings().password_profile;
    Ok(password::check(profile, "/new_password", new, &owner.email, &owner.name)?)
}

/// Refuses the last passwords, the present one included, and hashes a new one.
///
/// # Errors
/// USER_1105; COMMON_0010 when the pool is too busy.
pub(crate) async fn hash(app: &App, call: &Call, owner: &Owner, new: &str) -> Result<String, Fault> {
    let size = app.settings().password_history;
    if size > 0 {
        let mut connection = app.connect_patiently(call).await?;
        let earlier = query_scalar!(
            "SELECT hash FROM identity.password_history WHERE user_id = $1 ORDER BY created_at DESC LIMIT $2",
            owner.id.0,
            size - 1
        )
        .fetch_all(&mut *connection)
        .await?;
        // hashing takes long: not with a connection in hand
        drop(connection);
        for last in owner.password_hash.iter().chain(&earlier) {
            let verdict = app.hashing().verify(new, Some(last), app.time_left(call)).await?;
            if verdict != Verdict::Wrong {
                return Err(IdentityRefusal::PasswordReused
                    .because(json!([{
                        "pointer": "/new_password",
                        "rule": "history",
                        "reason": format!("none of the last {size} passwords"),
                    }]))
                    .into());
            }
        }
    }
    let salt = app.vault().random().map_err(Fault::Broken)?;
    Ok(app.hashing().hash(new, salt, app.time_left(call)).await?)
}

/// Puts a checked password in force, with all that says so; open links are void. False, and nothing is changed, when the
/// account's password is no longer the one that it was checked against.
pub(crate) async fn put(tx: &mut Tx, app: &App, owner: &Owner, hash: &str, by: By) -> Result<bool, Fault> {
    let now = tx.now();
    let version = query_scalar!(
        "UPDATE identity.users SET password_hash = $2, updated_at = $4, version = version + 1
         WHERE id = $1 AND is_active AND password_hash IS NOT DISTINCT FROM $3 RETURNING version",
        owner.id.0,
        hash,
        owner.password_hash,
        now
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(version) = version else { return Ok(false) };
    remember(tx, app, owner).await?;
    reset_links::void(tx, owner.id, now).await?;
    tx.set_actor(Some(owner.id));
    tx.announce(&UserPasswordChanged { user_id: owner.id, by: by.name().to_owned() }, version).await?;
    tx.audit("user.password_changed", Some(owner.id), json!({ "by": by.name() })).await?;
    mail::queue(tx, app, owner.id, &Letter::password_changed(&owner.email, Language::of(&owner.locale)))
        .await?;
    Ok(true)
}

/// Keeps the replaced password among the last ones, as many as count.
async fn remember(tx: &mut Tx, app: &App, owner: &Owner) -> Result<(), sqlx::Error> {
    let now = tx.now();
    query!(
        "INSERT INTO identity.password_history (user_id, hash, created_at)
         SELECT $1, $2::text, $3 WHERE $2::text IS NOT NULL",
        owner.id.0,
        owner.password_hash,
        now
    )
    .execute(&mut **tx)
    .await?;
    // the present one is the newest of them and stands in the account
    query!(
        "DELETE FROM identity.password_history WHERE user_id = $1 AND hash NOT IN (
             SELECT hash FROM identity.password_history WHERE user_id = $1 ORDER BY created_at DESC LIMIT $2)",
        owner.id.0,
        (app.settings().password_history - 1).max(0)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
