//! Accounts: how one is made, on every road, and how it is shown.

pub(crate) mod cache;
pub(crate) mod email_change;
pub(crate) mod email_confirm;
pub(crate) mod me;
pub(crate) mod me_update;
pub(crate) mod register;
pub(crate) mod resend;
pub(crate) mod verification;
pub(crate) mod verify_email;

use chrono::{DateTime, Utc};
use lectern_core::{Call, Error, Tx};
use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{Account, IdentityRefusal, Register, User, UserCreated, UserUpdated};
use sqlx::{PgConnection, query, query_scalar};

use crate::app::{App, Fault};
use crate::mail::letters::Language;
use crate::vault::Vault;

/// An account that is to be made.
pub(crate) struct NewAccount<'a> {
    pub id: UserId,
    pub email: &'a str,
    pub name: &'a str,
    /// None for an account that signs in otherwise.
    pub password_hash: Option<&'a str>,
    pub role: Role,
    pub is_verified: bool,
    pub profile: Profile<'a>,
}

/// What else somebody may say of themselves at sign-up.
#[derive(Default)]
pub(crate) struct Profile<'a> {
    pub phone: Option<&'a str>,
    pub business_type: Option<&'a str>,
    pub business_number: Option<&'a str>,
    pub industry: Option<&'a str>,
    pub region: Option<&'a str>,
}

