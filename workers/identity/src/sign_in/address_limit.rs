//! Exact limits per client address (`spec/protocols.md` P6): the moments of the last attempts stand in one row, and one
//! conditional statement decides, on any number of processes. Every attempt that is let through counts, whatever comes of
//! it; a refused one does not, or who keeps trying would never get in again. What can't be asked is not let through.
//!
//! Limited are sign-in, sign-up, and what mails a letter to whoever is named (forgotten password, verification code). Not
//! limited per address are the verification code itself (five tries each, five codes an hour and account) and refresh (a
//! token can't be guessed); the gateway's general limit holds for them.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::Call;
use lectern_subjects::{CommonRefusal, Refusal};
use sqlx::{PgConnection, query_scalar};

use crate::app::{App, Fault};
use crate::settings::Settings;
use crate::sign_in::client_network;
use crate::sign_in::rate::Rate;

/// What an address may do only so often; each has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `LOGIN_RATE`.
    SignIn,
    /// `REGISTER_RATE`.
    SignUp,
    /// `LETTER_RATE`: a letter for a forgotten password.
    Forgot,
    /// `LETTER_RATE`: another verification code.
    Resend,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::SignIn => "sign-in",
            Purpose::SignUp => "sign-up",
            Purpose::Forgot => "forgot",
            Purpose::Resend => "resend",
        }
    }

    fn rate(self, settings: &Settings) -> Option<Rate> {
        match self {
            Purpose::SignIn => settings.login_rate,
            Purpose::SignUp => settings.register_rate,
            Purpose::Forgot | Purpose::Resend => settings.letter_rate,
        }
    }
}

/// Counts one attempt of the caller's address. A request that began on the bus has no address, and no such limit.
///
/// # Errors
/// COMMON_0012 with `Retry-After` when the address has had as many as it may.
pub(crate) async fn take(app: &App, call: &Call, purpose: Purpose) -> Result<(), Fault> {
    let (Some(rate), Some(address)) = (purpose.rate(app.settings()), call.client.address) else {
        return Ok(());
    };
    let bucket = bucket(app, purpose, address);
    let mut connection = app.connect_patiently(call).await?;
    let now = app.now();
    if counts(&mut connection, &bucket, rate, now).await? {
        return Ok(());
    }
    let free_at = free_at(&mut connection, &bucket, rate, now).await?;
    // one that came meanwhile may be a little later than our own moment
    let wait = (free_at.unwrap_or(now) - now).min(rate.within);
    let seconds = wait.as_seconds_f64().ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 86400")]
    let refusal = CommonRefusal::RateLimited.retry_after(seconds as u32);
    Err(refusal.into())
}

/// Whether this is a refusal of [`take`].
pub(crate) fn is_refusal(fault: &Fault) -> bool {
    matches!(fault, Fault::Common(refused) if refused.refusal == CommonRefusal::RateLimited)
}

fn bucket(app: &App, purpose: Purpose, address: IpAddr) -> [u8; 32] {
    let client = client_network::one_client(address);
    app.vault().hash("address limit", &[purpose.name().as_bytes(), &client])
}

/// The one statement: adds this moment unless the last `rate.within` has as many as it may.
async fn counts(
    connection: &mut PgConnection,
    bucket: &[u8; 32],
    rate: Rate,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let counted = query_scalar!(
        r#"INSERT INTO identity.address_attempts AS a (bucket, taken_at, idle_at)
           VALUES ($1, ARRAY[$2::timestamptz], $4)
           ON CONFLICT (bucket) DO UPDATE SET
               taken_at = ARRAY(SELECT t FROM unnest(a.taken_at) t WHERE t > $3) || $2::timestamptz,
               idle_at = $4
           WHERE (SELECT count(*) FROM unnest(a.taken_at) t WHERE t > $3) < $5
           RETURNING true AS "counted!""#,
        bucket,
        now,
        now - rate.within,
        now + rate.within,
        i64::from(rate.most),
    );
    Ok(counted.fetch_optional(connection).await?.is_some())
}

/// When the address may try again: when the last one too many is no longer within `rate.within`.
async fn free_at(
    connection: &mut PgConnection,
    bucket: &[u8; 32],
    rate: Rate,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let decisive = query_scalar!(
        r#"SELECT t AS "t!" FROM identity.address_attempts a, unnest(a.taken_at) t
           WHERE a.bucket = $1 AND t > $2 ORDER BY t DESC OFFSET $3 LIMIT 1"#,
        bucket,
        now - rate.within,
        i64::from(rate.most) - 1,
    );
    Ok(decisive.fetch_optional(connection).await?.map(|at: DateTime<Utc>| at + rate.within))
}

/// Forgets addresses that have not tried for long enough.
pub(crate) async fn forget(app: &App, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    // a minute later than needed, for processes whose clocks are behind
    let before = now - TimeDelta::minutes(1);
    sqlx::query!(
        "DELETE FROM identity.address_attempts WHERE idle_at < $1 AND ctid = ANY (ARRAY(
             SELECT ctid FROM identity.address_attempts WHERE idle_at < $1 ORDER BY idle_at LIMIT 1000))",
        before
    )
    .execute(app.pool())
    .await
    .map(drop)
}
