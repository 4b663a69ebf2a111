//! What a process remembers of its own service's rows, by their id. It never shows less than what anybody was told is done,
//! on however many processes (`spec/protocols.md` P9).
//!
//! Who commits a change publishes which entities have which version before it answers ([`Tx`](crate::Tx) does, with the ping
//! that wakes the relay). The broker hands a process its messages in the order in which it took them, so this news reaches
//! every other process before any request that somebody sends because of the answer; and a look into the cache first takes
//! in all news that has arrived. Should the ping be lost with the process that was to send it, the fact follows from the
//! outbox. After a connection was lost everything is forgotten, and nothing is a hit until a ping to ourselves has come back:
//! before, the broker may not have heard yet what we listen to. What is left is a cluster whose nodes reach each other by
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
    state: Mutex<(News, Kept<V>)>,
}

/// What comes in.
struct News {
    pings: Subscriber,
    facts: Subscriber,
    /// Connections and losses so far: another number means that something may have been missed.
    breaks: u64,
    /// Ours alone, in the pings to ourselves.
    name: u128,
}

/// What is remembered.
struct Kept<V> {
    /// How often everything was forgotten.
    epoch: u64,
    /// The ping to ourselves that has not come back since a connection was lost: until then news may pass us by.
    awaited: Option<Bytes>,
    values: Map<Uuid, (i64, V)>,
    /// The newest version that was heard of, of what has changed lately.
    newest: Map<Uuid, i64>,
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
        let news = News {
            pings: subscribe(subject::wake(app.service())).await?,
            facts: subscribe(facts.to_owned()).await?,
            breaks: 0,
            name: rand::random(),
        };
        let state = Mutex::new((news, Kept::new(capacity, life)));
        let cache = Arc::new(Cache { kind, bus: app.bus().clone(), state });
        for name in ["cache_hits_total", "cache_misses_total"] {
            metrics::counter!(name, "cache_type" => kind).increment(0);
        }
        let (listener, wake) = (Arc::downgrade(&cache), subject::wake(app.service()));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LISTEN).await;
                let Some(cache) = listener.upgrade() else { return };
                if let Some(awaited) = cache.with(|kept| kept.awaited.clone()) {
                    cache.bus.ping(wake.clone(), awaited).await;
                }
            }
        });
        Ok(cache)
    }

    /// The value of an id, when it is known in this version or a later one.
    ///
    /// # Errors
    /// A ticket, when it has to be read.
    pub fn get(&self, key: Uuid, at_least: Option<i64>) -> Result<V, Ticket> {
        let found = self.with(|kept| kept.get(key, at_least));
        let name = if found.is_ok() { "cache_hits_total" } else { "cache_misses_total" };
        metrics::counter!(name, "cache_type" => self.kind).increment(1);
        found
    }

    /// Keeps what was read after the look that gave this ticket.
    pub fn keep(&self, ticket: Ticket, version: i64, value: V) {
        self.with(|kept| kept.keep(&ticket, version, value));
    }

    /// Does something with what is kept, all news taken in.
    fn with<T>(&self, what: impl FnOnce(&mut Kept<V>) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (news, kept) = &mut *state;
        let breaks = self.bus.breaks();
        if std::mem::replace(&mut news.breaks, breaks) != breaks {
            kept.forget();
            kept.awaited = Some(format!("{NOTHING} {:x} {breaks}", news.name).into());
        }
        news.take_in(kept);
        what(kept)
    }
}

