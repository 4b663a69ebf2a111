//! Another e-mail address, first step: a code goes to it, so that it is not changed to one that nobody reads.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{ChangeEmail, Message};
use serde_json::json;

use crate::account;
use crate::account::verification::{self, Issued, Purpose};
use crate::app::{App, not_before};
use crate::mail::{self, Letter};
use crate::mfa::step_up;

/// Mails a code to the new address. Nobody looks whether another account has it: there is nothing to be learnt from the
/// answer, nor from the time that it takes.
pub async fn email_change(app: App, call: Call, req: ChangeEmail) -> Outcome<ChangeEmail> {
    let caller = step_up::recently(&app, &call)?.user;
    let address = req.email.trim();
    let mut tx = app.begin_patiently(&call).await?;
    account::lock(&mut tx, caller).await?;
    let issued = verification::issue(&mut tx, &app, caller, Purpose::ChangeEmail, Some(address)).await?;
    let code = match issued {
        Issued::Code(code) => code,
        Issued::NotBefore(then) => return Err(not_before(then, tx.now())),
    };
    let language = account::language(&mut tx, caller).await?;
    mail::queue(
        &mut tx,
        &app,
        caller,
        &Letter::email_change_code(address, language, &code, verification::LIFE.num_minutes()),
    )
    .await?;
    tx.audit("user.email_change_requested", Some(caller), json!({})).await?;
    Ok(tx.commit(Message { message: "A code is on its way to the new address".to_owned() }).await?)
}
