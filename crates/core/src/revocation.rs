//! Revocation is pushed: every role watches the bucket `revoked` and keeps a map. A map that may be stale is not trusted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{Entry, Operation, Store, UpdateErrorKind};
use futures_util::StreamExt;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::VoidReason;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::error::Error;

/// The bucket's name.
pub const BUCKET: &str = "revoked";
/// A watcher that has not confirmed the newest entry for this long is stale (architecture §8).
pub const MAX_STALENESS: Duration = Duration::from_secs(5);

/// Looks at an entry before somebody else is left to put it.
const LOOKS: u32 = 10;

/// The key of an ended auth session.
pub fn session_key(sid: AuthSessionId) -> String {
    format!("sid.{sid}")
}

/// The key of a user's claims version.
pub fn user_key(user: UserId) -> String {
    format!("usr.{user}")
}

/// The value under a user's key: tokens with an older `uv` are void.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserVersion {
    /// The version from which on tokens are good.
    pub uv: i64,
}

/// Sees to it that the bucket says that a session has ended.
///
/// # Errors
/// [`Error::Broker`] when the bucket did not take it.
pub async fn put_session(bucket: &Store, sid: AuthSessionId) -> Result<(), Error> {
    let put = bucket.put(session_key(sid), "{}".into()).await;
    put.map(drop).map_err(|error| Error::Broker(error.to_string()))
}

/// Sees to it that the bucket has this claims version of a user, or a newer one. Of two changes at the same moment,
/// whichever is put last, the newer one stays: each is put over the very entry that was looked at, or not at all.
///
/// # Errors
/// [`Error::Broker`] when the bucket did not take it, or the entry changed again and again.
pub async fn put_version(bucket: &Store, user: UserId, uv: i64) -> Result<(), Error> {
    let broker = |error: &dyn std::fmt::Display| Error::Broker(error.to_string());
    let key = user_key(user);
    let version = serde_json::to_vec(&UserVersion { uv }).map_err(|e| broker(&e))?;
    for _ in 0..LOOKS {
        let standing = bucket.entry(key.clone()).await.map_err(|e| broker(&e))?;
        if standing.as_ref().is_some_and(|entry| version_of(entry) >= Some(uv)) {
            return Ok(());
        }
        let revision = standing.map_or(0, |entry| entry.revision);
        match bucket.update(&key, version.clone().into(), revision).await {
            Ok(_) => return Ok(()),
            // somebody else was faster, or the replica that was asked is behind
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(broker(&error)),
        }
    }
    Err(Error::Broker(format!("the entry of a user's claims changed {LOOKS} times meanwhile")))
}

/// The version that an entry says; none when it says none.
fn version_of(entry: &Entry) -> Option<i64> {
    let version: Option<UserVersion> = serde_json::from_slice(&entry.value).ok();
    version.filter(|_| entry.operation == Operation::Put).map(|version| version.uv)
}

/// What a process knows of revoked tokens.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    known: RwLock<Known>,
    applied: AtomicU64,
    /// Milliseconds after `born` when the watcher was last known to be current; 0: never.
    confirmed_ms: AtomicU64,
    born: Instant,
    keep: Duration,
}

/// The bucket's entries by what they are about, each until when it is kept: a check allocates nothing.
#[derive(Default)]
struct Known {
    ended: HashMap<AuthSessionId, Instant>,
    versions: HashMap<UserId, (i64, Instant)>,
}

impl Revocations {
    /// Nothing known yet, hence stale. `keep` is the life of an access token: older entries are forgotten.
    pub fn new(keep: Duration) -> Revocations {
        Revocations(Arc::new(Inner {
            known: RwLock::default(),
            applied: AtomicU64::new(0),
            confirmed_ms: AtomicU64::new(0),
            born: Instant::now(),
            keep,
        }))
    }