impl News {
    fn take_in<V: Clone + Send + Sync + 'static>(&mut self, kept: &mut Kept<V>) {
        // a task that has used up its turn would be told that nothing is there
        while let Some(Some(ping)) = tokio::task::unconstrained(self.pings.next()).now_or_never() {
            kept.told(&ping.payload);
        }
        while let Some(Some(fact)) = tokio::task::unconstrained(self.facts.next()).now_or_never() {
            match serde_json::from_slice::<Changed>(&fact.payload) {
                Ok(Changed { subject_id, entity_version }) => kept.changed(subject_id, entity_version),
                Err(error) => tracing::warn!(%error, subject = %fact.subject, "a fact that can't be read"),
            }
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Kept<V> {
    fn new(capacity: u64, life: Duration) -> Kept<V> {
        // the default policy keeps out what is new while others are popular; the last ones used are what we want
        let (values, newest) = (Map::builder(), Map::builder());
        Kept {
            epoch: 0,
            awaited: None,
            values: values
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(capacity)
                .time_to_live(life)
                .build(),
            newest: newest
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(NEWS)
                .time_to_live(NEWS_KEPT)
                .build(),
        }
    }

    fn get(&self, key: Uuid, at_least: Option<i64>) -> Result<V, Ticket> {
        match self.values.get(&key) {
            Some((version, value))
                if self.awaited.is_none() && at_least.is_none_or(|least| version >= least) =>
            {
                Ok(value)
            }
            _ => Err(Ticket { key, epoch: self.epoch }),
        }
    }

    fn keep(&mut self, ticket: &Ticket, version: i64, value: V) {
        let is_newest = self.newest.get(&ticket.key).is_none_or(|newest| version >= newest);
        let replaces = self.values.get(&ticket.key).is_none_or(|(kept, _)| version >= kept);
        if ticket.epoch == self.epoch && is_newest && replaces {
            self.values.insert(ticket.key, (version, value));
        }
    }

    /// An entity has this version: an older value goes. News that comes late finds a newer one, and changes nothing.
    fn changed(&mut self, key: Uuid, version: i64) {
        self.newest.insert(key, self.newest.get(&key).map_or(version, |known| known.max(version)));
        if self.values.get(&key).is_some_and(|(kept, _)| kept < version) {
            self.values.invalidate(&key);
        }
    }

    /// A ping came. One that does not say what has changed, as older processes send them, may mean anything.
    fn told(&mut self, ping: &[u8]) {
        if self.awaited.as_deref() == Some(ping) {
            // what was read meanwhile may be older than news that did not reach us
            self.awaited = None;
            return self.forget();
        }
        match changes(ping) {
            Some(changes) => changes.into_iter().for_each(|(key, version)| self.changed(key, version)),
            None => self.forget(),
        }
    }

    fn forget(&mut self) {
        self.epoch += 1;
        self.values.invalidate_all();
    }
}

/// The body of a ping that only wakes the relay, and how one to ourselves begins.
const NOTHING: &str = "-";

/// The body of the ping that wakes the relay and says what has changed.
pub(crate) fn ping(changes: &[(Uuid, i64)]) -> Bytes {
    ping_of(Some(lines(changes)))
}

/// The same of [`lines`]; without them everything is to be forgotten.
pub(crate) fn ping_of(lines: Option<String>) -> Bytes {
    match lines {
        Some(lines) if lines.is_empty() => NOTHING.into(),
        lines => lines.unwrap_or_default().into(),
    }
}

/// What has changed, `<id> <version>` in a line each.
pub(crate) fn lines(changes: &[(Uuid, i64)]) -> String {
    let lines: Vec<String> = changes.iter().map(|(key, version)| format!("{key} {version}")).collect();
    lines.join("\n")
}

/// What a ping says has changed; none when it does not say.
fn changes(ping: &[u8]) -> Option<Vec<(Uuid, i64)>> {
    let change = |line: &str| {
        let (key, version) = line.split_once(' ')?;
        Some((key.parse().ok()?, version.parse().ok()?))
    };
    match str::from_utf8(ping).ok()? {
        "" => None,
        nothing if nothing.starts_with(NOTHING) => Some(Vec::new()),
        lines => lines.lines().map(change).collect(),
    }
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

    const KEY: Uuid = Uuid::from_u128(1);

    fn empty() -> Kept<&'static str> {
        Kept::new(2, Duration::from_secs(60))
    }

    #[test]
    fn p9_a_ping_reads_back_and_after_one_that_does_not_say_what_changed_nothing_is_kept() {
        let said = [(Uuid::from_u128(1), 7), (Uuid::from_u128(2), 1)];
        assert_eq!(changes(&ping(&said)).unwrap(), said);
        let mut kept = empty();
        let ticket = kept.get(KEY, None).unwrap_err();
        kept.keep(&ticket, 7, "seven");
        kept.told(&ping(&said));
        kept.told(&ping(&[]));
        assert_eq!(kept.get(KEY, None).unwrap(), "seven");
        let line = "00000000-0000-0000-0000-000000000001 6";
        // the first is an older process's
        for other in ["", "7", "x 7", &format!("{line}th"), "\u{fffd}", &format!("{line}\n?")] {
            let ticket = kept.get(Uuid::from_u128(2), None).unwrap_err();
            kept.told(other.as_bytes());
            kept.keep(&ticket, 1, "read before");
            let ticket = kept.get(KEY, None).expect_err(other);
            kept.get(Uuid::from_u128(2), None).expect_err(other);
            kept.keep(&ticket, 7, "seven");
        }
    }

    #[test]
    fn p9_news_of_an_older_version_voids_nothing_and_of_a_newer_one_does() {
        let mut kept = empty();
        let ticket = kept.get(KEY, None).unwrap_err();
        kept.keep(&ticket, 5, "five");
        for late in [3, 5] {
            kept.changed(KEY, late);
            assert_eq!(kept.get(KEY, None).unwrap(), "five");
        }
        assert_eq!(kept.get(KEY, Some(5)).unwrap(), "five");
        kept.get(KEY, Some(6)).unwrap_err();
        kept.changed(KEY, 6);
        kept.get(KEY, None).unwrap_err();
    }

    #[test]
    fn p9_what_was_read_before_a_change_is_not_kept_after_it() {
        let mut kept = empty();
        let (early, late) = (kept.get(KEY, None).unwrap_err(), kept.get(KEY, None).unwrap_err());
        kept.changed(KEY, 6);
        kept.changed(KEY, 4);
        kept.keep(&early, 5, "five");
        kept.get(KEY, None).unwrap_err();
        kept.keep(&late, 6, "six");
        kept.keep(&early, 5, "five");
        assert_eq!(kept.get(KEY, None).unwrap(), "six");
    }

    #[test]
    fn p9_what_was_read_before_a_connection_was_lost_is_not_kept_after_it() {
        let mut kept = empty();
        let ticket = kept.get(KEY, None).unwrap_err();
        kept.keep(&ticket, 1, "one");
        let ticket = kept.get(Uuid::from_u128(2), None).unwrap_err();
        kept.forget();
        kept.get(KEY, None).unwrap_err();
        kept.keep(&ticket, 1, "two");
        kept.get(Uuid::from_u128(2), None).unwrap_err();
    }

    #[test]
    fn p9_until_a_ping_to_ourselves_has_come_back_nothing_is_a_hit_and_nothing_read_is_kept() {
        let (mut kept, other) = (empty(), Uuid::from_u128(2));
        kept.awaited = Some("- 1 2".into());
        for (key, back) in [(KEY, false), (other, true)] {
            let early = kept.get(key, None).unwrap_err();
            kept.keep(&early, 1, "one");
            kept.get(key, None).unwrap_err();
            let late = kept.get(key, None).unwrap_err();
            // somebody else's, that of another loss, ours
            for ping in ["- 7 2", "- 1 1", if back { "- 1 2" } else { "-" }] {
                kept.told(ping.as_bytes());
            }
            kept.keep(&late, 1, "one");
            kept.get(key, None).unwrap_err();
        }
        let ticket = kept.get(KEY, None).unwrap_err();
        kept.keep(&ticket, 2, "two");
        kept.told(b"- 7 2");
        assert_eq!(kept.get(KEY, None).unwrap(), "two");
    }

    #[test]
    fn i110_it_holds_so_many_the_last_ones_used() {
        let mut kept = empty();
        for key in (1..=5).map(Uuid::from_u128) {
            let ticket = kept.get(key, None).unwrap_err();
            kept.keep(&ticket, 1, "x");
            kept.values.run_pending_tasks();
        }
        let held: Vec<u128> = (1..=5).filter(|key| kept.get(Uuid::from_u128(*key), None).is_ok()).collect();
        assert_eq!(held, [4, 5]);
    }

    #[test]
    fn i111_it_keeps_nothing_longer_than_its_time() {
        let mut kept = Kept::new(2, Duration::from_millis(20));
        let ticket = kept.get(KEY, None).unwrap_err();
        kept.keep(&ticket, 1, "x");
        std::thread::sleep(Duration::from_millis(50));
        kept.get(KEY, None).unwrap_err();
    }
}
