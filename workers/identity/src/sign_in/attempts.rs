//! The exact counter of sign-in attempts (architecture §13): a place is taken before a password is looked at, by one
//! conditional statement, so that no number of parallel guesses on any number of processes gets more than five looks.
//! A right password gives its place back; a sixth one that comes meanwhile waits instead of being locked out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::{Call, Tx};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{CommonRefusal, Refusal};
use sqlx::postgres::PgQueryResult;
use sqlx::{PgConnection, query, query_scalar};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::account;
use crate::app::{App, Fault};

/// A place is free again after this long, should its process die.
const LEASE: TimeDelta = TimeDelta::seconds(10);
/// A waiting sign-in gives up this much before its deadline, so that it can still say so.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);

/// What is counted by, as the counter knows it: a keyed hash of the address, whether somebody has it or not, or of the
/// user whose second factor is tried, or whose password within a session.
pub(crate) type Account = [u8; 32];

/// The counter of an address's passwords at sign-in.
pub(crate) fn account(app: &App, email: &str) -> Account {
    app.vault().hash("sign-in account", &[account::normal(email).as_bytes()])
}

/// The counter of the passwords that a user who is signed in is asked for again. Strangers can't reach it: whatever they do
/// to the one above, the owner can prove who they are and change the password.
pub(crate) fn signed_in(app: &App, user: UserId) -> Account {
    app.vault().hash("password of who is signed in", &[user.0.as_bytes()])
}

/// Places within this process: waiting sign-ins queue here, fairly, and only the first few ask the database.
#[derive(Default)]
pub(crate) struct Places(Mutex<HashMap<Account, Weak<Semaphore>>>);

/// One of the five places of an account.
pub(crate) struct Place {
    account: Account,
    lease: DateTime<Utc>,
    _local: OwnedSemaphorePermit,
}

/// Takes a place to check one password.
///
/// # Errors
/// USER_1003 with `Retry-After` while the account is locked; COMMON_0010 when no place becomes free in time.
pub(crate) async fn take(app: &App, call: &Call, account: Account) -> Result<Place, Fault> {
    let max = app.settings().max_attempts;
    let patience = app.time_left(call).saturating_sub(TIME_TO_ANSWER);
    let waiting = tokio::time::timeout(patience, app.places().of(account, max).acquire_owned());
    let local = waiting.await.map_err(|_| busy())?.map_err(Fault::broken)?;
    loop {
        let now = app.now();
        let lease = (now + LEASE).max(call.deadline + TimeDelta::seconds(5));
        let mut connection = app.connect_patiently(call).await?;
        if let Some(lease) = try_take(app, &mut connection, account, now, lease).await? {
            return Ok(Place { account, lease, _local: local });
        }
        let locked = locked_until(&mut connection, account, now).await?;
        // waiting without a connection in hand
        drop(connection);
        if let Some(until) = locked {
            let seconds = (until - now).as_seconds_f64().ceil().max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 86400")]
            return Err(IdentityRefusal::AccountLocked.retry_after(seconds as u32).into());
        }
        if app.time_left(call) <= TIME_TO_ANSWER {
            return Err(busy());
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..=60))).await;
    }
}

fn busy() -> Fault {
    CommonRefusal::Unavailable.retry_after(1).into()
}

/// The lease that was given; none when the account is locked or all places are taken.
async fn try_take(
    app: &App,
    connection: &mut PgConnection,
    account: Account,
    now: DateTime<Utc>,
    lease: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let settings = app.settings();
    // a lock that ran out, and failures older than a lock lasts, are forgotten; leases that ran out are free again;
    // a lease's time is made unique, it is what the place is given back by
    let given = query_scalar!(
        r#"INSERT INTO identity.sign_in_attempts AS a (account, failed, in_flight, touched_at)
           VALUES ($1, 0, ARRAY[$3::timestamptz], $2)
           ON CONFLICT (account) DO UPDATE SET
               failed = CASE WHEN COALESCE(a.locked_until <= $2 OR a.last_failed_at <= $4, false)
                             THEN 0 ELSE a.failed END,
               locked_until = NULL,
               in_flight = ARRAY(SELECT l FROM unnest(a.in_flight) l WHERE l > $2 ORDER BY l)
                   || greatest($3, (SELECT max(l) FROM unnest(a.in_flight) l) + interval '1 microsecond'),
               touched_at = $2
           WHERE (a.locked_until IS NULL OR a.locked_until <= $2)
             AND CASE WHEN COALESCE(a.locked_until <= $2 OR a.last_failed_at <= $4, false)
                      THEN 0 ELSE a.failed END
                 + (SELECT count(*) FROM unnest(a.in_flight) l WHERE l > $2) < $5
           RETURNING in_flight[cardinality(in_flight)] AS "lease!""#,
        &account,
        now,
        lease,
        now - settings.lockout,
        i64::from(settings.max_attempts),
    );
    given.fetch_optional(connection).await
}

