//! What a process remembers of its own service's rows, by their id. It never shows less than what anybody was told is done,
//! on however many processes (`spec/protocols.md` P9).
//!
//! Who commits a change publishes which entities have which version before it answers ([`Tx`](crate::Tx) does, with the ping
//! that wakes the relay). The broker hands a process its messages in the order in which it took them, so this news reaches
//! every other process before any request that somebody sends because of the answer; and a look into the cache first takes
//! in all news that has arrived. Should the ping be lost with the process that was to send it, the fact follows from the
//! outbox. After a connection was lost everything is forgotten. What is left is a cluster whose nodes reach each other by
//! ways of different length: there `X-Min-Version` says what to wait for, and nothing lives longer than its time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lectern_subjects::subject;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Map;
use serde::Deserialize;
use uuid::Uuid;

use crate::app::App;
use crate::bus::Bus;
use crate::error::Error;

/// How long it is remembered that an entity has changed: longer than any read under way.
const NEWS_KEPT: Duration = Duration::from_secs(60);
/// Entities of which that is remembered.
const NEWS: u64 = 10_000;
/// News is taken in this often when nobody looks, so that it does not pile up.
const LISTEN: Duration = Duration::from_millis(100);

/// Values by id, each with its version.
pub struct Cache<V> {
    kind: &'static str,
    bus: Bus,
    state: Mutex<State<V>>,
}

struct State<V> {
    /// Pings, facts.
    heard: [Subscriber; 2],
    /// Connections and losses so far: another number means that news may have been missed.
    unbroken: u64,
    /// How often everything was forgotten.
    epoch: u64,
    kept: Map<Uuid, (i64, V)>,
    /// The newest version that was heard of.
    news: Map<Uuid, i64>,
}

/// A look that found nothing: what is read now may be kept, unless it has changed in between.
#[derive(Debug)]
pub struct Ticket {
    key: Uuid,
    epoch: u64,
}

/// What of a fact concerns a cache.
#[derive(Deserialize)]
struct Changed {
    subject_id: Uuid,
    entity_version: i64,
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// An empty one of at most `capacity` values, each for at most `life`. `kind` is its label in the metrics, `facts` the
    /// service's own facts that tell of changes, for example `evt.identity.v1.user.>`.
    ///
    /// # Errors
    /// [`Error::Broker`] when the connection is closed.
    pub async fn new(
        app: &App,
        kind: &'static str,
        facts: &'static str,
        capacity: u64,
        life: Duration,
    ) -> Result<Arc<Cache<V>>, Error> {
        let client = app.bus().client();
        let subscribe = async |subject: String| {
            client.subscribe(subject).await.map_err(|error| Error::Broker(error.to_string()))
        };
        let heard = [subscribe(subject::wake(app.service())).await?, subscribe(facts.to_owned()).await?];
        // the default policy keeps out what is new while others are popular; the last one used is what we want
        let map = Map::builder().eviction_policy(EvictionPolicy::lru());
        let kept = map.max_capacity(capacity).time_to_live(life).build();
        let news = Map::builder().eviction_policy(EvictionPolicy::lru());
        let news = news.max_capacity(NEWS).time_to_live(NEWS_KEPT).build();
        let state = Mutex::new(State { heard, unbroken: 0, epoch: 0, kept, news });
        let cache = Arc::new(Cache { kind, bus: app.bus().clone(), state });
        for name in ["cache_hits_total", "cache_misses_total"] {
            metrics::counter!(name, "cache_type" => kind).increment(0);
        }
        let listener = Arc::downgrade(&cache);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LISTEN).await;
                let Some(cache) = listener.upgrade() else { return };
                cache.with(|_| ());
            }
        });
        Ok(cache)
    }

    /// The value of an id, when it is known in this version or a later one.
    ///
    /// # Errors
    /// A ticket, when it has to be read.
    pub fn get(&self, key: Uuid, at_least: Option<i64>) -> Result<V, Ticket> {
        let found = self.with(|state| match state.kept.get(&key) {
            Some((version, value)) if at_least.is_none_or(|least| version >= least) => Ok(value),
            _ => Err(Ticket { key, epoch: state.epoch }),
        });
        let name = if found.is_ok() { "cache_hits_total" } else { "cache_misses_total" };
        metrics::counter!(name, "cache_type" => self.kind).increment(1);
        found
    }

    /// Keeps what was read after the look that gave this ticket.
    pub fn keep(&self, ticket: Ticket, version: i64, value: V) {
        self.with(|state| {
            let newest = state.news.get(&ticket.key).unwrap_or(version);
            let newer = state.kept.get(&ticket.key).is_some_and(|(kept, _)| kept > version);
            if ticket.epoch == state.epoch && newest <= version && !newer {
                state.kept.insert(ticket.key, (version, value));
            }
        });
    }

    /// Does something with what is kept, all news taken in.
    fn with<T>(&self, what: impl FnOnce(&mut State<V>) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let unbroken = self.bus.breaks();
        if state.unbroken != unbroken {
            state.unbroken = unbroken;
            state.epoch += 1;
            state.kept.invalidate_all();
        }
        state.take_in();
        what(&mut state)
    }
}

