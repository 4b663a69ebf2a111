//! Accounts made by staff: with a password, verified from the start; or without, and their owners invited to choose one.

use anyhow::{Context, anyhow};
use lectern_core::outbox::{announce_offline, audit_offline};
use lectern_core::{Call, Clock, Env, Outcome, Tx};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{CreateUser, IdentityRefusal, User};
use lectern_subjects::{Refusal, Role};
use serde_json::json;
use sqlx::{Connection, PgPool, query_scalar};

use crate::account::register::new_password;
use crate::account::{self, NewAccount, Profile};
use crate::app::{App, Fault, not_before};
use crate::password;
use crate::password::reset_links::{self, Addressee, Occasion, Sent};
use crate::settings::Settings;
use crate::vault::Vault;

/// Makes an account with any role that a person may have.
pub async fn user_create(app: App, call: Call, req: CreateUser) -> Outcome<CreateUser> {
    let role = assignable(req.role.unwrap_or(Role::User))?;
    let password_hash = match &req.password {
        Some(password) => Some(new_password(&app, &call, password, &req.email, &req.name).await?),
        None => None,
    };
    let mut tx = app.begin_patiently(&call).await?;
    let account = NewAccount {
        id: app.new_id(),
        email: &req.email,
        name: &req.name,
        password_hash: password_hash.as_deref(),
        role,
        is_verified: password_hash.is_some(),
        profile: Profile::default(),
    };
    let now = tx.now();
    let mut user = account::insert(&mut tx, app.vault(), &account, now).await?;
    tx.announce(&account::created(&user), user.version).await?;
    tx.audit("user.created", Some(user.id), json!({ "by": "staff", "role": role })).await?;
    if password_hash.is_none() {
        user.version = invite(&mut tx, &app, &user).await?;
    }
    let user = tx.commit(user).await?;
    tracing::info!(event = "user_created", about = %user.id, "an account was made by staff");
    Ok(user)
}

/// Mails the letter whose link sets the first password; answers the account's version after that.
async fn invite(tx: &mut Tx, app: &App, user: &User) -> Result<i64, Fault> {
    let locale = query_scalar!("SELECT locale FROM identity.users WHERE id = $1", user.id.0);
    let to = Addressee { id: user.id, email: user.email.clone(), locale: locale.fetch_one(&mut **tx).await? };
    match reset_links::send(tx, app, &to, Occasion::Invited).await? {
        Sent::Queued(version) => Ok(version),
        Sent::NotBefore(then) => Err(not_before(then, tx.now())),
    }
}

/// Machines get tokens, not accounts.
fn assignable(role: Role) -> Result<Role, IdentityRefusal> {
    if role == Role::Service { Err(IdentityRefusal::RoleNotAssignable) } else { Ok(role) }
}

/// Makes an account without a running service, for `lectern admin create-user`; the fact waits in the outbox for a relay.
/// `pool` connects to schema `identity`.
///
/// # Errors
/// When the address is taken, the password or the role is refused (the error says which rules), or the database is away.
pub async fn create_user_direct(
    pool: &PgPool,
    env: &Env,
    clock: &Clock,
    email: &str,
    name: &str,
    role: Role,
    password: &str,
) -> anyhow::Result<UserId> {
    let asked = CreateUser {
        email: email.to_owned(),
        name: name.to_owned(),
        role: Some(role),
        password: Some(password.to_owned()),
    };
    // the contract's own checks of the fields, as the host makes them
    let asked: CreateUser = lectern_subjects::decode(&serde_json::to_vec(&asked)?)
        .map_err(|bad| anyhow!("{}: {}", bad.code.message, bad.details.unwrap_or_default()))?;
    let role = assignable(role)?;
    let (settings, vault) = (Settings::read(env)?, Vault::open_with(env)?);
    password::check(settings.password_profile, "/password", password, email, name).map_err(|refused| {
        anyhow!("{}: {}", refused.refusal.code().message, refused.details.unwrap_or_default())
    })?;
    let salt = vault.random()?;
    let password_hash = password::hash_once(settings.argon2, password.to_owned(), salt).await?;
    let account = NewAccount {
        id: clock.new_id().into(),
        email: &asked.email,
        name: &asked.name,
        password_hash: Some(&password_hash),
        role,
        is_verified: true,
        profile: Profile::default(),
    };
    let mut connection = pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let user =
        account::insert(&mut tx, &vault, &account, clock.now()).await.map_err(|fault| match fault {
            Fault::Refused(refused) => anyhow!(refused),
            Fault::Common(refused) => anyhow!(refused),
            Fault::Broken(error) => error.context("the account could not be stored"),
        })?;
    announce_offline(&mut tx, "identity", clock, &account::created(&user), user.version).await?;
    let details = json!({ "by": "command", "role": role });
    audit_offline(&mut tx, "identity", clock, "user.created", Some(user.id), details).await?;
    tx.commit().await.context("the account may or may not be stored")?;
    Ok(user.id)
}
