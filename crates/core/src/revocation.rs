//! Revocation is pushed: every role watches the bucket `revoked` and keeps a map. A map that may be stale is not trusted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt;
use lectern_subjects::id::{AuthSessionId, UserId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::error::Error;

/// The bucket's name.
pub const BUCKET: &str = "revoked";
/// A watcher that has not confirmed the newest entry for this long is stale (architecture §8).
pub const MAX_STALENESS: Duration = Duration::from_secs(5);

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

/// What a process knows of revoked tokens.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    entries: RwLock<HashMap<Box<str>, (i64, Instant)>>,
    applied: AtomicU64,
    /// Milliseconds after `born` when the watcher was last known to be current; 0: never.
    confirmed_ms: AtomicU64,
    born: Instant,
    keep: Duration,
}

impl Revocations {
    /// Nothing known yet, hence stale. `keep` is the life of an access token: older entries are forgotten.
    pub fn new(keep: Duration) -> Revocations {
        Revocations(Arc::new(Inner {
            entries: RwLock::default(),
            applied: AtomicU64::new(0),
            confirmed_ms: AtomicU64::new(0),
            born: Instant::now(),
            keep,
        }))
    }

    /// Whether a token of this session, user and claims version is revoked, as far as this process knows.
    pub fn is_revoked(&self, sid: AuthSessionId, user: UserId, uv: i64) -> bool {
        let entries = self.0.entries.read().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return false;
        }
        entries.contains_key(session_key(sid).as_str())
            || entries.get(user_key(user).as_str()).is_some_and(|(version, _)| uv < *version)
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
        let mut confirm = tokio::time::interval(Duration::from_secs(1));
        confirm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                entry = watch.next() => {
                    let Some(entry) = entry else { return Ok(()) };
                    let entry = entry.map_err(|e| broker(&e))?;
                    if entry.operation == Operation::Put {
                        let uv = serde_json::from_slice::<UserVersion>(&entry.value).map_or(0, |v| v.uv);
                        self.insert(&entry.key, uv);
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
                    }
                    self.forget_old();
                }
            }
        }
    }

    fn insert(&self, key: &str, uv: i64) {
        let mut entries = self.0.entries.write().unwrap_or_else(PoisonError::into_inner);
        let newest = entries.get(key).map_or(uv, |(known, _)| uv.max(*known));
        entries.insert(key.into(), (newest, Instant::now() + self.0.keep));
    }

    fn forget_old(&self) {
        let now = Instant::now();
        let mut entries = self.0.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, (_, until)| *until > now);
    }
}
