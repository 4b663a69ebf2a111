//! How any role of Lectern talks to NATS and PostgreSQL. No noun of the business stands here.
//!
//! A worker is a table ([`Service`]) of requests that it answers, facts that it follows, timers that it owns and
//! streams that it drains. [`run`](run::run) hosts that table: subscriptions with a bounded queue, the transactional
//! outbox and its relay, consumers with an inbox, durable timers with their repair, discovery, health and shutdown.

pub mod admin;
pub mod app;
pub mod bus;
pub mod cache;
pub mod call;
mod consume;
pub mod dead;
mod discovery;
mod drain;
pub mod error;
pub mod export;
pub mod faults;
pub mod feed;
mod follow;
pub mod health;
mod host;
mod housekeeping;
mod idempotency;
pub mod jwt;
pub mod keys;
mod lanes;
pub mod outbox;
pub mod pg;
pub mod privacy;
mod probe;
mod publish;
mod relay;
mod reply;
pub mod revocation;
pub mod run;
pub mod service;
pub mod signed_url;
pub mod stored;
mod timer_repair;
mod timers;
pub mod token;
pub mod tx;

pub use app::App;
pub use call::{Call, Caller};
pub use error::{Committed, Error, Fault, Followed, Outcome, Unhandled};
pub use lectern_process::{Clock, Env, clock, config, metrics, telemetry};
pub use service::{Drained, Ring, Service, Verdict};
pub use tx::Tx;
