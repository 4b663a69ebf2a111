//! Ends everybody's sessions: an order that is taken down, then carried out in batches, by the request that gave it as long
//! as somebody waits for its answer, and by a sweep of any process after that.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{RevokeAllSessions, RevokedSessions};
use serde_json::json;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use crate::app::{App, Fault, into_error};
use crate::session::revocation;
use crate::session::{self, Reason};

/// How often a process looks for orders that are not carried out.
pub(crate) const PACE: Duration = Duration::from_secs(2);
/// Live sessions that one statement reads at most: some milliseconds, of the two seconds that it may take.
const WINDOW: i64 = 2000;
/// Users per transaction: their rows are locked until it ends, and another process that carries out the same order waits
/// for them, half a second at most.
const BATCH: usize = 10;
/// The request stops this long before its deadline, so that it can still answer.
const TIME_TO_ANSWER: Duration = Duration::from_millis(500);

/// An order.
struct Order {
    id: Uuid,
    began_before: DateTime<Utc>,
    asked_by: UserId,
}

/// Takes the order down and carries out as much of it as there is time for.
pub async fn revoke_all(app: App, call: Call, req: RevokeAllSessions) -> Outcome<RevokeAllSessions> {
    let asked_by = call.user()?.user;
    let mut tx = app.begin_patiently(&call).await?;
    let now = tx.now();
    let began_before = req.began_before.map_or(now, |at| at.min(now));
    let order = Order { id: app.new_id(), began_before, asked_by };
    query!(
        "INSERT INTO identity.mass_revocations (id, began_before, asked_by, asked_at) VALUES ($1, $2, $3, $4)",
        order.id,
        began_before,
        asked_by.0,
        now
    )
    .execute(&mut *tx)
    .await?;
    tx.audit("session.revoked_all", None, json!({ "began_before": began_before })).await?;
    // nobody has counted yet, and counting must not keep the order from being taken down
    let mut progress = tx.commit(RevokedSessions { began_before, remaining: 1 }).await?;
    let time = app.time_left(&call).saturating_sub(TIME_TO_ANSWER);
    let mut last = Uuid::nil();
    match tokio::time::timeout(time, carry_out(&app, &order, &mut last)).await {
        Ok(Ok(())) => progress.remaining = 0,
        Ok(Err(fault)) => {
            tracing::warn!(error = %into_error(fault), "not all sessions are ended yet; they will be");
        }
        Err(_) => progress.remaining = at_least(&app, &order, last).await.unwrap_or(1).max(1),
    }
    tracing::info!(%began_before, remaining = progress.remaining, "everybody's sessions are being ended");
    Ok(progress)
}

/// Carries out what requests could not.
pub async fn resume(app: App) -> anyhow::Result<()> {
    let orders = query_as!(
        Order,
        r#"SELECT id, began_before, asked_by AS "asked_by: UserId" FROM identity.mass_revocations
           WHERE done_at IS NULL ORDER BY asked_at"#
    )
    .fetch_all(app.pool())
    .await?;
    for order in orders {
        carry_out(&app, &order, &mut Uuid::nil()).await.map_err(into_error)?;
    }
    Ok(())
}

/// Ends what is left, user by user in the order of their ids, those after `last`. Two processes may do it at once: who
/// comes second to a user finds nothing to end. No statement reads more than [`WINDOW`] live sessions, however many there
/// are and however few of them began in time.
async fn carry_out(app: &App, order: &Order, last: &mut Uuid) -> Result<(), Fault> {
    while let Some(end) = window(app, *last).await? {
        let now = app.now();
        let users = query_scalar!(
            r#"SELECT DISTINCT user_id AS "id!: UserId" FROM identity.auth_sessions
               WHERE revoked_at IS NULL AND user_id > $1 AND user_id <= $2 AND created_at < $3 AND expires_at_abs > $4
               ORDER BY 1"#,
            *last,
            end,
            order.began_before,
            now
        )
        .fetch_all(app.pool())
        .await?;
        for batch in users.chunks(BATCH) {
            end_sessions(app, order, batch).await?;
        }
        *last = end;
    }
    tell_of(app, order).await?;
    query!("UPDATE identity.mass_revocations SET done_at = $2 WHERE id = $1", order.id, app.now())
        .execute(app.pool())
        .await?;
    Ok(())
}

/// The last user of the next few live sessions.
async fn window(app: &App, after: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    query_scalar!(
        "SELECT max(user_id::text)::uuid FROM (
             SELECT user_id FROM identity.auth_sessions WHERE revoked_at IS NULL AND user_id > $1
             ORDER BY user_id LIMIT $2) AS next",
        after,
        WINDOW
    )
    .fetch_one(app.pool())
    .await
}

async fn end_sessions(app: &App, order: &Order, users: &[UserId]) -> Result<(), Fault> {
    let mut tx = app.begin_internal().await?;
    tx.set_actor(Some(order.asked_by));
    let now = tx.now();
    let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
    // in the order in which sign-in, refresh and sign-out lock: the user, then the sessions
    query!("SELECT id FROM identity.users WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", &ids)
        .fetch_all(&mut *tx)
        .await?;
    let mut ended: Vec<AuthSessionId> = Vec::new();
    for user in users {
        let live = query_scalar!(
            r#"SELECT sid AS "sid: AuthSessionId" FROM identity.auth_sessions
               WHERE user_id = $1 AND revoked_at IS NULL AND created_at < $2 AND expires_at_abs > $3"#,
            user.0,
            order.began_before,
            now
        )
        .fetch_all(&mut *tx)
        .await?;
        ended.extend(session::revoke(&mut tx, *user, &live, Reason::Admin).await?);
    }
    tx.commit_followed().await?;
    revocation::tell_sessions(app, &ended).await
}

/// Tells what another process has ended for this order and may not have told yet.
async fn tell_of(app: &App, order: &Order) -> Result<(), Fault> {
    loop {
        let untold = query_scalar!(
            r#"SELECT p.sid AS "sid: AuthSessionId" FROM identity.pending_revocations p
               JOIN identity.auth_sessions s ON s.sid = p.sid
               WHERE p.repeat_until IS NULL AND s.created_at < $1 LIMIT $2"#,
            order.began_before,
            WINDOW
        )
        .fetch_all(app.pool())
        .await?;
        if untold.is_empty() {
            return Ok(());
        }
        revocation::tell_sessions(app, &untold).await?;
    }
}

/// How many sessions of the next few wait for their end.
async fn at_least(app: &App, order: &Order, last: Uuid) -> Result<i64, sqlx::Error> {
    query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT created_at, expires_at_abs FROM identity.auth_sessions
               WHERE revoked_at IS NULL AND user_id > $1 ORDER BY user_id LIMIT $2) AS next
           WHERE created_at < $3 AND expires_at_abs > $4"#,
        last,
        WINDOW,
        order.began_before,
        app.now()
    )
    .fetch_one(app.pool())
    .await
}
