//! Followers: a fact has its effect here once, however often it is delivered (architecture §5). So has a command.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use futures_util::FutureExt;
use lectern_subjects::id::UserId;
use lectern_subjects::subject;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::consume::{self, End, Source, database_away};
use crate::error::{Error, Unhandled};
use crate::service::{Follower, Service};
use crate::tx::Tx;
use crate::{faults, lanes, telemetry};

/// What is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Facts,
    Commands,
}

impl What {
    fn stream(self) -> &'static str {
        match self {
            What::Facts => "EVENTS",
            What::Commands => "COMMANDS",
        }
    }

    fn handlers<A>(self, service: &Service<A>) -> &[Follower<A>] {
        match self {
            What::Facts => &service.followers,
            What::Commands => &service.commands,
        }
    }

    /// What decides about the handler, and the key.
    fn parts(self, subject: &str) -> Option<(&str, Uuid)> {
        match self {
            What::Facts => subject::fact(subject),
            What::Commands => subject::command_parts(subject),
        }
    }
}

/// Deliveries of a fact (architecture §13).
const ATTEMPTS: i64 = 6;
/// Deliveries of a fact whose process died with it again and again. Most of those did nothing but wait beside the one that
/// kills: after [`ATTEMPTS`] they are handled one by one, in any order, so that half of them are done each time.
const SILENT_ATTEMPTS: i64 = 3 * ATTEMPTS;
/// What brings them into another order.
const SHUFFLE: Duration = Duration::from_millis(500);
/// The longest pause while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The part of an envelope that core reads.
#[derive(Deserialize)]
struct Head {
    event_id: Uuid,
    actor_id: Option<UserId>,
    trace: Option<String>,
}

/// Follows until it is told to stop.
pub(crate) async fn run<A: Clone + Send + Sync + 'static>(
    app: A,
    core: App,
    service: Arc<Service<A>>,
    what: What,
    stop: CancellationToken,
) {
    if what.handlers(&service).is_empty() {
        return;
    }
    let source = Source {
        core: core.clone(),
        stream: what.stream().to_owned(),
        consumer: service.name(),
        attempts: ATTEMPTS,
        stop: stop.clone(),
    };
    let lone = Arc::new(Mutex::new(()));
    let key = |message: &Message| match what.parts(&message.subject) {
        Some((_, key)) => key.to_string(),
        None => message.subject.to_string(),
    };
    lanes::run(source, key, |message| {
        let follow = Follow {
            app: app.clone(),
            core: core.clone(),
            service: service.clone(),
            what,
            stop: stop.clone(),
            lone: lone.clone(),
        };
        async move { follow.handle(&message).await }
    })
    .await;
}

struct Follow<A> {
    app: A,
    core: App,
    service: Arc<Service<A>>,
    what: What,
    stop: CancellationToken,
    /// Held by the one fact that is handled alone.
    lone: Arc<Mutex<()>>,
}

impl<A: Clone + Send + Sync + 'static> Follow<A> {
    async fn handle(&self, message: &Message) -> End {
        let kind = self.what.parts(&message.subject).map(|(kind, _)| kind);
        let Some(follower) = self.what.handlers(&self.service).iter().find(|f| Some(f.subject) == kind)
        else {
            return End::Done; // the filter of an older or newer release
        };
        let delivered = consume::deliveries(message);
        if delivered > SILENT_ATTEMPTS {
            return End::given_up(delivered);
        }
        let head: Head = match serde_json::from_slice(&message.payload) {
            Ok(head) => head,
            Err(error) => return End::Never(format!("no fact: {error}")),
        };
        let _alone = if delivered > ATTEMPTS {
            tokio::time::sleep(SHUFFLE.mul_f64(rand::random())).await;
            Some(self.lone.lock().await)
        } else {
            None
        };
        let span = telemetry::consumer_span(follower.subject, message.headers.as_ref());
        self.attempt_until_database(follower, message, &head).instrument(span).await
    }

    /// While the database is away the fact waits here; that is no failure of the fact.
    async fn attempt_until_database(&self, follower: &Follower<A>, message: &Message, head: &Head) -> End {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.attempt(follower, message, head).await {
                Ok(()) => break,
                Err(Unhandled::Never(error)) => return End::Never(format!("{error:#}")),
                Err(Unhandled::Again(error)) if database_away(&error) => {
                    tracing::debug!(error = format!("{error:#}"), "waiting for the database");
                }
                Err(Unhandled::Again(error)) => return End::Again(format!("{error:#}")),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = self.stop.cancelled() => return End::Left,
            }
        }
        if faults::hit("follow.before_ack").await.is_ok() { End::Done } else { End::Unsaid }
    }

    /// The inbox row and the effect, in one transaction.
    async fn attempt(&self, follower: &Follower<A>, message: &Message, head: &Head) -> Result<(), Unhandled> {
        let mut tx = self.core.begin_internal().await?;
        if !enter(&mut tx, self.service.name(), head.event_id).await? {
            return Ok(());
        }
        tx.set_actor(head.actor_id);
        tx.set_causation(head.event_id, telemetry::current_traceparent().or_else(|| head.trace.clone()));
        let handled = (follower.handler)(self.app.clone(), tx, message.payload.clone());
        match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(followed) => followed.map(drop),
            Err(panic) => {
                metrics::counter!("panics_total", "service" => self.service.name()).increment(1);
                Err(Unhandled::Again(anyhow::anyhow!(consume::panic_text(&*panic))))
            }
        }
    }
}

/// Makes the inbox row; false when the fact had its effect before.
async fn enter(tx: &mut Tx, consumer: &str, fact: Uuid) -> Result<bool, Error> {
    let now = tx.now();
    let entered = sqlx::query(
        "INSERT INTO inbox (consumer, fact_id, handled_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .bind(fact)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(entered.rows_affected() == 1)
}
