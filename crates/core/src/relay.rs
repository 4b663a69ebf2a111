//! The relay of the outbox: publishes what was committed, in the order of each key, and moves it to the archive when the
//! stream has acknowledged it (architecture §5). One process per schema relays; the others stand by.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Subscriber};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use lectern_subjects::subject;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;
use crate::housekeeping::Housekeeping;
use crate::publish::NotStored;
use crate::{faults, reply};

/// Rows taken at once.
const WINDOW: i64 = 256;
/// How often the outbox is looked at when nobody wakes the relay (architecture §13).
const SWEEP: Duration = Duration::from_millis(200);
/// A window begins at least this long after the one before: under load rows gather and go together, the first one after a
/// pause goes at once.
const PACE: Duration = Duration::from_millis(20);
/// How often a process that stands by tries to become the one that relays.
const STAND_BY: Duration = Duration::from_secs(1);
/// A database that does not answer for this long has lost us: the lock goes with the connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the gauges are renewed.
const MEASURE: Duration = Duration::from_secs(1);
/// The longest pause of a key that is not taken, and of a stream that takes nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_STREAM_PAUSE: Duration = Duration::from_secs(1);

/// Relays until it is told to stop.
pub(crate) async fn run(core: App, stop: CancellationToken) {
    let mut failing = false;
    while !stop.is_cancelled() {
        match lead(&core, &stop).await {
            Ok(()) => failing = false,
            Err(error) if failing => {
                tracing::debug!(service = core.service(), %error, "the relay still fails")
            }
            Err(error) => {
                failing = true;
                tracing::warn!(service = core.service(), %error, "the relay stopped; trying again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(STAND_BY) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Waits for the lock, then relays. All statements run on the connection that holds the lock: who loses the lock can't
/// mark anything any more.
async fn lead(core: &App, stop: &CancellationToken) -> Result<(), Error> {
    let options = core.pool().connect_options();
    let mut connection = patiently(options.connect()).await?;
    let mut wakes = core
        .bus()
        .client()
        .subscribe(subject::wake(core.service()))
        .await
        .map_err(|e| Error::Broker(e.to_string()))?;
    while !take_lock(&mut connection).await? {
        tokio::select! {
            () = tokio::time::sleep(STAND_BY) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    tracing::info!(service = core.service(), "relaying the outbox");
    let mut relay = Relay {
        core,
        connection,
        paused: Paused::default(),
        housekeeping: Housekeeping::default(),
        measured: None,
    };
    let ended = relay.work(&mut wakes, stop).await;
    gauge(core.service(), 0, 0.0);
    // closing gives the lock back at once
    let _closed = tokio::time::timeout(Duration::from_secs(1), relay.connection.close()).await;
    ended
}

async fn take_lock(connection: &mut PgConnection) -> Result<bool, Error> {
    let lock = "SELECT pg_try_advisory_lock(hashtext('lectern.relay'), hashtext(current_schema()))";
    patiently(sqlx::query_scalar(lock).fetch_one(connection)).await
}

async fn patiently<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    Ok(tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(timed_out()))?)
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    id: Uuid,
    stream: String,
    subject: String,
    key: String,
    headers: serde_json::Value,
    payload: Vec<u8>,
}

struct Relay<'a> {
    core: &'a App,
    connection: PgConnection,
    paused: Paused,
    housekeeping: Housekeeping,
    measured: Option<Instant>,
}

impl Relay<'_> {
    async fn work(&mut self, wakes: &mut Subscriber, stop: &CancellationToken) -> Result<(), Error> {
        let mut connected = true;
        let mut awake = true;
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // what woke us until now is in the window that is claimed next
            let _woken = self.core.relay_woken().now_or_never();
            while let Some(Some(_)) = wakes.next().now_or_never() {}
            let was_connected = std::mem::replace(&mut connected, self.core.bus().is_connected());
            if connected && !was_connected {
                self.paused.forget();
            }
            // without a broker there is nothing to try
            let more = connected && self.relay_window().await?;
            self.measure().await?;
            self.housekeeping.step(&mut self.connection, self.core.now()).await;
            if more {
                continue;
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = self.core.relay_woken() => {}
                ping = wakes.next(), if awake => {
                    awake = ping.is_some();
                }
                () = tokio::time::sleep(SWEEP) => {}
                // one more round: what was committed until now
                () = stop.cancelled() => {}
            }
            pace.tick().await;
        }
    }

    /// Publishes one window of rows; says whether there may be more that can be published now.
    async fn relay_window(&mut self) -> Result<bool, Error> {
        let now = Instant::now();
        let rows = self.claim(now).await?;
        let claimed = rows.len();
        let mut stored = 0;
        let mut lanes: Vec<Lane> = lanes_of(rows);
        while !lanes.is_empty() {
            faults::hit("relay.before_publish").await?;
            let results = join_all(lanes.iter().map(|lane| self.publish(lane.first()))).await;
            faults::hit("relay.after_publish").await?;
            let (taken, refused): (Vec<_>, Vec<_>) =
                lanes.into_iter().zip(results).partition(|(_, result)| result.is_ok());
            self.paused.note(self.core.service(), &taken, &refused);
            let marked: Vec<i64> = taken.iter().map(|(lane, _)| lane.first().seq).collect();
            stored += marked.len();
            self.mark(&marked).await?;
            faults::hit("relay.after_mark").await?;
            lanes = taken.into_iter().filter_map(|(lane, _)| lane.without_first()).collect();
        }
        Ok(stored > 0 && claimed == WINDOW as usize)
    }

    /// The oldest rows whose key and stream are not paused. By status, not by "seq > last": a gap in the sequence hides a
    /// late commit (`spec/reliability.md` B4).
    async fn claim(&mut self, now: Instant) -> Result<Vec<Row>, Error> {
        let (streams, keys) = self.paused.until_later(now);
        let claim = sqlx::query_as(
            "SELECT seq, id, stream, subject, key, headers, payload FROM outbox
             WHERE stream <> ALL ($1) AND key <> ALL ($2) ORDER BY seq LIMIT $3",
        )
        .bind(streams)
        .bind(keys)
        .bind(WINDOW);
        patiently(claim.fetch_all(&mut self.connection)).await
    }

    async fn publish(&self, row: &Row) -> Result<(), NotStored> {
        let mut headers = HeaderMap::new();
        if let Some(fields) = row.headers.as_object() {
            for (name, value) in fields {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                headers.insert(name.as_str(), reply::header_text(&text).as_str());
            }
        }
        headers.insert("Nats-Msg-Id", row.id.to_string().as_str());
        headers.insert("Nats-Expected-Stream", row.stream.as_str());
        self.core.bus().store(&row.subject, headers, row.payload.clone().into()).await.map(drop)
    }

    /// Acknowledged rows leave the outbox for the archive, in one statement.
    async fn mark(&mut self, stored: &[i64]) -> Result<(), Error> {
        if stored.is_empty() {
            return Ok(());
        }
        let mark = sqlx::query(
            "WITH stored AS (
                 DELETE FROM outbox WHERE seq = ANY ($1)
                 RETURNING seq, id, stream, subject, key, headers, payload, created_at
             )
             INSERT INTO outbox_archive (seq, id, stream, subject, key, headers, payload, created_at, published_at)
             SELECT seq, id, stream, subject, key, headers, payload, created_at, $2 FROM stored",
        )
        .bind(stored)
        .bind(self.core.now());
        patiently(mark.execute(&mut self.connection)).await?;
        let count = stored.len() as u64;
        metrics::counter!("relay_published_total", "service" => self.core.service()).increment(count);
        Ok(())
    }

    async fn measure(&mut self) -> Result<(), Error> {
        if self.measured.is_some_and(|at| at.elapsed() < MEASURE) {
            return Ok(());
        }
        // a long outage must not make the counting itself expensive
        let pending = sqlx::query_as(
            "SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT 100000) AS counted),
                    (SELECT created_at FROM outbox ORDER BY seq LIMIT 1)",
        );
        let (count, oldest): (i64, Option<DateTime<Utc>>) =
            patiently(pending.fetch_one(&mut self.connection)).await?;
        let lag = oldest.map_or(0.0, |oldest| (self.core.now() - oldest).as_seconds_f64().max(0.0));
        gauge(self.core.service(), count, lag);
        self.measured = Some(Instant::now());
        Ok(())
    }
}

fn gauge(service: &'static str, pending: i64, lag_seconds: f64) {
    metrics::gauge!("outbox_pending", "service" => service).set(pending as f64);
    metrics::gauge!("outbox_lag_seconds", "service" => service).set(lag_seconds);
}

/// The rows of one key, the first last.
struct Lane {
    rows: Vec<Row>,
}

impl Lane {
    fn without_first(mut self) -> Option<Lane> {
        self.rows.pop();
        (!self.rows.is_empty()).then_some(self)
    }

    fn first(&self) -> &Row {
        &self.rows[self.rows.len() - 1]
    }
}

/// Rows by key; keys in the order of their first rows.
fn lanes_of(rows: Vec<Row>) -> Vec<Lane> {
    let mut places = HashMap::<String, usize>::new();
    let mut lanes = Vec::<Lane>::new();
    for row in rows {
        let place = *places.entry(row.key.clone()).or_insert_with(|| {
            lanes.push(Lane { rows: Vec::new() });
            lanes.len() - 1
        });
        lanes[place].rows.push(row);
    }
    for lane in &mut lanes {
        lane.rows.reverse();
    }
    lanes
}

/// Streams and keys that were not taken: they wait, the others go on. Every row is tried for ever.
#[derive(Default)]
struct Paused {
    streams: HashMap<String, Pause>,
    keys: HashMap<String, Pause>,
}

struct Pause {
    until: Instant,
    length: Duration,
}

type Published = (Lane, Result<(), NotStored>);

impl Paused {
    /// The streams and keys that wait at this moment.
    fn until_later(&self, now: Instant) -> (Vec<String>, Vec<String>) {
        let waiting = |pauses: &HashMap<String, Pause>| {
            pauses.iter().filter(|(_, pause)| pause.until > now).map(|(name, _)| name.clone()).collect()
        };
        (waiting(&self.streams), waiting(&self.keys))
    }

    /// Learns from one wave. A stream waits as a whole when it took nothing and refused several keys; else the keys do.
    fn note(&mut self, service: &'static str, taken: &[Published], refused: &[Published]) {
        for (lane, _) in taken {
            let row = lane.first();
            let (stream, key) = (self.streams.remove(&row.stream), self.keys.remove(&row.key));
            if stream.is_some() || key.is_some() {
                tracing::info!(
                    service,
                    stream = row.stream,
                    subject = row.subject,
                    "taken by its stream again"
                );
            }
        }
        metrics::counter!("relay_refused_total", "service" => service).increment(refused.len() as u64);
        let mut broken = HashMap::<&str, usize>::new();
        for (lane, result) in refused {
            if let Err(NotStored::NoStream(_) | NotStored::StreamRefused(_)) = result {
                *broken.entry(&lane.first().stream).or_default() += 1;
            }
        }
        broken.retain(|stream, keys| {
            *keys > 1 && taken.iter().all(|(lane, _)| lane.first().stream != **stream)
        });
        let mut paused = Vec::new();
        for (lane, result) in refused {
            let (row, Err(error)) = (lane.first(), result) else { continue };
            let whole = broken.contains_key(row.stream.as_str());
            if whole && paused.contains(&row.stream.as_str()) {
                continue;
            }
            let (pauses, name, longest) = if whole {
                paused.push(&row.stream);
                (&mut self.streams, &row.stream, LONGEST_STREAM_PAUSE)
            } else {
                (&mut self.keys, &row.key, LONGEST_PAUSE)
            };
            let known = pauses.get(name);
            if known.is_none() {
                tracing::error!(
                    service,
                    stream = row.stream,
                    subject = row.subject,
                    id = %row.id,
                    %error,
                    "not taken by its stream; trying again for ever, other keys and streams go on"
                );
            }
            let length = known.map_or(SWEEP, |pause| (pause.length * 2).min(longest));
            pauses.insert(name.clone(), Pause { until: Instant::now() + length, length });
        }
    }

    /// The broker is back: everything may be tried at once.
    fn forget(&mut self) {
        self.streams.values_mut().chain(self.keys.values_mut()).for_each(|pause| {
            pause.until = Instant::now();
            pause.length = SWEEP;
        });
    }
}
