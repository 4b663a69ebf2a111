//! Timers: PostgreSQL holds the truth, the broker rings (architecture §6). A ring has its effect once, not before it is due:
//! one conditional UPDATE in the transaction of the effect sees to that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use lectern_subjects::subject;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::consume::{self, End, Source, database_away};
use crate::dead::{self, Letter};
use crate::error::{Error, Unhandled};
use crate::service::{Ring, Service, Timer};
use crate::tx::{TimerBody, Tx};
use crate::{lanes, telemetry};

pub(crate) use crate::timer_repair::run as repair;

/// The durable consumer on a timers stream.
const CONSUMER: &str = "due";
/// Rings of one generation before it is given up (architecture §13).
const ATTEMPTS: i64 = 20;
/// The longest pause while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What comes on a `due` subject.
#[derive(Deserialize)]
#[serde(untagged)]
enum Due {
    Ring(TimerBody),
    Cancelled {
        #[serde(rename = "cancelled")]
        _entity: Uuid,
    },
}

/// Rings until it is told to stop.
pub(crate) async fn run<A: Clone + Send + Sync + 'static>(
    app: A,
    core: App,
    service: Arc<Service<A>>,
    stop: CancellationToken,
) {
    if service.timers.is_empty() {
        return;
    }
    let source = Source {
        core: core.clone(),
        stream: subject::timer_stream(service.name()),
        consumer: CONSUMER,
        attempts: ATTEMPTS,
        stop: stop.clone(),
    };
    let rings = Rings { app, core, service, stop };
    // rings of one timer one after the other; whatever has no timer is quickly done with
    let key = |message: &Message| match serde_json::from_slice(&message.payload) {
        Ok(Due::Ring(body)) => body.timer.to_string(),
        _ => message.subject.to_string(),
    };
    lanes::run(source, key, |message| {
        let rings = rings.clone();
        async move { rings.handle(&message).await }
    })
    .await;
}

/// The timers of one service in one process.
pub(crate) struct Rings<A> {
    pub app: A,
    pub core: App,
    pub service: Arc<Service<A>>,
    pub stop: CancellationToken,
}

