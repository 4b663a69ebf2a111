//! Codes that prove that an address is read: six digits, ten minutes, five tries.

use chrono::TimeDelta;
use lectern_core::Tx;
use lectern_subjects::id::UserId;
use sqlx::query;
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::letters::Language;
use crate::mail::{self, Letter};
use crate::vault::Vault;

/// How long a code is good.
pub(crate) const LIFE: TimeDelta = TimeDelta::minutes(10);
/// How often one code may be tried.
pub(crate) const TRIES: i16 = 5;
/// Codes per account and hour: together with the tries this bounds guessing to 25 in a million an hour.
const PER_HOUR: i64 = 5;

const PURPOSE: &str = "email code";

/// Makes a code, replacing an earlier one, and queues the letter. False when the hour's codes are used up. The caller
/// holds the lock of the user's row, or made it in this transaction.
pub(crate) async fn send(tx: &mut Tx, app: &App, user: UserId, email: &str) -> Result<bool, Fault> {
    let now = tx.now();
    let owner = query!(
        r#"SELECT locale, (SELECT count(*) FROM identity.email_codes
                           WHERE user_id = $1 AND purpose = 'verify_email' AND created_at > $2) AS "sent!"
           FROM identity.users WHERE id = $1"#,
        user.0,
        now - TimeDelta::hours(1)
    )
    .fetch_one(&mut **tx)
    .await?;
    if owner.sent >= PER_HOUR {
        return Ok(false);
    }
    let code = match &app.settings().fixed_code {
        Some(code) => code.clone(),
        None => random_code(app.vault()).map_err(Fault::Broken)?,
    };
    let id: Uuid = app.clock().new_id();
    query!(
        "INSERT INTO identity.email_codes (id, user_id, purpose, code_hash, created_at, expires_at)
         VALUES ($1, $2, 'verify_email', $3, $4, $5)",
        id,
        user.0,
        &hash(app.vault(), id, &code),
        now,
        now + LIFE,
    )
    .execute(&mut **tx)
    .await?;
    let language = Language::of(&owner.locale);
    mail::queue(tx, app, &Letter::verification(email, language, &code, LIFE.num_minutes())).await?;
    Ok(true)
}

/// A code's keyed hash. The row's id is its salt; the key is what keeps a million possible codes from being tried on a
/// stolen table.
fn hash(vault: &Vault, id: Uuid, code: &str) -> [u8; 32] {
    vault.hash(PURPOSE, &[id.as_bytes(), code.as_bytes()])
}

/// Whether this is the code of that row; takes the same time for any answer.
pub(crate) fn is_code(vault: &Vault, id: Uuid, code: &str, stored: &[u8]) -> bool {
    vault.matches(PURPOSE, &[id.as_bytes(), code.as_bytes()], stored)
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
