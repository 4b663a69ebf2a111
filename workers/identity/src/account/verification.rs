//! Codes that prove that an address is read: six digits, ten minutes, five tries.

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::Tx;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{CommonRefusal, Refusal};
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::account;
use crate::app::{App, Fault};
use crate::mail::{self, Letter};
use crate::sign_in::rate::{self, Rate};
use crate::vault::Vault;

/// How long a code is good.
pub(crate) const LIFE: TimeDelta = TimeDelta::minutes(10);
/// How often one code may be tried.
const TRIES: i16 = 5;
/// Codes per account, purpose and hour: together with the tries this bounds guessing to 25 in a million an hour, and the
/// letters that one account can send to others.
const PER_HOUR: i32 = 5;

const HASHED_AS: &str = "email code";

/// Whether addresses are verified here.
///
/// # Errors
/// COMMON_0006: there is no such thing as a request of a feature that is switched off (architecture §13).
pub(crate) fn is_on(app: &App) -> Result<(), CommonRefusal> {
    if app.settings().email_verification { Ok(()) } else { Err(CommonRefusal::RouteNotFound) }
}

/// What a code is for. One of another purpose is a wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To show that the account's own address is read.
    VerifyEmail,
    /// To show that the address is read that the account is to have.
    ChangeEmail,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::VerifyEmail => "verify_email",
            Purpose::ChangeEmail => "change_email",
        }
    }
}

/// What asking for a code came to.
pub(crate) enum Issued {
    /// Mail it.
    Code(String),
    /// The hour's codes are used up; when there is another.
    NotBefore(DateTime<Utc>),
}

/// What trying a code came to.
pub(crate) enum Tried {
    /// It is the one that was sent; [`consume`] it with what it is used for.
    Right(Proof),
    /// It is not, or none was sent.
    Wrong,
    /// It is too old.
    Expired,
    /// Its tries are used up; seconds until it is forgotten.
    Exhausted(u32),
}

impl Tried {
    /// How what is not right is answered.
    pub fn refusal(&self) -> Fault {
        match self {
            Tried::Right(_) | Tried::Wrong => IdentityRefusal::CodeInvalid.into(),
            Tried::Expired => IdentityRefusal::CodeExpired.into(),
            Tried::Exhausted(seconds) => CommonRefusal::RateLimited.retry_after(*seconds).into(),
        }
    }
}

/// A right code.
pub(crate) struct Proof {
    code: Uuid,
    purpose: Purpose,
    /// The address that it was sent to, where that is not the account's own.
    pub address: Option<String>,
}

/// Counts a try of an address, whether an account waits for its code or there is none: the answers must not tell. Says so
/// when the last ten minutes have had five.
pub(crate) async fn count_try(tx: &mut Tx, app: &App, email: &str) -> Result<Option<Tried>, Fault> {
    let (now, rate) = (tx.now(), Rate { most: i32::from(TRIES), within: LIFE });
    let full_until = rate::take(tx, &bucket(app, "tries", email), rate, now).await?;
    Ok(full_until.map(|then| {
        let left = (then - now).num_seconds() + 1;
        Tried::Exhausted(u32::try_from(left).unwrap_or(1))
    }))
}

/// Whether the hour has another code for an address, whether an account waits for it or there is none; if so its tries
/// start over.
pub(crate) async fn count_code(tx: &mut Tx, app: &App, email: &str) -> Result<bool, Fault> {
    let (now, rate) = (tx.now(), Rate { most: PER_HOUR, within: TimeDelta::hours(1) });
    let is_free = rate::take(tx, &bucket(app, "codes", email), rate, now).await?.is_none();
    if is_free {
        rate::empty(tx, &bucket(app, "tries", email)).await?;
    }
    Ok(is_free)
}

fn bucket(app: &App, what: &str, email: &str) -> [u8; 32] {
    app.vault().hash("verification of an address", &[what.as_bytes(), account::normal(email).as_bytes()])
}

/// Makes a code for the account's own address, replacing an earlier one, and queues the letter. False when the hour's
/// codes are used up. The caller holds the lock of the user's row, or made it in this transaction.
pub(crate) async fn send(tx: &mut Tx, app: &App, user: UserId, email: &str) -> Result<bool, Fault> {
    let Issued::Code(code) = issue(tx, app, user, Purpose::VerifyEmail, None).await? else {
        return Ok(false);
    };
    let language = account::language(tx, user).await?;
    mail::queue(tx, app, user, &Letter::verification(email, language, &code, LIFE.num_minutes())).await?;
    Ok(true)
}

