//! Accounts made by staff: verified from the start.

use anyhow::{Context, anyhow};
use lectern_core::tx::{announce_offline, audit_offline};
use lectern_core::{Call, Clock, Env, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{CreateUser, IdentityRefusal, UserCreated};
use lectern_subjects::{Refusal, Role};
use serde_json::json;
use sqlx::{Connection, PgPool};

use crate::account::register::new_password;
use crate::account::{self, NewAccount, Profile};
use crate::app::{App, Fault};
use crate::password;
use crate::settings::Settings;
use crate::vault::Vault;

/// Makes an account with any role that a person may have.
pub async fn user_create(app: App, call: Call, req: CreateUser) -> Outcome<CreateUser> {
    let role = assignable(req.role.unwrap_or(Role::User))?;
    let password_hash = new_password(&app, &call, &req.password, &req.email, &req.name).await?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = NewAccount {
        id: app.new_id(),
        email: &req.email,
        name: &req.name,
        password_hash: Some(&password_hash),
        role,
        is_verified: true,
        profile: Profile::default(),
    };
    let now = tx.now();
    let user = account::insert(&mut tx, app.vault(), &account, now).await?;
    let created = UserCreated { user_id: user.id, role, created_at: user.created_at };
    tx.announce(&created, user.version).await?;
    tx.audit("user.created", Some(user.id), json!({ "by": "staff", "role": role })).await?;
    Ok(tx.commit(user).await?)
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
        password: password.to_owned(),
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
    let password_hash = password::hash_once(settings.argon2, asked.password, salt).await?;
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
    let created = UserCreated { user_id: user.id, role, created_at: user.created_at };
    announce_offline(&mut tx, "identity", clock, &created, user.version).await?;
    let details = json!({ "by": "command", "role": role });
    audit_offline(&mut tx, "identity", clock, "user.created", Some(user.id), details).await?;
    tx.commit().await.context("the account may or may not be stored")?;
    Ok(user.id)
}
