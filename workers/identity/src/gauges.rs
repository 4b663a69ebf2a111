//! Numbers that are looked up, not counted as things happen (I-129, I-130, I-134), and the series that dashboards and
//! alerts must find before anything has happened.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{query, query_scalar};

use crate::app::App;
use crate::sign_in::suspicion::Activity;

/// Counting takes one part in so many of a connection's time: what took 0.1 s is counted every 15 s, what took 2 s every
/// 200 s. It stays exact, however many accounts there are, and its age is bounded.
const SHARE: u32 = 100;
/// Longer than other statements: it holds no lock that anybody waits for.
const TIME_TO_COUNT: &str = "SET LOCAL statement_timeout = '60s'";
/// Whoever counts has this long before another process does. Longer than it may take, so that where it can't be counted in
/// that time it is not tried all the time.
const LEASE: TimeDelta = TimeDelta::minutes(10);
/// How often.
pub(crate) const PACE: Duration = Duration::from_secs(15);

/// A session that was signed in or refreshed so recently is an active one: the hour of seed 001 (identity spec C7). A client
/// that is in use refreshes more often than that.
const ACTIVE: TimeDelta = TimeDelta::hours(1);

/// Sets the gauges. Every process shows the same accounts and sessions (take the maximum, not the sum); one of them at a
/// time counts, the others read what it found. The pool is each process's own (take the sum).
pub async fn gauges(app: App) -> anyhow::Result<()> {
    let now = app.now();
    let due = query_scalar!(r#"SELECT due_at <= $1 AS "due!" FROM identity.counts"#, now);
    if due.fetch_one(app.pool()).await? {
        count(&app, now).await?;
    }
    show(&app).await
}

/// Counts, unless another process does: what a row says that is being counted into is not much older.
async fn count(app: &App, now: DateTime<Utc>) -> anyhow::Result<()> {
    // committed before it is counted: a count that fails is not due again at once
    let ours = query!("UPDATE identity.counts SET due_at = $2 WHERE due_at <= $1", now, now + LEASE);
    if ours.execute(app.pool()).await?.rows_affected() == 0 {
        return Ok(());
    }
    let mut tx = app.begin_internal().await?;
    query(TIME_TO_COUNT).execute(&mut *tx).await?;
    let began = Instant::now();
    query!(
        "UPDATE identity.counts SET
             counted_at = $1,
             users = (SELECT count(*) FROM identity.users WHERE status <> 'deleted'),
             active_users = (SELECT count(*) FROM identity.users WHERE is_active),
             active_sessions = (SELECT count(*) FROM identity.auth_sessions
                                WHERE kind = 'user' AND revoked_at IS NULL AND expires_at_idle > $1
                                  AND last_seen_at > $2)",
        now,
        now - ACTIVE
    )
    .execute(&mut *tx)
    .await?;
    // half a pace early, for processes whose rounds fall between
    let pause = (began.elapsed() * SHARE).max(PACE / 2);
    query!("UPDATE identity.counts SET due_at = $1", now + TimeDelta::from_std(pause)?)
        .execute(&mut *tx)
        .await?;
    tx.commit_followed().await?;
    Ok(())
}

async fn show(app: &App) -> anyhow::Result<()> {
    let counts = query!("SELECT users, active_users, active_sessions FROM identity.counts")
        .fetch_one(app.pool())
        .await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of people fit")]
    let exactly = |count: i64| count as f64;
    metrics::gauge!("users_total").set(exactly(counts.users));
    metrics::gauge!("active_users_total").set(exactly(counts.active_users));
    metrics::gauge!("user_active_sessions").set(exactly(counts.active_sessions));
    metrics::gauge!("user_database_connections").set(f64::from(app.pool().size()));
    Ok(())
}

/// Makes the series of seed 001 stand at zero: a rate over a series that is not there yet is no number.
pub(crate) fn start_at_zero() {
    for status in ["success", "failed", "rate_limited"] {
        metrics::counter!("user_login_attempts_total", "status" => status).increment(0);
        metrics::counter!("user_signup_total", "status" => status).increment(0);
    }
    for reason in ["invalid_password", "user_not_found", "account_locked", "rate_limited"] {
        metrics::counter!("user_failed_login_attempts_total", "reason" => reason).increment(0);
    }
    for status in ["success", "failed", "expired"] {
        metrics::counter!("user_email_verification_total", "status" => status).increment(0);
    }
    for status in ["requested", "success", "failed", "expired"] {
        metrics::counter!("user_password_reset_total", "status" => status).increment(0);
    }
    for activity in Activity::ALL {
        metrics::counter!("user_suspicious_activity_total", "activity_type" => activity.name()).increment(0);
    }
    metrics::counter!("user_account_lockouts_total").increment(0);
    for status in ["rotated", "grace", "reused", "expired", "refused"] {
        metrics::counter!("user_refresh_total", "status" => status).increment(0);
    }
}