/// Makes a code, replacing an earlier one of this purpose. `address` is where it will be sent, where that is not the
/// account's own address. The caller holds the lock of the user's row, or made it in this transaction.
pub(crate) async fn issue(
    tx: &mut Tx,
    app: &App,
    user: UserId,
    purpose: Purpose,
    address: Option<&str>,
) -> Result<Issued, Fault> {
    let (now, hour) = (tx.now(), TimeDelta::hours(1));
    // the one that has to be an hour old before there is another
    let last_but = query_scalar!(
        "SELECT created_at FROM identity.email_codes WHERE user_id = $1 AND purpose = $2 AND created_at > $3
         ORDER BY created_at DESC OFFSET $4 LIMIT 1",
        user.0,
        purpose.name(),
        now - hour,
        i64::from(PER_HOUR - 1)
    )
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(sent) = last_but {
        return Ok(Issued::NotBefore(sent + hour));
    }
    let code = match &app.settings().fixed_code {
        Some(code) => code.clone(),
        None => random_code(app.vault()).map_err(Fault::Broken)?,
    };
    let id: Uuid = app.clock().new_id();
    let seal = |address: &str| app.vault().seal(&place(id), address.as_bytes());
    query!(
        "INSERT INTO identity.email_codes (id, user_id, purpose, code_hash, address_sealed, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        id,
        user.0,
        purpose.name(),
        &hash(app.vault(), id, &code),
        address.map(seal).transpose().map_err(Fault::Broken)?,
        now,
        now + LIFE,
    )
    .execute(&mut **tx)
    .await?;
    Ok(Issued::Code(code))
}

/// Tries a code and counts the try: commit it whatever comes of it. The caller holds the lock of the user's row, so that
/// parallel tries can't share one.
pub(crate) async fn attempt(
    tx: &mut Tx,
    app: &App,
    user: UserId,
    purpose: Purpose,
    code: &str,
) -> Result<Tried, Fault> {
    let now = tx.now();
    let newest = query!(
        "SELECT id, code_hash, address_sealed, attempts, expires_at FROM identity.email_codes
         WHERE user_id = $1 AND purpose = $2 AND consumed_at IS NULL
         ORDER BY created_at DESC, id DESC LIMIT 1 FOR NO KEY UPDATE",
        user.0,
        purpose.name()
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(newest) = newest else { return Ok(Tried::Wrong) };
    let is_right = is_code(app.vault(), newest.id, code, &newest.code_hash);
    if newest.expires_at <= now {
        // who does not know it does not learn that there was one
        return Ok(if is_right { Tried::Expired } else { Tried::Wrong });
    }
    if newest.attempts >= TRIES {
        let left = (newest.expires_at - now).num_seconds() + 1;
        return Ok(Tried::Exhausted(u32::try_from(left).unwrap_or(1)));
    }
    query!("UPDATE identity.email_codes SET attempts = attempts + 1 WHERE id = $1", newest.id)
        .execute(&mut **tx)
        .await?;
    if !is_right {
        return Ok(Tried::Wrong);
    }
    let address = match newest.address_sealed {
        Some(sealed) => Some(address(app.vault(), newest.id, &sealed)?),
        None => None,
    };
    Ok(Tried::Right(Proof { code: newest.id, purpose, address }))
}

/// The address that a code was sent to, opened.
pub(crate) fn address(vault: &Vault, code: Uuid, sealed: &[u8]) -> Result<String, Fault> {
    Ok(String::from_utf8(vault.open(&place(code), sealed).map_err(Fault::Broken)?)?)
}

/// Uses a right code up, and every older one of its purpose with it. False when it was used before.
pub(crate) async fn consume(tx: &mut Tx, user: UserId, proof: &Proof) -> Result<bool, Fault> {
    let now = tx.now();
    let used = query_scalar!(
        "UPDATE identity.email_codes SET consumed_at = $3
         WHERE user_id = $1 AND purpose = $2 AND consumed_at IS NULL RETURNING id",
        user.0,
        proof.purpose.name(),
        now
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(used.contains(&proof.code))
}

/// A code's keyed hash. The row's id is its salt; the key is what keeps a million possible codes from being tried on a
/// stolen table.
fn hash(vault: &Vault, id: Uuid, code: &str) -> [u8; 32] {
    vault.hash(HASHED_AS, &[id.as_bytes(), code.as_bytes()])
}

/// Whether this is the code of that row; takes the same time for any answer.
fn is_code(vault: &Vault, id: Uuid, code: &str, stored: &[u8]) -> bool {
    vault.matches(HASHED_AS, &[id.as_bytes(), code.as_bytes()], stored)
}

fn place(id: Uuid) -> String {
    format!("email_codes/address/{id}")
}

/// Six digits, all equally likely.
fn random_code(vault: &Vault) -> anyhow::Result<String> {
    // the largest multiple of a million below 2^32: what lies above would make small codes likelier
    const FAIR: u32 = u32::MAX - u32::MAX % 1_000_000;
    loop {
        let number = u32::from_be_bytes(vault.random()?);
        if number < FAIR {
            return Ok(format!("{:06}", number % 1_000_000));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    #[test]
    fn a_code_is_known_by_its_own_row_and_key_only() {
        let (row, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let stored = hash(&vault(1), row, "482913");
        assert!(is_code(&vault(1), row, "482913", &stored));
        assert!(!is_code(&vault(1), row, "482914", &stored));
        assert!(!is_code(&vault(1), row, "", &stored));
        assert!(!is_code(&vault(1), other, "482913", &stored));
        assert!(!is_code(&vault(2), row, "482913", &stored));
    }

    #[test]
    fn codes_are_six_digits_and_differ() {
        let vault = vault(1);
        let codes: std::collections::HashSet<_> = (0..100).map(|_| random_code(&vault).unwrap()).collect();
        assert!(codes.iter().all(|code| code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())));
        assert!(codes.len() > 90, "{} different codes of 100", codes.len());
    }
}
