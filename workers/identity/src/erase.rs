//! What identity knows of a person is overwritten (I-109, C17…C19). The account's row stays, with a made-up address, so that
//! what others keep under its id stays whole and its real address is free.

use lectern_core::Tx;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::UserDeleted;
use sqlx::{query, query_scalar};

use crate::app::Fault;
use crate::auth_sessions::{self, Reason};
use crate::{account, revocation};

/// Erases an account whose row the caller has locked. Its sessions end for that reason and its tokens are void:
/// [`revocation::tell_all_of`] after the commit. The caller writes the audit entry, after this: it knows why.
///
/// # Errors
/// USER_1304 for the last active admin.
pub(crate) async fn erase_account(tx: &mut Tx, id: UserId, reason: Reason) -> Result<(), Fault> {
    let now = tx.now();
    let live = auth_sessions::live(tx, id).await?;
    auth_sessions::revoke(tx, id, &live, reason).await?;
    revocation::change_claims(tx, id).await?;
    let email = format!("deleted_{id}@deleted.com");
    let version = query_scalar!(
        "UPDATE identity.users
         SET status = 'deleted', email = $2, email_norm = $2, name = 'Deleted User', password_hash = NULL,
             phone_sealed = NULL, business_type = NULL, business_number_sealed = NULL, industry = NULL, region = NULL,
             locale = DEFAULT, time_zone = DEFAULT, is_verified = false, last_login_at = NULL, updated_at = $3,
             version = version + 1
         WHERE id = $1 RETURNING version",
        id.0,
        email,
        now
    )
    .fetch_one(&mut **tx)
    .await
    .map_err(account::last_admin)?;
    forget_traces(tx, id).await?;
    tx.announce(&UserDeleted { user_id: id, email, deleted_at: now }, version).await?;
    Ok(())
}

/// From where they came, with what, and what was mailed to them.
async fn forget_traces(tx: &mut Tx, id: UserId) -> Result<(), sqlx::Error> {
    query!("DELETE FROM identity.login_history WHERE user_id = $1", id.0).execute(&mut **tx).await?;
    query!("DELETE FROM identity.email_codes WHERE user_id = $1", id.0).execute(&mut **tx).await?;
    query!("DELETE FROM identity.audit_private WHERE user_id = $1", id.0).execute(&mut **tx).await?;
    query!(
        "DELETE FROM identity.refresh_tokens
         WHERE sid IN (SELECT sid FROM identity.auth_sessions WHERE user_id = $1)",
        id.0
    )
    .execute(&mut **tx)
    .await?;
    query!(
        "UPDATE identity.auth_sessions SET ip_last = NULL, user_agent = NULL, device_name = NULL WHERE user_id = $1",
        id.0
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
