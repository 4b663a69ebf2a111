//! Sign-up with e-mail and password.

use lectern_core::{Call, Outcome};
use lectern_subjects::Role;
use lectern_subjects::identity::{IdentityRefusal, Register, User, UserCreated};
use serde_json::json;

use crate::account::verification;
use crate::account::{self, NewAccount, Profile};
use crate::app::{App, Fault};
use crate::password;
use crate::sign_in::address_limit::{self, Purpose};

/// Makes the account, not yet verified, and mails the code.
pub async fn register(app: App, call: Call, req: Register) -> Outcome<Register> {
    let made = sign_up(&app, &call, &req).await;
    match &made {
        Ok(_) => metrics::counter!("user_signup_total", "status" => "success").increment(1),
        Err(Fault::Broken(_)) => {}
        Err(fault) if address_limit::is_refusal(fault) => {
            metrics::counter!("user_signup_total", "status" => "rate_limited").increment(1);
        }
        Err(_) => metrics::counter!("user_signup_total", "status" => "failed").increment(1),
    }
    made
}

async fn sign_up(app: &App, call: &Call, req: &Register) -> Result<User, Fault> {
    address_limit::take(app, call, Purpose::SignUp).await?;
    let role = chosen(app, req.role)?;
    let password_hash = new_password(app, call, &req.password, &req.email, &req.name).await?;
    let mut tx = app.begin_patiently(call).await?;
    let account = NewAccount {
        id: app.new_id(),
        email: &req.email,
        name: &req.name,
        password_hash: Some(&password_hash),
        role,
        is_verified: false,
        profile: Profile::of(req),
    };
    let now = tx.now();
    let user = account::insert(&mut tx, app.vault(), &account, now).await?;
    tx.set_actor(Some(user.id));
    let created = UserCreated { user_id: user.id, role: user.role, created_at: user.created_at };
    tx.announce(&created, user.version).await?;
    tx.audit("user.created", Some(user.id), json!({ "by": "sign_up", "role": user.role })).await?;
    verification::send(&mut tx, app, user.id, &user.email).await?;
    let user = tx.commit(user).await?;
    tracing::info!(user = %user.id, "signed up");
    Ok(user)
}

/// Identity spec C2: everyone signs up as `user`. Machines get tokens, not accounts, whatever is allowed.
fn chosen(app: &App, role: Option<Role>) -> Result<Role, IdentityRefusal> {
    match role {
        None | Some(Role::User) => Ok(Role::User),
        Some(role) if app.settings().role_on_register && role != Role::Service => Ok(role),
        Some(_) => Err(IdentityRefusal::RoleNotAssignable),
    }
}

/// Checks a new password by the rules and hashes it.
pub(crate) async fn new_password(
    app: &App,
    call: &Call,
    password: &str,
    email: &str,
    name: &str,
) -> Result<String, Fault> {
    password::check(app.settings().password_profile, "/password", password, email, name)?;
    let salt = app.vault().random().map_err(Fault::Broken)?;
    Ok(app.hashing().hash(password, salt, app.time_left(call)).await?)
}
