//! Drains: a stream handled in batches. The handler commits its effect and says of each message what becomes of it; only
//! then the broker is answered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::MessagesError;
use chrono::{DateTime, Utc};
use futures_util::{FutureExt, StreamExt};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::app::App;
use crate::consume::{self, End, Source, database_away, deliveries};
use crate::service::{DrainOf, Drained, Service, Verdict};
use crate::{faults, telemetry};

/// Deliveries of a message (architecture §13).
const ATTEMPTS: i64 = 6;
/// Deliveries of one that is handled alone, because those before ended without a word.
const SILENT_ATTEMPTS: i64 = 2 * ATTEMPTS;
/// Between two batches that are not full: under load messages gather, after a pause they are handled at once.
const PACE: Duration = Duration::from_millis(100);
/// The longest pause while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Drains until it is told to stop.
pub(crate) async fn run<A: Clone + Send + Sync + 'static>(
    app: A,
    core: App,
    service: Arc<Service<A>>,
    index: usize,
    stop: CancellationToken,
) {
    let of = &service.drains[index];
    let batch = of.drain.batch.clamp(1, 1000);
    let source = Source {
        core,
        stream: of.drain.stream.to_owned(),
        consumer: of.drain.consumer,
        attempts: ATTEMPTS,
        stop: stop.clone(),
    };
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(open) = source.open(batch).await {
        // as many as are there, at most a full batch: small batches when it is quiet, large ones under load
        let mut chunks = open.messages.ready_chunks(batch);
        let lost = loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = stop.cancelled() => {
                    while let Some(Some(chunk)) = chunks.next().now_or_never() {
                        for message in chunk.into_iter().flatten() {
                            source.settle(&message, open.last_delivery, End::Left).await;
                        }
                    }
                    return;
                }
            };
            let Some(chunk) = chunk else { break None };
            let (mut messages, mut error) = (Vec::with_capacity(chunk.len()), None);
            take(chunk, &mut messages, &mut error);
            let most = messages.iter().map(|message| deliveries(message)).max().unwrap_or_default();
            let mut at_once = batch;
            if most > ATTEMPTS {
                // tries of some ended without a word: processes died of one of them, and nobody knows of which
                at_once = 1;
                tokio::time::sleep(PACE).await;
                while let Some(Some(more)) = chunks.next().now_or_never() {
                    take(more, &mut messages, &mut error);
                }
                if let Some((message, end)) = in_turn(&mut messages, most) {
                    source.settle(&message, open.last_delivery, end).await;
                }
            }
            let mut rest = messages.as_slice();
            while !rest.is_empty() {
                let some = &rest[..at_once.min(rest.len())];
                let ends = handle(&app, &source, of, some, rest, open.progress).await;
                for (message, end) in some.iter().zip(ends) {
                    source.settle(message, open.last_delivery, end).await;
                }
                rest = &rest[some.len()..];
            }
            if error.is_some() {
                break error;
            }
            if messages.len() < batch {
                pace.tick().await;
            }
        };
        source.lost(lost.as_ref().map(|error| error as _));
    }
}

fn take(
    chunk: Vec<Result<Message, MessagesError>>,
    messages: &mut Vec<Arc<Message>>,
    error: &mut Option<MessagesError>,
) {
    for message in chunk {
        match message {
            Ok(message) => messages.push(Arc::new(message)),
            Err(fault) => *error = Some(fault),
        }
    }
}

/// Puts messages into the order in which each is tried alone; `most` is how often any of them was delivered. Every other time
/// from the other end, so that those behind the one that kills are done, too. Takes out the one that is given up: what stood
/// before it is done since long.
fn in_turn(messages: &mut Vec<Arc<Message>>, most: i64) -> Option<(Arc<Message>, End)> {
    messages.sort_by_key(|message| message.info().map_or(0, |info| info.stream_sequence));
    if most % 2 == 0 {
        messages.reverse();
        return None;
    }
    let times = deliveries(messages.first()?);
    (times > SILENT_ATTEMPTS).then(|| (messages.remove(0), End::given_up(times)))
}

