//! Links that set a new password: single use, known by their hash, bound to the address that they were mailed to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::Tx;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::UserPasswordResetRequested;
use ring::digest::{Digest, SHA256, digest};
use serde_json::json;
use sqlx::{PgConnection, query, query_scalar};

use crate::account;
use crate::app::{App, Fault};
use crate::mail::letters::{Language, Link};
use crate::mail::{self, Letter};
use crate::settings::Settings;
use crate::vault::Vault;

/// Links of one occasion per account and hour: more would only fill somebody's mailbox.
const PER_HOUR: i64 = 5;
/// Where the site lets people choose a password.
const PAGE: &str = "/password/reset";

/// Why somebody gets a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// They asked for it.
    Forgotten,
    /// An admin asked them to set another password.
    Admin,
    /// Their account was made for them.
    Invited,
}

impl Occasion {
    fn name(self) -> &'static str {
        match self {
            Occasion::Forgotten => "forgotten",
            Occasion::Admin => "admin",
            Occasion::Invited => "invited",
        }
    }

    /// How long the link is good.
    pub fn life(self, settings: &Settings) -> TimeDelta {
        match self {
            Occasion::Forgotten | Occasion::Admin => TimeDelta::minutes(30),
            Occasion::Invited => settings.invitation_life,
        }
    }
}

/// What sending a link came to.
#[must_use]
pub(crate) enum Sent {
    /// Its letter is queued, and the account has this version.
    Queued(i64),
    /// The hour's links are used up; when there is another.
    NotBefore(DateTime<Utc>),
}

/// Whom a link goes to.
pub(crate) struct Addressee {
    pub id: UserId,
    pub email: String,
    pub locale: String,
}

/// Makes a link, queues its letter and announces it. The caller holds the lock of the user's row, or made it in this
/// transaction.
pub(crate) async fn send(tx: &mut Tx, app: &App, to: &Addressee, occasion: Occasion) -> Result<Sent, Fault> {
    let (now, hour) = (tx.now(), TimeDelta::hours(1));
    // the one that has to be an hour old before there is another
    let last_but = query_scalar!(
        "SELECT created_at FROM identity.password_resets WHERE user_id = $1 AND occasion = $2 AND created_at > $3
         ORDER BY created_at DESC OFFSET $4 LIMIT 1",
        to.id.0,
        occasion.name(),
        now - hour,
        PER_HOUR - 1
    )
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(sent) = last_but {
        return Ok(Sent::NotBefore(sent + hour));
    }
    let until = now + occasion.life(app.settings());
    let token = URL_SAFE_NO_PAD.encode(app.vault().random::<32>().map_err(Fault::Broken)?);
    let stored = hash(&token);
    query!(
        "INSERT INTO identity.password_resets (hash, user_id, occasion, address_hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        stored.as_ref(),
        to.id.0,
        occasion.name(),
        &address_hash(app.vault(), &to.email),
        now,
        until
    )
    .execute(&mut **tx)
    .await?;
    let (link, language) = (&Link::to(app.settings(), PAGE, token), Language::of(&to.locale));
    let minutes = (until - now).num_minutes();
    let letter = match occasion {
        Occasion::Forgotten => Letter::password_reset(&to.email, language, link, minutes),
        Occasion::Admin => Letter::admin_reset(&to.email, language, link, minutes),
        Occasion::Invited => Letter::invitation(&to.email, language, link, until),
    };
    mail::queue(tx, app, to.id, &letter).await?;
    let version = account::next_version(tx, to.id).await?;
    tx.announce(&UserPasswordResetRequested { user_id: to.id }, version).await?;
    let details = json!({ "occasion": occasion.name() });
    tx.audit("user.password_reset_requested", Some(to.id), details).await?;
    Ok(Sent::Queued(version))
}

/// A token of 256 random bits as it is stored; no salt or key is needed for something that can't be guessed (J5).
pub(crate) fn hash(token: &str) -> Digest {
    digest(&SHA256, token.as_bytes())
}

/// What a link remembers of the address that it went to.
fn address_hash(vault: &Vault, email: &str) -> [u8; 32] {
    vault.hash("password reset address", &[account::normal(email).as_bytes()])
}

/// Whether a link went to this address.
pub(crate) fn went_to(vault: &Vault, email: &str, stored: &[u8]) -> bool {
    vault.matches("password reset address", &[account::normal(email).as_bytes()], stored)
}

/// Makes every open link of an account void.
pub(crate) async fn void(
    connection: &mut PgConnection,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    query!(
        "UPDATE identity.password_resets SET consumed_at = $2 WHERE user_id = $1 AND consumed_at IS NULL",
        user.0,
        now
    )
    .execute(connection)
    .await
    .map(drop)
}
