//! What followers, timers and drains share: a durable pull consumer that is opened again whenever it ends, signs of life
//! while the work goes on, and what becomes of a message at the end.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::dead::{self, Letter};
use crate::error::Error;

/// Delays before another delivery (architecture §13).
const DELAYS_S: [u64; 5] = [1, 5, 30, 120, 600];
/// Most messages handled at once, whatever the pool.
const MOST_LANES: usize = 16;
/// A consumer that is not open for this long is reported as an error.
const ALARM: Duration = Duration::from_secs(10);

/// The delay after the `delivered`-th failure, from 1.
pub(crate) fn delay(delivered: i64) -> Duration {
    let place = usize::try_from(delivered - 1).unwrap_or(0).min(DELAYS_S.len() - 1);
    Duration::from_secs(DELAYS_S[place])
}

/// How much of a pool background work may take: half, so that requests always find a connection.
pub(crate) fn lanes(pool: &PgPool) -> usize {
    (pool.options().get_max_connections() as usize / 2).clamp(1, MOST_LANES)
}

/// Whether the database was not there: no failure of the message, which then waits without being counted as tried.
pub(crate) fn database_away(error: &anyhow::Error) -> bool {
    let error = match error.downcast_ref::<Error>() {
        Some(Error::Sql(error)) => Some(error),
        Some(_) => None,
        None => error.downcast_ref::<sqlx::Error>(),
    };
    match error {
        Some(
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed,
        ) => true,
        // class 08 connection, 53 resources, 57P operator intervention
        Some(sqlx::Error::Database(database)) => database
            .code()
            .is_some_and(|code| code.starts_with("08") || code.starts_with("53") || code.starts_with("57P")),
        _ => false,
    }
}

/// What a panicking handler said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("without a word"))
}

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum End {
    /// It had its effect, now or before.
    Done,
    /// It came too early: nothing failed.
    Later(Duration),
    /// It failed; again after the delay, or to the dead letters after the last attempt.
    Again(String),
    /// To the dead letters at once.
    Never(String),
    /// Nothing was tried, because this process stops: another one takes it.
    Left,
    /// A fault point stands for a process that died before it could say anything.
    Unsaid,
}

impl End {
    /// To the dead letters untried: nobody who had it before lived to say what became of it.
    pub fn given_up(deliveries: i64) -> End {
        End::Never(format!("given up at delivery {deliveries}: those before ended without a result"))
    }
}

/// How often a message was delivered, from 1.
pub(crate) fn deliveries(message: &Message) -> i64 {
    message.info().map_or(1, |info| info.delivered)
}

/// A durable pull consumer, made by provisioning.
pub(crate) struct Source {
    pub core: App,
    pub stream: String,
    pub consumer: &'static str,
    /// Deliveries after which a message is given up.
    pub attempts: i64,
    pub stop: CancellationToken,
}

/// An open consumer.
pub(crate) struct Open {
    pub messages: pull::Stream,
    /// How often a held message needs a sign of life.
    pub progress: Duration,
    /// Deliveries after which the broker forgets a message; none: never.
    pub last_delivery: Option<i64>,
}

