//! Exact limits per client address (`spec/protocols.md` P6), and of exports per person: the moments of the last attempts stand in one row, and one
//! conditional statement decides, on any number of processes. Every attempt that is let through counts, whatever comes of
//! it; a refused one does not, or who keeps trying would never get in again. What can't be asked is not let through.
//!
//! Limited are sign-in, what begins one and keeps a row for its answer, sign-up, and what mails a letter to whoever is named (forgotten password, verification code). Not
//! limited per address are the verification code itself (five tries each, five codes an hour and account) and refresh (a
//! token can't be guessed); the gateway's general limit holds for them.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::{Call, Tx};
use lectern_subjects::CommonRefusal;
use lectern_subjects::id::UserId;
use sqlx::PgConnection;

use crate::app::{App, Fault, not_before};
use crate::settings::Settings;
use crate::sign_in::client_network;
use crate::sign_in::rate::{self, Rate};
use crate::tidy::until_few;

/// What an address may do only so often; each has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// `LOGIN_RATE`.
    SignIn,
    /// `LOGIN_RATE`: a way to a provider.
    StartOidc,
    /// `LOGIN_RATE`: a challenge for a passkey.
    AskForPasskey,
    /// `REGISTER_RATE`.
    SignUp,
    /// `LETTER_RATE`: a letter for a forgotten password.
    Forgot,
    /// `LETTER_RATE`: another verification code.
    Resend,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::SignIn => "sign-in",
            Action::StartOidc => "oidc start",
            Action::AskForPasskey => "passkey options",
            Action::SignUp => "sign-up",
            Action::Forgot => "forgot",
            Action::Resend => "resend",
        }
    }

    fn rate(self, settings: &Settings) -> Option<Rate> {
        match self {
            Action::SignIn | Action::StartOidc | Action::AskForPasskey => settings.login_rate,
            Action::SignUp => settings.register_rate,
            Action::Forgot | Action::Resend => settings.letter_rate,
        }
    }
}

/// Counts one attempt of the caller's address. A request that began on the bus has no address, and no such limit.
///
/// # Errors
/// COMMON_0012 with `Retry-After` when the address has had as many as it may.
pub(crate) async fn take(app: &App, call: &Call, action: Action) -> Result<(), Fault> {
    let (Some(rate), Some(address)) = (action.rate(app.settings()), call.client.address) else {
        return Ok(());
    };
    let bucket = bucket(app, action, address);
    let mut connection = app.connect_patiently(call).await?;
    spend(&mut connection, &bucket, rate, app.now()).await
}

/// Counts one export of a person's data (`EXPORT_RATE`), from wherever they ask; one whose transaction comes to nothing does
/// not count.
///
/// # Errors
/// As [`take`].
pub(crate) async fn take_export(tx: &mut Tx, app: &App, user: UserId) -> Result<(), Fault> {
    let Some(rate) = app.settings().export_rate else { return Ok(()) };
    let (bucket, now) = (app.vault().hash("export limit", &[user.0.as_bytes()]), tx.now());
    spend(tx, &bucket, rate, now).await
}

async fn spend(
    connection: &mut PgConnection,
    bucket: &[u8; 32],
    rate: Rate,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let full_until = rate::take(connection, bucket, rate, now).await?;
    full_until.map_or(Ok(()), |then| Err(not_before(then, now)))
}

/// Whether this is a refusal of [`take`].
pub(crate) fn is_refusal(fault: &Fault) -> bool {
    matches!(fault, Fault::Common(refused) if refused.refusal == CommonRefusal::RateLimited)
}

fn bucket(app: &App, action: Action, address: IpAddr) -> [u8; 32] {
    let client = client_network::one_client(address);
    app.vault().hash("address limit", &[action.name().as_bytes(), &client])
}

/// Forgets addresses that have not tried for long enough.
pub(crate) async fn forget(app: &App, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    // a minute later than needed, for processes whose clocks are behind
    let before = now - TimeDelta::minutes(1);
    until_few(|| {
        sqlx::query!(
            "DELETE FROM identity.address_attempts WHERE idle_at < $1 AND ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.address_attempts WHERE idle_at < $1 ORDER BY idle_at LIMIT 1000))",
            before
        )
        .execute(app.pool())
    })
    .await
}
