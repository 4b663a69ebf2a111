//! What a person should look at (I-089): an account that locks, one address that fails for many accounts, a sign-in from
//! where there was none before, a refresh token or a passkey that was copied. Each is counted, announced and audited in the transaction
//! of what caused it; owners get a letter where they can do something about it.

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::Tx;
use lectern_core::call::ClientInfo;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{SecuritySuspicious, UserLocked, UserLoginFailed};
use serde_json::json;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::account;
use crate::app::{App, Fault};
use crate::mail;
use crate::mail::letters::Letter;
use crate::session::{device, session_link};
use crate::sign_in::client_network;
use crate::sign_in::{self, attempts};
use crate::tidy::until_few;

/// An address that fails for this many accounts within [`STUFFING_WINDOW`] tries a list of stolen passwords.
const STUFFING_ACCOUNTS: i32 = 10;
/// Begins with an address's first failure; the next one after it begins another.
const STUFFING_WINDOW: TimeDelta = TimeDelta::hours(1);
/// An owner learns of locks at most this often.
const LOCK_LETTERS: TimeDelta = TimeDelta::days(1);
/// From where an account has signed in is remembered as long as a device is.
const PLACES_KEPT: TimeDelta = TimeDelta::days(400);

/// A kind of suspicious activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Too many wrong passwords for an account, or codes of its second factor.
    Lockout,
    /// One address failed for many accounts.
    CredentialStuffing,
    /// A sign-in by no known device, from a network that the account has not signed in from.
    NewDevice,
    /// A consumed refresh token came again.
    RefreshReuse,
    /// A passkey's signature counter went back.
    CopiedPasskey,
}

impl Activity {
    /// All of them.
    pub const ALL: [Activity; 5] = [
        Activity::Lockout,
        Activity::CredentialStuffing,
        Activity::NewDevice,
        Activity::RefreshReuse,
        Activity::CopiedPasskey,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Activity::Lockout => "lockout",
            Activity::CredentialStuffing => "credential_stuffing",
            Activity::NewDevice => "new_device",
            Activity::RefreshReuse => "refresh_reuse",
            Activity::CopiedPasskey => "copied_passkey",
        }
    }

    /// The nearest event of OpenID CAEP 1.0.
    fn caep_type(self) -> &'static str {
        match self {
            Activity::Lockout | Activity::CredentialStuffing | Activity::CopiedPasskey => "risk-level-change",
            Activity::NewDevice => "session-established",
            Activity::RefreshReuse => "session-revoked",
        }
    }
}

/// Counts, announces and audits an activity that is about one user.
pub(crate) async fn raise(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    activity: Activity,
    user: UserId,
) -> Result<(), Fault> {
    let version = account::next_version(tx, user).await?;
    announce(tx, app, client, activity, (user.into(), Some(user)), version).await
}

async fn announce(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    activity: Activity,
    (about, user_id): (Uuid, Option<UserId>),
    version: i64,
) -> Result<(), Fault> {
    let fact = SecuritySuspicious {
        about,
        user_id,
        activity_type: activity.name().to_owned(),
        caep_type: activity.caep_type().to_owned(),
        ip_prefix_hash: client.address.map(|address| client_network::public_hash(app.vault(), address)),
    };
    tx.announce(&fact, version).await?;
    tx.audit("security.suspicious", user_id, json!({ "activity_type": activity.name() })).await?;
    metrics::counter!("user_suspicious_activity_total", "activity_type" => activity.name()).increment(1);
    tracing::warn!(about = %about, activity = activity.name(), "suspicious activity");
    Ok(())
}

/// Announces a refused sign-in. The statements are the same whether there is such an account or not, so that their time
/// tells nothing: what nobody has is announced about a keyed hash of its address.
pub(crate) async fn sign_in_failed(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    account: attempts::Account,
    user: Option<UserId>,
    reason: &'static str,
) -> Result<(), Fault> {
    let about = user.map_or_else(|| pseudonym(&account), Uuid::from);
    let version = query_scalar!(
        "UPDATE identity.users SET version = version + 1 WHERE id = $1 RETURNING version",
        about
    )
    .fetch_optional(&mut **tx)
    .await?;
    let fact = UserLoginFailed {
        about,
        user_id: user,
        reason: reason.to_owned(),
        ip_prefix_hash: client.address.map(|address| client_network::public_hash(app.vault(), address)),
    };
    // what has no row has no version either: the time takes its place
    tx.announce(&fact, version.unwrap_or_else(|| tx.now().timestamp_micros())).await?;
    watch_address(tx, app, client, &account).await
}