impl<'a> Profile<'a> {
    pub fn of(req: &'a Register) -> Profile<'a> {
        Profile {
            phone: req.phone.as_deref(),
            business_type: req.business_type.as_deref(),
            business_number: req.business_number.as_deref(),
            industry: req.industry.as_deref(),
            region: req.region.as_deref(),
        }
    }
}

/// The address as it is compared: trimmed and lower-cased. The contract lets ASCII addresses in only.
pub(crate) fn normal(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Makes an account. Whether the address is free, the constraint decides.
///
/// # Errors
/// USER_1102.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    vault: &Vault,
    account: &NewAccount<'_>,
    now: DateTime<Utc>,
) -> Result<User, Fault> {
    let NewAccount { id, role, profile, .. } = account;
    let (email, name) = (account.email.trim(), account.name.trim());
    let inserted = query!(
        "INSERT INTO identity.users
             (id, email, email_norm, password_hash, name, phone_sealed, business_type, business_number_sealed,
              industry, region, role, roles, is_verified, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, ARRAY[$11], $12, $13, $13)",
        id.0,
        email,
        normal(email),
        account.password_hash,
        name,
        seal(vault, "phone", *id, profile.phone)?,
        profile.business_type,
        seal(vault, "business_number", *id, profile.business_number)?,
        profile.industry,
        profile.region,
        role.name(),
        account.is_verified,
        now,
    )
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(User {
            id: *id,
            email: email.to_owned(),
            name: name.to_owned(),
            phone: profile.phone.map(str::to_owned),
            role: *role,
            roles: vec![*role],
            is_active: true,
            is_verified: account.is_verified,
            created_at: now,
            last_login_at: None,
            version: 1,
        }),
        Err(error) if Error::constraint(&error) == Some("users_email_norm_key") => {
            Err(IdentityRefusal::EmailAlreadyExists.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The fact that an account was made (seed 001, I-096).
pub(crate) fn created(user: &User) -> UserCreated {
    UserCreated {
        user_id: user.id,
        email: user.email.clone(),
        name: user.name.clone(),
        role: user.role,
        created_at: user.created_at,
    }
}

/// The fact that what an account says was changed (seed 001, I-097).
pub(crate) fn updated(user: &User, fields: &[&str], updated_at: DateTime<Utc>) -> UserUpdated {
    UserUpdated {
        user_id: user.id,
        email: user.email.clone(),
        name: user.name.clone(),
        updated_fields: fields.iter().map(|&field| field.to_owned()).collect(),
        updated_at,
    }
}

/// An account with everything that its owner may change; none when there is no such account, or it was deleted.
pub(crate) async fn show_full(
    database: &mut PgConnection,
    vault: &Vault,
    id: UserId,
) -> Result<Option<Account>, Fault> {
    let row = query!(
        r#"SELECT email, name, phone_sealed, role AS "role: Role", roles AS "roles: Vec<Role>", is_active,
                  is_verified, created_at, last_login_at, version, business_type, business_number_sealed, industry,
                  region, locale, time_zone, updated_at,
                  ARRAY(SELECT kind FROM identity.factors WHERE user_id = $1 ORDER BY kind DESC) AS "mfa!"
           FROM identity.users WHERE id = $1 AND status <> 'deleted'"#,
        id.0
    )
    .fetch_optional(database)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let open = |column: &str, sealed: Option<&[u8]>| open(vault, column, id, sealed);
    let user = User {
        id,
        email: row.email,
        name: row.name,
        phone: open("phone", row.phone_sealed.as_deref())?,
        role: row.role,
        roles: row.roles,
        is_active: row.is_active,
        is_verified: row.is_verified,
        created_at: row.created_at,
        last_login_at: row.last_login_at,
        version: row.version,
    };
    Ok(Some(Account {
        user,
        business_type: row.business_type,
        business_number: open("business_number", row.business_number_sealed.as_deref())?,
        industry: row.industry,
        region: row.region,
        locale: row.locale,
        time_zone: row.time_zone,
        updated_at: row.updated_at,
        mfa: row.mfa,
    }))
}

/// Writes what the owner may change, as the account's next version; answers that.
pub(crate) async fn save(tx: &mut Tx, vault: &Vault, account: &Account) -> Result<i64, Fault> {
    let (id, now) = (account.user.id, tx.now());
    let saved = query_scalar!(
        "UPDATE identity.users
         SET name = $2, phone_sealed = $3, business_type = $4, business_number_sealed = $5, industry = $6, region = $7,
             locale = $8, time_zone = $9, updated_at = $10, version = version + 1
         WHERE id = $1 RETURNING version",
        id.0,
        account.user.name,
        seal(vault, "phone", id, account.user.phone.as_deref())?,
        account.business_type,
        seal(vault, "business_number", id, account.business_number.as_deref())?,
        account.industry,
        account.region,
        account.locale,
        account.time_zone,
        now
    );
    Ok(saved.fetch_one(&mut **tx).await?)
}

/// Locks an account until the transaction's end; refuses when there is none, or it was deleted.
///
/// # Errors
/// USER_1101.
pub(crate) async fn lock(tx: &mut Tx, id: UserId) -> Result<(), Fault> {
    query!("SELECT id FROM identity.users WHERE id = $1 AND status <> 'deleted' FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(IdentityRefusal::UserNotFound)?;
    Ok(())
}

/// What somebody's letters are written in.
pub(crate) async fn language(tx: &mut Tx, id: UserId) -> Result<Language, sqlx::Error> {
    let locale = query_scalar!("SELECT locale FROM identity.users WHERE id = $1", id.0);
    Ok(Language::of(&locale.fetch_one(&mut **tx).await?))
}

/// A sealed column of an account, opened.
fn open(vault: &Vault, column: &str, id: UserId, sealed: Option<&[u8]>) -> Result<Option<String>, Fault> {
    let Some(sealed) = sealed else { return Ok(None) };
    let plain = vault.open(&place(column, id), sealed).map_err(Fault::Broken)?;
    Ok(Some(String::from_utf8(plain)?))
}

/// An account's phone number, opened.
pub(crate) fn phone(vault: &Vault, id: UserId, sealed: Option<&[u8]>) -> Result<Option<String>, Fault> {
    open(vault, "phone", id, sealed)
}

/// Locks an account until the transaction's end and shows it, for staff who are to change it.
///
/// # Errors
/// USER_1101, and COMMON_0011 when `If-Match` names another version.
pub(crate) async fn locked(tx: &mut Tx, app: &App, call: &Call, id: UserId) -> Result<Account, Fault> {
    lock(tx, id).await?;
    let account = show_full(tx, app.vault(), id).await?.ok_or(IdentityRefusal::UserNotFound)?;
    call.expect_version(account.user.version)?;
    Ok(account)
}

/// An account as a transaction has changed it.
///
/// # Errors
/// USER_1101.
pub(crate) async fn shown(tx: &mut Tx, app: &App, id: UserId) -> Result<User, Fault> {
    let account = show_full(tx, app.vault(), id).await?;
    Ok(account.ok_or(IdentityRefusal::UserNotFound)?.user)
}

/// The refusal of the constraint that keeps an admin; any other error is our fault.
pub(crate) fn last_admin(error: sqlx::Error) -> Fault {
    match Error::constraint(&error) {
        Some("users_keep_an_admin") => IdentityRefusal::LastAdmin.into(),
        _ => error.into(),
    }
}

/// Counts one more change of an account: the version for the next fact about it.
pub(crate) async fn next_version(tx: &mut Tx, id: UserId) -> Result<i64, sqlx::Error> {
    query_scalar!("UPDATE identity.users SET version = version + 1 WHERE id = $1 RETURNING version", id.0)
        .fetch_one(&mut **tx)
        .await
}

fn seal(vault: &Vault, column: &str, id: UserId, text: Option<&str>) -> Result<Option<Vec<u8>>, Fault> {
    text.map(|text| vault.seal(&place(column, id), text.as_bytes())).transpose().map_err(Fault::Broken)
}

fn place(column: &str, id: UserId) -> String {
    format!("users/{column}/{id}")
}