impl Source {
    /// Opens the consumer, however often it takes; none when the process stops.
    pub async fn open(&self, batch: usize) -> Option<Open> {
        let (mut pause, since, mut alarmed) = (Duration::from_millis(50), Instant::now(), false);
        loop {
            match self.try_open(batch).await {
                Ok(open) => {
                    self.gauge(1.0);
                    if alarmed {
                        tracing::info!(
                            stream = self.stream,
                            consumer = self.consumer,
                            "the consumer is open again"
                        );
                    }
                    return Some(open);
                }
                Err(error) => {
                    if !alarmed && since.elapsed() >= ALARM {
                        alarmed = true;
                        tracing::error!(
                            stream = self.stream,
                            consumer = self.consumer,
                            error,
                            "no consumer is open"
                        );
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
                () = self.stop.cancelled() => return None,
            }
        }
    }

    async fn try_open(&self, batch: usize) -> Result<Open, String> {
        if !self.core.bus().is_connected() {
            return Err("not connected to the broker".to_owned());
        }
        let jetstream = self.core.bus().jetstream();
        let consumer = jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(self.consumer, &self.stream)
            .await
            .map_err(|e| e.to_string())?;
        let config = &consumer.cached_info().config;
        let progress = (config.ack_wait / 3).clamp(Duration::from_millis(200), Duration::from_secs(10));
        let last_delivery = (config.max_deliver > 0).then_some(config.max_deliver);
        let messages = consumer
            .stream()
            .max_messages_per_batch(batch)
            .expires(Duration::from_secs(20))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await
            .map_err(|e| e.to_string())?;
        Ok(Open { messages, progress, last_delivery })
    }

    /// The consumer ended; it will be opened again.
    pub fn lost(&self, error: Option<&(dyn std::error::Error + Send + Sync)>) {
        self.gauge(0.0);
        let error = error.map_or_else(|| "it ended".to_owned(), ToString::to_string);
        tracing::debug!(
            stream = self.stream,
            consumer = self.consumer,
            error,
            "the consumer is opened again"
        );
    }

    pub fn gauge(&self, open: f64) {
        let labels = [("stream", self.stream.clone()), ("consumer", self.consumer.to_owned())];
        metrics::gauge!("consumers_open", &labels).set(open);
        // there from the start: an alert can't see the growth of what begins at one
        metrics::counter!("dead_letters_total", &labels).increment(0);
    }

    /// Tells the broker what became of a message. Whatever is lost on the way, it comes again, and the inbox or the
    /// timer's generation absorbs it.
    pub async fn settle(&self, message: &Message, last_delivery: Option<i64>, end: End) {
        let delivered = deliveries(message);
        let outcome = match &end {
            End::Done => "done",
            End::Later(_) | End::Left => "later",
            End::Again(_) if delivered < self.attempts => "again",
            End::Again(_) | End::Never(_) => "dead",
            End::Unsaid => return,
        };
        let labels = [
            ("stream", self.stream.clone()),
            ("consumer", self.consumer.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        metrics::counter!("consumer_messages_total", &labels).increment(1);
        let answer = match end {
            End::Done => AckKind::Ack,
            End::Later(delay) => AckKind::Nak(Some(delay)),
            End::Left | End::Unsaid => AckKind::Nak(None),
            End::Again(error) if delivered < self.attempts => {
                tracing::warn!(
                    stream = self.stream,
                    consumer = self.consumer,
                    subject = %message.subject,
                    delivered,
                    error,
                    "not handled; it comes again"
                );
                AckKind::Nak(Some(delay(delivered)))
            }
            End::Again(error) | End::Never(error) => {
                self.give_up(message, delivered, last_delivery, &error).await
            }
        };
        if let Err(error) = message.ack_with(answer).await {
            tracing::warn!(stream = self.stream, consumer = self.consumer, %error, "an acknowledgement was lost");
        }
    }

    /// Buries a message. As long as the dead letters don't take it, it is kept: with the broker while that delivers it
    /// again, else here.
    async fn give_up(
        &self,
        message: &Message,
        delivered: i64,
        last_delivery: Option<i64>,
        error: &str,
    ) -> AckKind {
        loop {
            let letter = Letter {
                stream: &self.stream,
                consumer: self.consumer,
                subject: &message.subject,
                sequence: message.info().map_or(0, |info| info.stream_sequence),
                id: message
                    .headers
                    .as_ref()
                    .and_then(|h| h.get("Nats-Msg-Id"))
                    .map(|id| id.as_str().to_owned()),
                error,
                attempts: delivered,
                headers: message.headers.as_ref(),
                payload: message.payload.clone(),
            };
            let Err(fault) = dead::bury(&self.core, letter).await else { return AckKind::Term };
            tracing::error!(stream = self.stream, consumer = self.consumer, %fault, "the dead letters don't take it");
            if last_delivery.is_none_or(|last| delivered < last) {
                return AckKind::Nak(Some(Duration::from_secs(30)));
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
                () = self.stop.cancelled() => return AckKind::Nak(None),
            }
        }
    }
}

/// Says of messages that work on them goes on.
pub(crate) async fn progress<'m>(messages: impl IntoIterator<Item = &'m Arc<Message>>) {
    for message in messages {
        let _lost = message.ack_with(AckKind::Progress).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_at_ten_minutes() {
        let delays: Vec<u64> = (1..=7).map(|delivered| delay(delivered).as_secs()).collect();
        assert_eq!(delays, [1, 5, 30, 120, 600, 600, 600]);
        assert_eq!(delay(0).as_secs(), 1);
    }

    #[test]
    fn a_lost_database_is_no_failure_of_the_message() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(database_away(&lost().into()));
        assert!(database_away(&Error::Sql(lost()).into()));
        assert!(!database_away(&sqlx::Error::RowNotFound.into()));
        assert!(!database_away(&Error::CommitUnknown(lost()).into()));
        assert!(!database_away(&anyhow::anyhow!("something else")));
    }
}
