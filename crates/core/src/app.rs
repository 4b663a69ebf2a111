//! What every role has: its pool, its bus, its clock.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::bus::Bus;
use crate::call::Call;
use crate::clock::Clock;
use crate::error::Error;
use crate::tx::Tx;

/// A worker's handle to the world; cheap to clone. A worker with more of its own wraps it and implements `AsRef`.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    service: &'static str,
    pool: PgPool,
    bus: Bus,
    clock: Clock,
    relay: Notify,
}

impl AsRef<App> for App {
    fn as_ref(&self) -> &App {
        self
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(service: &'static str, pool: PgPool, bus: Bus, clock: Clock) -> App {
        App(Arc::new(Inner { service, pool, bus, clock, relay: Notify::new() }))
    }

    /// The service's name, also its schema's.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// Connections to the service's own schema; for reads. Writes go through [`App::begin`].
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// The bus, as this role's user.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Now, in whole microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// The clock itself.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A new UUIDv7 id.
    pub fn new_id<I: From<Uuid>>(&self) -> I {
        self.0.clock.new_id().into()
    }

    /// Begins the transaction of a request. Its idempotency key, if any, is claimed inside it.
    ///
    /// # Errors
    /// [`Error::Replay`] and [`Error::KeyInFlight`] for a claimed key, [`Error::Sql`] when the database is away.
    pub async fn begin(&self, call: &Call) -> Result<Tx, Error> {
        Tx::begin(self.clone(), crate::tx::Cause::of_call(call)).await
    }

    /// Begins a transaction that no request asked for: a follower's, a timer's, a drain's or a sweep's.
    ///
    /// # Errors
    /// [`Error::Sql`] when the database is away.
    pub async fn begin_internal(&self) -> Result<Tx, Error> {
        Tx::begin(self.clone(), crate::tx::Cause::default()).await
    }

    /// Wakes the relay of this process, and of other processes of this role, and tells their caches what has changed, as
    /// [`cache::ping`](crate::cache::ping) says it.
    pub(crate) async fn wake_relay(&self, ping: Bytes) {
        self.0.relay.notify_one();
        self.0.bus.ping(lectern_subjects::subject::wake(self.0.service), ping).await;
    }

    /// Waits until [`App::wake_relay`] is called in this process.
    pub(crate) async fn relay_woken(&self) {
        self.0.relay.notified().await;
    }
}