    /// Why a token of this session, user and claims version is void, as far as this process knows; none when it is good.
    pub fn void(&self, sid: AuthSessionId, user: UserId, uv: i64) -> Option<VoidReason> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.ended.contains_key(&sid) {
            return Some(VoidReason::Revoked);
        }
        let stale = known.versions.get(&user).is_some_and(|(version, _)| uv < *version);
        stale.then_some(VoidReason::StaleClaims)
    }

    /// Whether it is void, for whatever reason.
    pub fn is_revoked(&self, sid: AuthSessionId, user: UserId, uv: i64) -> bool {
        self.void(sid, user, uv).is_some()
    }

    /// Time since this process last confirmed that it knows the bucket's newest entry.
    pub fn age(&self) -> Duration {
        match self.0.confirmed_ms.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            confirmed => self.0.born.elapsed().saturating_sub(Duration::from_millis(confirmed)),
        }
    }

    /// Whether the map can't be trusted at the moment.
    pub fn is_stale(&self) -> bool {
        self.age() > MAX_STALENESS
    }

    /// Records how old the watcher's knowledge is; before the first confirmation, how long it has been missing.
    pub fn record_age(&self, role: &str) {
        let age = self.age().min(self.0.born.elapsed());
        metrics::gauge!("gateway_revocation_watcher_age_seconds", "role" => role.to_owned())
            .set(age.as_secs_f64());
    }

    /// Watches the bucket until it is told to stop; starts over whenever the watch ends.
    pub async fn watch(self, bus: Bus, stop: CancellationToken) {
        let mut pause = Duration::from_millis(50);
        while !stop.is_cancelled() {
            let watched = tokio::select! {
                watched = self.watch_once(&bus, &mut pause) => watched,
                () = stop.cancelled() => return,
            };
            if let Err(error) = watched {
                tracing::warn!(%error, "watching revocations; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
                () = stop.cancelled() => return,
            }
        }
    }

    async fn watch_once(&self, bus: &Bus, pause: &mut Duration) -> Result<(), Error> {
        let broker = |error: &dyn std::fmt::Display| Error::Broker(error.to_string());
        let bucket = bus.bucket(BUCKET).await?;
        let mut watch = bucket.watch_with_history(">").await.map_err(|e| broker(&e))?;
        // a new watch starts from the whole bucket: what it has not shown yet is not known
        self.0.applied.store(0, Ordering::Relaxed);
        // what stood in the bucket before is not late, it is old
        let mut caught_up = self.age() < Duration::MAX;
        let mut confirm = tokio::time::interval(Duration::from_secs(1));
        confirm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                entry = watch.next() => {
                    let Some(entry) = entry else { return Ok(()) };
                    let entry = entry.map_err(|e| broker(&e))?;
                    if entry.operation == Operation::Put && self.apply(&entry) && caught_up {
                        record_lag(bus, &entry);
                    }
                    self.0.applied.store(entry.revision, Ordering::Relaxed);
                }
                _ = confirm.tick() => {
                    let asked = self.0.born.elapsed();
                    let stream = bus.jetstream().get_stream(format!("KV_{BUCKET}")).await.map_err(|e| broker(&e))?;
                    if self.0.applied.load(Ordering::Relaxed) >= stream.cached_info().state.last_sequence {
                        let confirmed = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX).max(1);
                        self.0.confirmed_ms.store(confirmed, Ordering::Relaxed);
                        *pause = Duration::from_millis(50);
                        caught_up = true;
                    }
                    self.forget_old();
                }
            }
        }
    }

    /// Takes an entry over; answers whether it was news.
    fn apply(&self, entry: &Entry) -> bool {
        if let Some(sid) = entry.key.strip_prefix("sid.").and_then(|sid| sid.parse().ok()) {
            let until = Instant::now() + self.0.keep;
            let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
            return known.ended.insert(sid, until).is_none();
        }
        if let Some(user) = entry.key.strip_prefix("usr.").and_then(|user| user.parse().ok()) {
            return self.goes_by(user, version_of(entry).unwrap_or(0));
        }
        tracing::warn!(key = entry.key, "the bucket of revocations has an entry that is none");
        false
    }

    /// Goes by a version that a good token said before the watcher did: from then on an older token of that user is void
    /// here, so that no process takes both (identity I8). The first version has none before it.
    pub(crate) fn has_seen(&self, user: UserId, uv: i64) {
        let news = |known: &Known| uv > 1 && known.versions.get(&user).is_none_or(|(newest, _)| uv > *newest);
        if news(&self.0.known.read().unwrap_or_else(PoisonError::into_inner)) {
            self.goes_by(user, uv);
        }
    }

    /// Takes a user's version over; answers whether it was news.
    fn goes_by(&self, user: UserId, uv: i64) -> bool {
        let until = Instant::now() + self.0.keep;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let (newest, kept) = known.versions.entry(user).or_insert((0, until));
        let news = uv > *newest;
        (*newest, *kept) = (uv.max(*newest), until);
        news
    }

    fn forget_old(&self) {
        let now = Instant::now();
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.ended.retain(|_, until| *until > now);
        known.versions.retain(|_, (_, until)| *until > now);
    }
}

/// Time between the broker's taking of an entry and our going by it.
fn record_lag(bus: &Bus, entry: &Entry) {
    let created = i64::try_from(entry.created.unix_timestamp_nanos() / 1000).unwrap_or_default();
    let lag_us = bus.clock().now().timestamp_micros().saturating_sub(created).max(0);
    let lag = Duration::from_micros(lag_us.unsigned_abs());
    metrics::histogram!("gateway_revocation_lag_seconds", "role" => bus.role().to_owned()).record(lag);
}