/// Notes that an address failed for an account, and raises the alarm with the tenth account, once an hour.
async fn watch_address(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    account: &attempts::Account,
) -> Result<(), Fault> {
    let Some(address) = client.address else { return Ok(()) };
    let address = app.vault().hash("failing address", &[&client_network::one_client(address)]);
    let now = tx.now();
    // the row is locked until the commit: of parallel failures exactly one is the tenth
    let crossed = query_scalar!(
        "INSERT INTO identity.failing_addresses AS a (address, since, accounts, crossed)
         VALUES ($1, $2, ARRAY[$3::bytea], false)
         ON CONFLICT (address) DO UPDATE SET
             since = CASE WHEN a.since <= $4 THEN $2 ELSE a.since END,
             accounts = CASE WHEN a.since <= $4 THEN ARRAY[$3]
                             WHEN $3 = ANY (a.accounts) OR cardinality(a.accounts) >= $5 THEN a.accounts
                             ELSE a.accounts || $3 END,
             crossed = a.since > $4 AND cardinality(a.accounts) = $5 - 1 AND $3 <> ALL (a.accounts)
         RETURNING crossed",
        &address,
        now,
        account,
        now - STUFFING_WINDOW,
        STUFFING_ACCOUNTS
    )
    .fetch_one(&mut **tx)
    .await?;
    if crossed {
        let about = (pseudonym(&address), None);
        announce(tx, app, client, Activity::CredentialStuffing, about, now.timestamp_micros()).await?;
    }
    Ok(())
}

/// A keyed hash as an id (RFC 9562, version 8).
fn pseudonym(hash: &[u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Wrong passwords have locked an account, or only one of its known devices.
pub(crate) async fn locked(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    user: UserId,
    only_device: bool,
) -> Result<(), Fault> {
    let (now, lockout) = (tx.now(), app.settings().lockout);
    let until = now + lockout;
    if !only_device {
        let version = account::next_version(tx, user).await?;
        tx.announce(&UserLocked { user_id: user, until }, version).await?;
    }
    tx.audit("user.locked", Some(user), json!({ "until": until, "only_device": only_device })).await?;
    raise(tx, app, client, Activity::Lockout, user).await?;
    let due = query_scalar!(
        r#"INSERT INTO identity.lock_letters AS l (user_id, written_at) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE SET written_at = $2 WHERE l.written_at <= $3
           RETURNING (SELECT email FROM identity.users WHERE id = $1) AS "email!""#,
        user.0,
        now,
        now - LOCK_LETTERS
    )
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(to) = due {
        let language = account::language(tx, user).await?;
        mail::queue(tx, app, user, &Letter::account_locked(&to, language, lockout.num_minutes())).await?;
    }
    Ok(())
}

/// Looks at a sign-in that succeeds. The first one whose address is known tells nothing; after that, one by no known
/// device from a network of which there was none yet is suspicious, and its owner gets a letter that can end it. The
/// caller holds the lock of the user's row.
pub(crate) async fn signed_in(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    account: &sign_in::Account,
    sid: AuthSessionId,
    device_is_known: bool,
) -> Result<(), Fault> {
    let Some(address) = client.address else { return Ok(()) };
    let (user, now) = (account.id, tx.now());
    let network = client_network::network(address);
    let place = app.vault().hash("sign-in place", &[user.0.as_bytes(), &network]);
    // what it returns was so before it
    let before = query!(
        r#"INSERT INTO identity.sign_in_places (user_id, place, last_seen_at) VALUES ($1, $2, $3)
           ON CONFLICT (user_id, place) DO UPDATE SET last_seen_at = $3
           RETURNING EXISTS (SELECT FROM identity.sign_in_places WHERE user_id = $1 AND place = $2) AS "there!",
                     EXISTS (SELECT FROM identity.sign_in_places WHERE user_id = $1) AS "any!""#,
        user.0,
        &place,
        now
    )
    .fetch_one(&mut **tx)
    .await?;
    if before.there || device_is_known || !before.any {
        return Ok(());
    }
    raise(tx, app, client, Activity::NewDevice, user).await?;
    let link = session_link::of(app, user, sid, now);
    let from = client.agent.as_deref().and_then(device::name).unwrap_or_else(|| "?".to_owned());
    let language = account::language(tx, user).await?;
    mail::queue(tx, app, user, &Letter::new_sign_in(&account.email, language, now, &from, &link)).await
}

/// Forgets what is too old to tell anything.
pub(crate) async fn forget(app: &App, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    until_few(|| {
        query!(
            "DELETE FROM identity.failing_addresses WHERE since < $1 AND ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.failing_addresses WHERE since < $1 ORDER BY since LIMIT 1000))",
            now - STUFFING_WINDOW
        )
        .execute(app.pool())
    })
    .await?;
    until_few(|| {
        query!(
            "DELETE FROM identity.sign_in_places WHERE last_seen_at < $1 AND ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.sign_in_places WHERE last_seen_at < $1
                 ORDER BY last_seen_at LIMIT 1000))",
            now - PLACES_KEPT
        )
        .execute(app.pool())
    })
    .await
}
