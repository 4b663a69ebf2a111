//! What the broker did not ring is rung from the rows, and what it lost is armed again (architecture §6).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures_util::future::join_all;
use lectern_subjects::subject;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::consume::{self, End};
use crate::error::Error;
use crate::service::Service;
use crate::timers::{Rings, Rung, Which};

/// How often the rows are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// The broker's time to ring first.
const OVERDUE: TimeDelta = TimeDelta::seconds(10);
/// Schedules published again in one transaction.
const BATCH: i64 = 200;

/// Repairs at start and then regularly, in every process of the role, until it is told to stop.
pub(crate) async fn run<A: Clone + Send + Sync + 'static>(
    app: A,
    core: App,
    service: Arc<Service<A>>,
    stop: CancellationToken,
) {
    if service.timers.is_empty() {
        return;
    }
    let stream = subject::timer_stream(service.name());
    let rings = Rings { app, core, service, stop: stop.clone() };
    let mut trouble = None;
    while !stop.is_cancelled() {
        let looked = check_epoch(&rings.core, &stream).await;
        let now = looked.as_ref().err().map(ToString::to_string);
        match (&trouble, &now) {
            (None, Some(error)) => {
                tracing::error!(
                    stream,
                    error,
                    "the timers stream can't be seen; timers ring from their rows"
                );
            }
            (Some(_), None) => tracing::info!(stream, "the timers stream is there again"),
            _ => {}
        }
        trouble = now;
        join_all((0..consume::lanes(rings.core.pool()).min(4)).map(|_| sweep(&rings))).await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Rings what is overdue, one after the other.
async fn sweep<A: Clone + Send + Sync + 'static>(rings: &Rings<A>) {
    while !rings.stop.is_cancelled() {
        let since = rings.core.now() - OVERDUE;
        match rings.ring(&Which::DueSince(since), "repair", None).await {
            Ok(Rung::Fired) => {}
            Ok(Rung::Nothing | Rung::Early(_)) => return,
            Ok(Rung::Failed(row, error)) => {
                // a failure that could not be noted would be found again at once
                if let End::Again(error) = rings.failed(&row, error, None).await {
                    tracing::warn!(kind = row.kind, entity = %row.entity, error, "an overdue timer failed");
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "no repair of timers for now");
                return;
            }
        }
    }
}

/// Id, kind, entity, due, generation, trace.
type Armed = (Uuid, String, Uuid, DateTime<Utc>, i64, Option<String>);

/// A stream that was made anew has lost what was armed: all schedules are published again.
async fn check_epoch(core: &App, stream: &str) -> Result<(), Error> {
    let info = core.bus().jetstream().get_stream(stream).await.map_err(|e| Error::Broker(e.to_string()))?;
    let created = i64::try_from(info.cached_info().created.unix_timestamp_nanos()).unwrap_or_default();
    let epoch = DateTime::from_timestamp_nanos(created).trunc_subsecs(6);
    let known: Option<DateTime<Utc>> =
        sqlx::query_scalar("SELECT epoch FROM stream_epochs WHERE stream = $1")
            .bind(stream)
            .fetch_optional(core.pool())
            .await?;
    if known == Some(epoch) {
        return Ok(());
    }
    let armed = arm_again(core).await?;
    sqlx::query(
        "INSERT INTO stream_epochs (stream, epoch, noticed_at) VALUES ($1, $2, $3)
         ON CONFLICT (stream) DO UPDATE SET epoch = excluded.epoch, noticed_at = excluded.noticed_at",
    )
    .bind(stream)
    .bind(epoch)
    .bind(core.now())
    .execute(core.pool())
    .await?;
    if known.is_some() {
        tracing::warn!(stream, armed, "the timers stream was made anew; its timers are armed again");
    }
    Ok(())
}

/// Publishes the schedule of every armed timer. A row that is being changed is left out: its own transaction publishes it.
async fn arm_again(core: &App) -> Result<u64, Error> {
    let mut after = Uuid::nil();
    let mut armed = 0;
    loop {
        let mut tx = core.begin_internal().await?;
        let rows: Vec<Armed> = sqlx::query_as(
            "SELECT id, kind, entity, due_at, generation, trace FROM timers
             WHERE state = 'armed' AND id > $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        )
        .bind(after)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        let Some(last) = rows.last() else { return Ok(armed) };
        after = last.0;
        armed += rows.len() as u64;
        for (id, kind, entity, due_at, generation, trace) in rows {
            tx.set_causation(id, trace);
            tx.schedule(id, &kind, entity, due_at, generation).await?;
        }
        tx.commit_followed().await?;
    }
}