impl<A: Clone> Clone for Rings<A> {
    fn clone(&self) -> Self {
        Rings {
            app: self.app.clone(),
            core: self.core.clone(),
            service: self.service.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// Which rows a ring may take.
pub(crate) enum Which {
    /// This arming of this timer, whenever it is due.
    This { timer: Uuid, generation: i64 },
    /// Any that is due since then and may be tried now; locked ones belong to another process.
    DueSince(DateTime<Utc>),
}

/// How a ring ended.
pub(crate) enum Rung {
    /// No such row: it rang before, was cancelled, was armed anew, or there is nothing to repair.
    Nothing,
    /// It had its effect.
    Fired,
    /// It is not due yet.
    Early(Duration),
    /// The handler failed.
    Failed(Row, Unhandled),
}

/// A timer that is marked fired in a transaction not yet committed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Row {
    pub id: Uuid,
    pub kind: String,
    pub entity: Uuid,
    pub due_at: DateTime<Utc>,
    pub generation: i64,
    pub trace: Option<String>,
    pub attempts: i32,
}

impl<A: Clone + Send + Sync + 'static> Rings<A> {
    async fn handle(&self, message: &Message) -> End {
        let body: TimerBody = match serde_json::from_slice(&message.payload) {
            Ok(Due::Ring(body)) => body,
            Ok(Due::Cancelled { .. }) => return End::Done,
            Err(error) => return End::Never(format!("no timer: {error}")),
        };
        let delivered = consume::deliveries(message);
        let which = Which::This { timer: body.timer, generation: body.generation };
        let mut pause = Duration::from_millis(100);
        loop {
            match self.ring(&which, "broker", message.headers.as_ref()).await {
                Ok(Rung::Nothing | Rung::Fired) => return End::Done,
                // the repair rings it when the broker has no delivery left
                Ok(Rung::Early(_)) if delivered >= ATTEMPTS => return End::Done,
                Ok(Rung::Early(left)) => return End::Later(left),
                Ok(Rung::Failed(row, error)) => return self.failed(&row, error, Some(message)).await,
                Err(error) if database_away(&error) => {
                    tracing::debug!(error = format!("{error:#}"), "a timer waits for the database");
                }
                Err(error) => return End::Again(format!("{error:#}")),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = self.stop.cancelled() => return End::Left,
            }
        }
    }

    /// A handler failed. That stands in the row, so that broker and repair keep to the same delays; after the last
    /// attempt the timer goes to the dead letters.
    pub async fn failed(&self, row: &Row, error: Unhandled, message: Option<&Message>) -> End {
        let (error, again) = match error {
            Unhandled::Again(error) => (format!("{error:#}"), true),
            Unhandled::Never(error) => (format!("{error:#}"), false),
        };
        let failures = i64::from(row.attempts) + 1;
        let mut last = !again || failures >= ATTEMPTS;
        if last && let Err(fault) = self.bury(row, &error, failures, message).await {
            tracing::error!(kind = row.kind, entity = %row.entity, %fault, "the dead letters don't take a timer");
            last = false;
        }
        match self.note_failure(row, failures, last).await {
            Ok(()) if last => End::Done,
            Ok(()) => {
                tracing::warn!(kind = row.kind, entity = %row.entity, failures, error, "a timer failed; it rings again");
                End::Later(consume::delay(failures))
            }
            Err(fault) => End::Again(format!("{error}; and that could not be noted: {fault}")),
        }
    }

    async fn bury(
        &self,
        row: &Row,
        error: &str,
        attempts: i64,
        message: Option<&Message>,
    ) -> Result<(), Error> {
        let body =
            TimerBody { timer: row.id, entity: row.entity, generation: row.generation, due: row.due_at };
        let letter = Letter {
            stream: &subject::timer_stream(self.core.service()),
            consumer: CONSUMER,
            subject: &subject::timer_due(self.core.service(), &row.kind),
            sequence: message.and_then(|m| m.info().ok()).map_or(0, |info| info.stream_sequence),
            id: Some(format!("{}.{}", row.id, row.generation)),
            error,
            attempts,
            headers: message.and_then(|m| m.headers.as_ref()),
            payload: serde_json::to_vec(&body)?.into(),
        };
        dead::bury(&self.core, letter).await
    }

    /// Notes a failed ring, or that it was the last.
    async fn note_failure(&self, row: &Row, failures: i64, last: bool) -> Result<(), Error> {
        let retry_at = self.core.now() + consume::delay(failures);
        sqlx::query(
            "UPDATE timers SET attempts = $3, retry_at = $4, state = $5
             WHERE id = $1 AND generation = $2 AND state = 'armed'",
        )
        .bind(row.id)
        .bind(row.generation)
        .bind(i32::try_from(failures).unwrap_or(i32::MAX))
        .bind(retry_at)
        .bind(if last { "dead" } else { "armed" })
        .execute(self.core.pool())
        .await?;
        Ok(())
    }

    /// Marks a timer fired and runs its handler, in one transaction.
    ///
    /// # Errors
    /// When the database is away or the row is locked: nothing was tried.
    pub async fn ring(
        &self,
        which: &Which,
        by: &'static str,
        headers: Option<&HeaderMap>,
    ) -> anyhow::Result<Rung> {
        let mut tx = self.core.begin_internal().await?;
        let now = tx.now();
        let Some(row) = self.mark_fired(&mut tx, which).await? else { return Ok(Rung::Nothing) };
        if let Some(left) = (row.due_at - now).to_std().ok().filter(|left| !left.is_zero()) {
            return Ok(Rung::Early(left)); // the transaction is dropped: it stays armed
        }
        let Some(timer) = self.service.timers.iter().find(|timer| timer.kind == row.kind) else {
            let error = anyhow::anyhow!("no handler for timers of kind {}", row.kind);
            return Ok(Rung::Failed(row, Unhandled::Again(error)));
        };
        let span = telemetry::consumer_span(timer.kind, headers.or(traced(&row).as_ref()));
        match self.run_handler(timer, tx, &row).instrument(span).await {
            Ok(()) => {
                metrics::counter!("timers_fired_total", "kind" => timer.kind, "by" => by).increment(1);
                let late = (now - row.due_at).as_seconds_f64();
                metrics::histogram!("timer_lateness_seconds", "kind" => timer.kind).record(late);
                Ok(Rung::Fired)
            }
            Err(Unhandled::Again(error)) if database_away(&error) => Err(error),
            Err(error) => Ok(Rung::Failed(row, error)),
        }
    }

    async fn mark_fired(&self, tx: &mut Tx, which: &Which) -> Result<Option<Row>, Error> {
        let now = tx.now();
        let marked = match which {
            Which::This { timer, generation } => {
                sqlx::query_as(
                    "UPDATE timers SET state = 'fired', fired_at = $3
                     WHERE id = $1 AND generation = $2 AND state = 'armed'
                     RETURNING id, kind, entity, due_at, generation, trace, attempts",
                )
                .bind(timer)
                .bind(generation)
                .bind(now)
                .fetch_optional(&mut **tx)
                .await?
            }
            Which::DueSince(since) => {
                let kinds: Vec<&str> = self.service.timers.iter().map(|timer| timer.kind).collect();
                sqlx::query_as(
                    "UPDATE timers SET state = 'fired', fired_at = $2
                     WHERE id = (
                         SELECT id FROM timers
                         WHERE state = 'armed' AND due_at <= $1 AND kind = ANY ($3) AND coalesce(retry_at, due_at) <= $2
                         ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
                     )
                     RETURNING id, kind, entity, due_at, generation, trace, attempts",
                )
                .bind(since)
                .bind(now)
                .bind(kinds)
                .fetch_optional(&mut **tx)
                .await?
            }
        };
        Ok(marked)
    }

    async fn run_handler(&self, timer: &Timer<A>, mut tx: Tx, row: &Row) -> Result<(), Unhandled> {
        tx.set_causation(row.id, telemetry::current_traceparent().or_else(|| row.trace.clone()));
        let ring = Ring { kind: timer.kind, entity: row.entity, due_at: row.due_at };
        match AssertUnwindSafe((timer.handler)(self.app.clone(), tx, ring)).catch_unwind().await {
            Ok(followed) => followed.map(drop),
            Err(panic) => {
                metrics::counter!("panics_total", "service" => self.service.name()).increment(1);
                Err(Unhandled::Again(anyhow::anyhow!(consume::panic_text(&*panic))))
            }
        }
    }
}

/// The trace that armed a timer, as a message would carry it.
fn traced(row: &Row) -> Option<HeaderMap> {
    let trace = row.trace.as_deref()?;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", crate::reply::header_text(trace).as_str());
    Some(headers)
}
