//! Devices that have signed in to an account before (`spec/protocols.md` P1): a signed token that lets a sign-in pass the
//! lock that strangers put on the account, never the limit per address. Each device has an exact counter of its own, so
//! that who steals the token gets five tries and not more.
//!
//! Nothing is stored per device. A token is good for one account and one device generation of it; a changed password or a
//! sign-out everywhere makes a new generation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::{Call, Tx};
use lectern_subjects::id::UserId;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::sign_in::attempts::Account;
use crate::vault::Vault;

/// How long a token is good, from the last sign-in with it; the longest that browsers keep a cookie.
const LIFE: TimeDelta = TimeDelta::days(400);
/// Layout: this byte, user, device, generation, issue time, tag.
const FORMAT: u8 = 1;
const BODY_LEN: usize = 1 + 16 + 16 + 8 + 8;
const TAG_LEN: usize = 32;
const PURPOSE: &str = "device token";

/// A device of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownDevice {
    user: UserId,
    device: Uuid,
    generation: i64,
}

impl KnownDevice {
    /// The device's own counter of attempts.
    pub fn counter(&self, vault: &Vault) -> Account {
        vault.hash("sign-in device", &[self.user.0.as_bytes(), self.device.as_bytes()])
    }

    fn seal(&self, vault: &Vault, now: DateTime<Utc>) -> String {
        let mut token = Vec::with_capacity(BODY_LEN + TAG_LEN);
        token.push(FORMAT);
        token.extend(self.user.0.as_bytes());
        token.extend(self.device.as_bytes());
        token.extend(self.generation.to_be_bytes());
        token.extend(now.timestamp().to_be_bytes());
        let tag = vault.hash(PURPOSE, &[&token]);
        token.extend(tag);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The device of a token that we signed and that is not too old; whether the generation still stands is not asked.
    fn open(vault: &Vault, token: &str, now: DateTime<Utc>) -> Option<KnownDevice> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, tag) = token.split_at_checked(BODY_LEN)?;
        if !vault.matches(PURPOSE, &[body], tag) || body[0] != FORMAT {
            return None;
        }
        let number = |at: usize| Some(i64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
        let issued_at = DateTime::from_timestamp(number(41)?, 0)?;
        (issued_at + LIFE > now).then_some(KnownDevice {
            user: Uuid::from_slice(&body[1..17]).ok()?.into(),
            device: Uuid::from_slice(&body[17..33]).ok()?,
            generation: number(33)?,
        })
    }
}

/// The device that a token stands for, when it is one of this account's. Anything else is no device, and no error: an old
/// cookie must not keep anybody out. The database is asked only about tokens that we signed.
pub(crate) async fn recognise(
    app: &App,
    call: &Call,
    email: &str,
    token: Option<&str>,
) -> Result<Option<KnownDevice>, Fault> {
    let Some(known) = token.and_then(|token| KnownDevice::open(app.vault(), token, app.now())) else {
        return Ok(None);
    };
    let mut connection = app.connect_patiently(call).await?;
    let is_of_account = query_scalar!(
        r#"SELECT true AS "yes!" FROM identity.users WHERE id = $1 AND email_norm = $2 AND device_generation = $3"#,
        known.user.0,
        email,
        known.generation
    )
    .fetch_optional(&mut *connection)
    .await?;
    Ok(is_of_account.and(Some(known)))
}

/// The same for an account that is known already, within the transaction that signs in to it.
pub(crate) async fn recognise_of(
    tx: &mut Tx,
    app: &App,
    user: UserId,
    token: Option<&str>,
) -> Result<Option<KnownDevice>, Fault> {
    let opened = token.and_then(|token| KnownDevice::open(app.vault(), token, tx.now()));
    let Some(known) = opened.filter(|known| known.user == user) else { return Ok(None) };
    let stands = query_scalar!(
        r#"SELECT true AS "yes!" FROM identity.users WHERE id = $1 AND device_generation = $2"#,
        user.0,
        known.generation
    );
    Ok(stands.fetch_optional(&mut **tx).await?.and(Some(known)))
}

/// A token for the device that has just signed in: the one it was known as, or a new one. The caller holds the lock of
/// the user's row, whose device generation this is.
pub(crate) fn remember(
    app: &App,
    user: UserId,
    generation: i64,
    known: Option<KnownDevice>,
    now: DateTime<Utc>,
) -> String {
    let device = known.map_or_else(|| app.clock().new_id(), |known| known.device);
    KnownDevice { user, device, generation }.seal(app.vault(), now)
}

/// Makes every device of a user a stranger: the password has changed, or the user signed out everywhere.
pub(crate) async fn forget_all(tx: &mut Tx, user: UserId) -> Result<(), sqlx::Error> {
    query!("UPDATE identity.users SET device_generation = device_generation + 1 WHERE id = $1", user.0)
        .execute(&mut **tx)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    fn device() -> KnownDevice {
        KnownDevice { user: Uuid::from_u128(1).into(), device: Uuid::from_u128(2), generation: 3 }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn i081_a_device_token_opens_with_its_key_for_four_hundred_days() {
        let token = device().seal(&vault(1), at(0));
        assert_eq!(KnownDevice::open(&vault(1), &token, at(0)), Some(device()));
        assert_eq!(KnownDevice::open(&vault(1), &token, at(400 * 86_400 - 1)), Some(device()));
        assert_eq!(KnownDevice::open(&vault(1), &token, at(400 * 86_400)), None);
        assert_eq!(KnownDevice::open(&vault(2), &token, at(0)), None);
    }

    #[test]
    fn i081_a_changed_device_token_opens_nothing() {
        let token = URL_SAFE_NO_PAD.decode(device().seal(&vault(1), at(0))).unwrap();
        for index in 0..token.len() {
            let mut changed = token.clone();
            changed[index] ^= 1;
            assert_eq!(
                KnownDevice::open(&vault(1), &URL_SAFE_NO_PAD.encode(changed), at(0)),
                None,
                "{index}"
            );
        }
        for bad in ["", "x", "not base64!", &URL_SAFE_NO_PAD.encode(&token[..40])] {
            assert_eq!(KnownDevice::open(&vault(1), bad, at(0)), None, "{bad:?}");
        }
    }

    #[test]
    fn i081_two_devices_have_two_counters() {
        let other = KnownDevice { device: Uuid::from_u128(9), ..device() };
        assert_ne!(device().counter(&vault(1)), other.counter(&vault(1)));
        let newer = KnownDevice { generation: 4, ..device() };
        assert_eq!(device().counter(&vault(1)), newer.counter(&vault(1)));
    }
}
