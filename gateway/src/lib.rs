//! The HTTP edge: routes, authentication, limits, documents, media. It owns no noun of the business: a route is one line
//! that names a request of the contract, and everything passes over the bus.

mod asyncapi;
mod circuits;
mod client_address;
pub mod config;
mod cookies;
mod device_cookie;
mod discovery;
mod docs;
mod edge;
mod exchange;
mod export;
mod health;
mod input;
mod limits;
mod media;
mod oidc_cookie;
mod openapi;
mod problem;
mod range;
mod reference;
pub mod routes;
mod security_feed;
mod server;
mod sniff;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lectern_core::bus::Bus;
use lectern_core::config::ConfigError;
use lectern_core::health::Health;
use lectern_core::run::Process;
use lectern_core::signed_url::SigningKeys;
use lectern_core::token::TokenCheck;
use lectern_core::{Clock, Env};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::circuits::Circuits;
use crate::config::Config;
use crate::limits::Limits;

/// The gateway of one process.
pub struct Gateway {
    bus: Bus,
    circuits: Circuits,
    tokens: TokenCheck,
    clock: Clock,
    config: Config,
    limits: Limits,
    health: Health,
    store: Arc<dyn ObjectStore>,
    media_keys: Option<SigningKeys>,
    /// Places for those who look on at the security feed.
    onlookers: Arc<Semaphore>,
    exports: export::Places,
}

impl Gateway {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When a setting is impossible; it names the variable.
    pub fn new(
        bus: Bus,
        tokens: TokenCheck,
        clock: Clock,
        env: &Env,
        health: Health,
    ) -> anyhow::Result<Gateway> {
        let config = Config::from(env)?;
        let limits = Limits::new(config.limits, config.per_address);
        std::fs::create_dir_all(&config.media_root)
            .with_context(|| format!("MEDIA_ROOT: {} can't be made", config.media_root.display()))?;
        let store = Arc::new(LocalFileSystem::new_with_prefix(&config.media_root).context("MEDIA_ROOT")?);
        let media_keys = match &config.media_keys {
            Some(text) => {
                Some(text.parse().map_err(|e: String| ConfigError::new(config::MEDIA_SIGNING_KEYS.name, e))?)
            }
            None => None,
        };
        Ok(Gateway {
            bus,
            circuits: Circuits::new(),
            tokens,
            clock,
            config,
            limits,
            health,
            store,
            media_keys,
            onlookers: Arc::new(Semaphore::new(security_feed::MOST)),
            exports: export::Places::default(),
        })
    }
}

/// Serves HTTP until the process stops: not ready → no new connections → what runs is finished (≤ 20 s).
///
/// # Errors
/// When the address can't be bound.
pub async fn run(gateway: Gateway, process: Process) -> anyhow::Result<()> {
    let gateway = Arc::new(gateway);
    let watcher =
        tokio::spawn(gateway.tokens.revocations().clone().watch(gateway.bus.clone(), process.stop.clone()));
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
        gateway.tokens.revocations().record_age(gateway.bus.role());
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