async fn locked_until(
    connection: &mut PgConnection,
    account: Account,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    query_scalar!(
        r#"SELECT locked_until AS "until!" FROM identity.sign_in_attempts WHERE account = $1 AND locked_until > $2"#,
        &account,
        now
    )
    .fetch_optional(connection)
    .await
}

impl Place {
    /// The password was wrong: counted. Says whether this one locked the account.
    pub async fn failed(self, app: &App, tx: &mut Tx) -> Result<bool, Fault> {
        let (now, settings) = (tx.now(), app.settings());
        let counted = query!(
            r#"INSERT INTO identity.sign_in_attempts AS a
                   (account, failed, in_flight, last_failed_at, locked_until, touched_at)
               VALUES ($1, 1, '{}', $2, CASE WHEN $3 <= 1 THEN $4::timestamptz END, $2)
               ON CONFLICT (account) DO UPDATE SET
                   failed = LEAST(a.failed + 1, $3),
                   in_flight = array_remove(a.in_flight, $5),
                   last_failed_at = $2,
                   locked_until = CASE WHEN a.failed + 1 >= $3 THEN $4 ELSE a.locked_until END,
                   touched_at = $2
               RETURNING locked_until"#,
            &self.account,
            now,
            settings.max_attempts,
            now + settings.lockout,
            self.lease,
        )
        .fetch_one(&mut **tx)
        .await?;
        Ok(counted.locked_until.is_some())
    }

    /// The password was right: the place is free again and the counter starts over.
    pub async fn succeeded(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query!(
            "UPDATE identity.sign_in_attempts
             SET failed = 0, last_failed_at = NULL, locked_until = NULL, in_flight = array_remove(in_flight, $2)
             WHERE account = $1",
            &self.account,
            self.lease
        )
        .execute(connection)
        .await
        .map(drop)
    }

    /// Nothing was found out: the place is free again, the counter stays. Should that fail, the lease runs out.
    pub async fn give_back(&self, app: &App) {
        let given_back = query!(
            "UPDATE identity.sign_in_attempts SET in_flight = array_remove(in_flight, $2) WHERE account = $1",
            &self.account,
            self.lease
        )
        .execute(app.pool())
        .await;
        if let Err(error) = given_back {
            tracing::warn!(%error, "a sign-in attempt keeps its place until its lease runs out");
        }
    }
}

impl Places {
    fn of(&self, account: Account, max: i32) -> Arc<Semaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&account).and_then(Weak::upgrade) {
            return place;
        }
        if places.len() >= 1024 {
            places.retain(|_, place| place.strong_count() > 0);
        }
        let place = Arc::new(Semaphore::new(usize::try_from(max).unwrap_or(1)));
        places.insert(account, Arc::downgrade(&place));
        place
    }
}

/// Starts counters over and lifts their locks; what is looked at right now keeps its place. Says whether there was anything
/// to lift.
pub(crate) async fn clear(connection: &mut PgConnection, accounts: &[Account]) -> Result<bool, sqlx::Error> {
    let accounts: Vec<Vec<u8>> = accounts.iter().map(|account| account.to_vec()).collect();
    // in one order, whoever clears the same ones
    let cleared = query!(
        "WITH mine AS (SELECT account FROM identity.sign_in_attempts
                       WHERE account = ANY ($1) ORDER BY account FOR UPDATE)
         UPDATE identity.sign_in_attempts a SET failed = 0, last_failed_at = NULL, locked_until = NULL
         FROM mine WHERE a.account = mine.account AND (a.failed > 0 OR a.locked_until IS NOT NULL)",
        &accounts
    )
    .execute(connection)
    .await?;
    Ok(cleared.rows_affected() > 0)
}

/// Forgets counters that say nothing any more.
pub(crate) async fn forget(app: &App, now: DateTime<Utc>) -> Result<PgQueryResult, sqlx::Error> {
    let before = now - app.settings().lockout.max(TimeDelta::minutes(5));
    query!(
        "DELETE FROM identity.sign_in_attempts WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM identity.sign_in_attempts
             WHERE touched_at < $1 AND (locked_until IS NULL OR locked_until <= $2)
             ORDER BY touched_at LIMIT 1000))
         AND touched_at < $1",
        before,
        now
    )
    .execute(app.pool())
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_queue_while_somebody_waits_in_it() {
        let places = Places::default();
        let first = places.of([1; 32], 5);
        assert!(Arc::ptr_eq(&first, &places.of([1; 32], 5)));
        assert!(!Arc::ptr_eq(&first, &places.of([2; 32], 5)));
    }

    #[test]
    fn queues_that_nobody_waits_in_are_forgotten() {
        let places = Places::default();
        for n in 0..5000_u32 {
            let mut account = [0; 32];
            account[..4].copy_from_slice(&n.to_be_bytes());
            drop(places.of(account, 5));
        }
        assert!(places.0.lock().unwrap().len() <= 1024);
    }
}
