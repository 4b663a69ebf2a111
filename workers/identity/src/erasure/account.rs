//! Identity's own part: the account becomes a tombstone.

use lectern_core::Tx;
use lectern_core::privacy::count;
use lectern_subjects::id::UserId;
use lectern_subjects::privacy::Erased;
use sqlx::query;

use crate::account::last_admin;
use crate::app::Fault;

/// The made-up address of a forgotten person.
pub(super) fn tombstone(user: UserId) -> String {
    format!("deleted_{user}@deleted.com")
}

/// Anonymises the row (seed 001: `deleted_{id}@deleted.com`, "Deleted User") and deletes everything that hangs on it. The
/// address is free for somebody else from now on.
pub(super) async fn forget(tx: &mut Tx, user: UserId) -> Result<Erased, Fault> {
    let mut erased = Erased::new();
    let now = tx.now();
    let anonymous = tombstone(user);
    let account = query!(
        "UPDATE identity.users SET email = $2, email_norm = $2, name = 'Deleted User', phone_sealed = NULL,
             business_type = NULL, business_number_sealed = NULL, industry = NULL, region = NULL, locale = DEFAULT,
             time_zone = DEFAULT, device_generation = device_generation + 1, password_hash = NULL, role = 'user', roles = '{user}', status = 'deleted',
             is_verified = false, last_login_at = NULL, updated_at = $3
         WHERE id = $1",
        user.0,
        anonymous,
        now
    );
    let account = account.execute(&mut **tx).await.map_err(last_admin)?;
    count(&mut erased, "users", account.rows_affected());
    let history = query!("DELETE FROM identity.login_history WHERE user_id = $1", user.0);
    count(&mut erased, "login_history", history.execute(&mut **tx).await?.rows_affected());
    let codes = query!("DELETE FROM identity.email_codes WHERE user_id = $1", user.0);
    count(&mut erased, "email_codes", codes.execute(&mut **tx).await?.rows_affected());
    // the rows stay until a late refresh has been told that its session is ended
    let sessions = query!(
        "UPDATE identity.auth_sessions SET ip_last = NULL, user_agent = NULL, device_name = NULL WHERE user_id = $1",
        user.0
    );
    count(&mut erased, "auth_sessions", sessions.execute(&mut **tx).await?.rows_affected());
    secrets(tx, user, &mut erased).await?;
    let pairs = query!(
        "UPDATE identity.refresh_tokens SET grace_pair_sealed = NULL
         WHERE grace_pair_sealed IS NOT NULL AND sid IN (SELECT sid FROM identity.auth_sessions WHERE user_id = $1)",
        user.0
    );
    count(&mut erased, "refresh_tokens", pairs.execute(&mut **tx).await?.rows_affected());
    // counters of wrong passwords are keyed hashes: they go as all of them do, a lock's time after their last use
    Ok(erased)
}

/// What proved that the account was theirs, and what was noted of how they did so.
async fn secrets(tx: &mut Tx, user: UserId, erased: &mut Erased) -> Result<(), Fault> {
    let credentials = query!("DELETE FROM identity.credentials WHERE user_id = $1", user.0);
    count(erased, "credentials", credentials.execute(&mut **tx).await?.rows_affected());
    let challenges = query!("DELETE FROM identity.challenges WHERE user_id = $1", user.0);
    count(erased, "challenges", challenges.execute(&mut **tx).await?.rows_affected());
    let passwords = query!("DELETE FROM identity.password_history WHERE user_id = $1", user.0);
    count(erased, "password_history", passwords.execute(&mut **tx).await?.rows_affected());
    let resets = query!("DELETE FROM identity.password_resets WHERE user_id = $1", user.0);
    count(erased, "password_resets", resets.execute(&mut **tx).await?.rows_affected());
    let places = query!("DELETE FROM identity.sign_in_places WHERE user_id = $1", user.0);
    count(erased, "sign_in_places", places.execute(&mut **tx).await?.rows_affected());
    let unsent = query!("DELETE FROM identity.mail_queue WHERE user_id = $1", user.0);
    count(erased, "mail_queue", unsent.execute(&mut **tx).await?.rows_affected());
    let letters = query!("DELETE FROM identity.lock_letters WHERE user_id = $1", user.0);
    count(erased, "lock_letters", letters.execute(&mut **tx).await?.rows_affected());
    Ok(())
}
