//! Staff delete an account (I-028).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{DeleteUser, IdentityRefusal, Message};

use crate::app::{App, Fault};
use crate::session::revocation;
use crate::{account, erasure};

/// Deletes an account and forgets the person in every service. Repeated, it is "no such user", and that too only when the bucket has the end of its tokens.
pub async fn user_delete(app: App, call: Call, req: DeleteUser) -> Outcome<DeleteUser> {
    let id = req.id;
    let mut tx = app.begin_patiently(&call).await?;
    match account::locked(&mut tx, &app, &call, id).await {
        Err(Fault::Refused(gone)) if gone.refusal == IdentityRefusal::UserNotFound => {
            drop(tx);
            revocation::tell_all_of(&app, id).await?;
            return Err(gone.into());
        }
        Err(fault) => return Err(fault),
        Ok(_) => {}
    }
    erasure::begin(&mut tx, &app, id, "admin_action").await?;
    let message = tx.commit(Message { message: "Account deleted".to_owned() }).await?;
    revocation::tell_all_of(&app, id).await?;
    tracing::info!(event = "user_deleted", about = %id, "the account is deleted");
    Ok(message)
}