impl<V: Clone + Send + Sync + 'static> State<V> {
    fn take_in(&mut self) {
        // a task that has used up its turn would be told that nothing is there
        let [pings, facts] = &mut self.heard;
        while let Some(Some(ping)) = tokio::task::unconstrained(pings.next()).now_or_never() {
            for (key, version) in changes(&ping.payload) {
                changed(&self.kept, &self.news, key, version);
            }
        }
        while let Some(Some(fact)) = tokio::task::unconstrained(facts.next()).now_or_never() {
            match serde_json::from_slice::<Changed>(&fact.payload) {
                Ok(Changed { subject_id, entity_version }) => {
                    changed(&self.kept, &self.news, subject_id, entity_version);
                }
                Err(error) => tracing::warn!(%error, subject = %fact.subject, "a fact that can't be read"),
            }
        }
    }
}

/// An entity has this version: an older value goes. News that comes late finds a newer one, and changes nothing.
fn changed<V: Clone + Send + Sync + 'static>(
    kept: &Map<Uuid, (i64, V)>,
    news: &Map<Uuid, i64>,
    key: Uuid,
    version: i64,
) {
    news.insert(key, news.get(&key).map_or(version, |known| known.max(version)));
    if kept.get(&key).is_some_and(|(known, _)| known < version) {
        kept.invalidate(&key);
    }
}

/// The body of the ping that wakes the relay: what has changed, `<id> <version>` in a line each.
pub(crate) fn ping(changes: &[(Uuid, i64)]) -> Bytes {
    let lines: Vec<String> = changes.iter().map(|(key, version)| format!("{key} {version}")).collect();
    lines.join("\n").into()
}

fn changes(ping: &[u8]) -> impl Iterator<Item = (Uuid, i64)> {
    str::from_utf8(ping).unwrap_or_default().lines().filter_map(|line| {
        let (key, version) = line.split_once(' ')?;
        Some((key.parse().ok()?, version.parse().ok()?))
    })
}

impl Bus {
    /// A number that is another one whenever messages to this process may have been lost.
    fn breaks(&self) -> u64 {
        self.client().statistics().connects.load(Ordering::Relaxed) + self.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> (Map<Uuid, (i64, &'static str)>, Map<Uuid, i64>) {
        (Map::new(10), Map::new(10))
    }

    #[test]
    fn a_ping_reads_back_and_one_of_another_shape_says_nothing() {
        let said = [(Uuid::from_u128(1), 7), (Uuid::from_u128(2), 1)];
        assert_eq!(changes(&ping(&said)).collect::<Vec<_>>(), said);
        assert_eq!(ping(&[]), "");
        for other in ["", "7", "x 7", "00000000-0000-0000-0000-000000000001 seven", "\u{fffd}"] {
            assert_eq!(changes(other.as_bytes()).count(), 0, "{other}");
        }
    }

    #[test]
    fn p9_news_of_an_older_version_voids_nothing_and_of_a_newer_one_does() {
        let (kept, news) = maps();
        let key = Uuid::from_u128(1);
        kept.insert(key, (5, "five"));
        for late in [3, 5] {
            changed(&kept, &news, key, late);
            assert_eq!(kept.get(&key), Some((5, "five")));
        }
        changed(&kept, &news, key, 6);
        changed(&kept, &news, key, 4);
        assert_eq!((kept.get(&key), news.get(&key)), (None, Some(6)));
    }
}
