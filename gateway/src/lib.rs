//! The HTTP edge: routes, authentication, limits, documents, media. It owns no noun of the business: a route is one line
//! that names a request of the contract, and everything passes over the bus.

pub mod config;
mod edge;
mod input;
mod limits;
mod problem;
pub mod routes;
mod server;

use std::sync::Arc;
use std::time::Duration;

use lectern_core::bus::Bus;
use lectern_core::health::Health;
use lectern_core::run::Process;
use lectern_core::token::TokenCheck;
use lectern_core::{Clock, Env};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::limits::Limits;

/// The gateway of one process.
pub struct Gateway {
    bus: Bus,
    tokens: TokenCheck,
    clock: Clock,
    config: Config,
    limits: Limits,
    health: Health,
}

impl Gateway {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When a setting is impossible; it names the variable.
    pub fn new(bus: Bus, tokens: TokenCheck, clock: Clock, env: &Env, health: Health) -> anyhow::Result<Gateway> {
        let config = Config::from(env)?;
        let limits = Limits::new(config.limits);
        Ok(Gateway { bus, tokens, clock, config, limits, health })
    }
}

/// Serves HTTP until the process stops: not ready → no new connections → what runs is finished (≤ 20 s).
///
/// # Errors
/// When the address can't be bound.
pub async fn run(gateway: Gateway, process: Process) -> anyhow::Result<()> {
    let gateway = Arc::new(gateway);
    let watcher = tokio::spawn(
        gateway.tokens.revocations().clone().watch(gateway.bus.clone(), process.stop.clone()),
    );
    let probe = tokio::spawn(probe(gateway.clone(), process.clone()));
    let router = routes::router(gateway.clone());
    let served = server::serve(router, &gateway.config.http_addr, process.stop.clone()).await;
    let _ended = tokio::join!(watcher, probe);
    served
}

/// Keeps the gateway's readiness current: the bus and the revocations.
async fn probe(gateway: Arc<Gateway>, process: Process) {
    loop {
        let connected = gateway.bus.is_connected();
        process.health.set("gateway/nats", (!connected).then(|| "not connected".to_owned()));
        let stale = gateway.tokens.revocations().is_stale();
        process.health.set("gateway/revocations", stale.then(|| "the watcher is not current".to_owned()));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            () = process.stop.cancelled() => {
                process.health.set("gateway/stop", Some("draining".to_owned()));
                return;
            }
        }
    }
}

/// The token that ends the serving of one listener; for tests that serve a router by themselves.
pub type Stop = CancellationToken;