/// Hands messages to the handler, with signs of life of all that are `held` while it works.
async fn handle<A: Clone + Send + Sync + 'static>(
    app: &A,
    source: &Source,
    of: &DrainOf<A>,
    messages: &[Arc<Message>],
    held: &[Arc<Message>],
    progress: Duration,
) -> Vec<End> {
    let batch: Vec<Drained> = messages.iter().map(|message| drained(message)).collect();
    let headers = messages.first().and_then(|message| message.headers.as_ref());
    let span = telemetry::consumer_span(of.drain.consumer, headers);
    let work = verdicts(app, source, of, batch).instrument(span);
    tokio::pin!(work);
    let mut signs_of_life = tokio::time::interval(progress);
    signs_of_life.reset();
    loop {
        tokio::select! {
            ends = &mut work => return ends,
            _ = signs_of_life.tick() => consume::progress(held).await,
        }
    }
}

async fn verdicts<A: Clone + Send + Sync + 'static>(
    app: &A,
    source: &Source,
    of: &DrainOf<A>,
    batch: Vec<Drained>,
) -> Vec<End> {
    let whole = attempt(app, source, of, batch.clone()).await;
    let ends = match whole {
        Err(_) if batch.len() > 1 => {
            // one bad message must not take the others with it
            let mut ends = Vec::with_capacity(batch.len());
            for message in batch {
                let alone = attempt(app, source, of, vec![message]).await;
                ends.append(&mut alone.unwrap_or_else(|end| vec![end]));
            }
            ends
        }
        whole => whole.unwrap_or_else(|end| vec![end]),
    };
    match faults::hit("drain.before_ack").await {
        Ok(()) => ends,
        Err(_) => ends.iter().map(|_| End::Unsaid).collect(),
    }
}

/// One call of the handler. While the database is away the batch waits here; that is no failure of its messages.
async fn attempt<A: Clone + Send + Sync + 'static>(
    app: &A,
    source: &Source,
    of: &DrainOf<A>,
    batch: Vec<Drained>,
) -> Result<Vec<End>, End> {
    let mut pause = Duration::from_millis(100);
    loop {
        if source.stop.is_cancelled() {
            return Ok(batch.iter().map(|_| End::Left).collect());
        }
        let handled = AssertUnwindSafe((of.handler)(app.clone(), batch.clone())).catch_unwind().await;
        let error = match handled {
            Ok(Ok(verdicts)) if verdicts.len() == batch.len() => {
                return Ok(verdicts.into_iter().map(end_of).collect());
            }
            Ok(Ok(verdicts)) => anyhow::anyhow!("{} verdicts for {} messages", verdicts.len(), batch.len()),
            Ok(Err(error)) => error,
            Err(panic) => {
                metrics::counter!("panics_total", "service" => source.core.service()).increment(1);
                anyhow::anyhow!(consume::panic_text(&*panic))
            }
        };
        if !database_away(&error) {
            return Err(End::Again(format!("{error:#}")));
        }
        tracing::debug!(consumer = source.consumer, error = format!("{error:#}"), "waiting for the database");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = source.stop.cancelled() => {}
        }
    }
}

fn end_of(verdict: Verdict) -> End {
    match verdict {
        Verdict::Done => End::Done,
        Verdict::Again(error) => End::Again(error),
        Verdict::Never(error) => End::Never(error),
    }
}

fn drained(message: &Message) -> Drained {
    let info = message.info().ok();
    let stored_at = info.as_ref().and_then(|info| i64::try_from(info.published.unix_timestamp_nanos()).ok());
    Drained {
        subject: message.subject.to_string(),
        payload: message.payload.clone(),
        stream_sequence: info.as_ref().map_or(0, |info| info.stream_sequence),
        stored_at: stored_at.map_or(DateTime::<Utc>::UNIX_EPOCH, DateTime::from_timestamp_nanos),
        delivered: info.as_ref().map_or(1, |info| info.delivered),
        trace: message.headers.as_ref().and_then(|h| h.get("traceparent")).map(|t| t.as_str().to_owned()),
    }
}
