//! The audit record: the one writer of the chain over what all services did (`spec/identity.md` I-105…I-107, I11).
//!
//! Owns `entries`. Other services write their entries through their outbox, in the transaction of the act; they come here by
//! stream AUDIT. What always holds:
//! - there is one chain, whatever number of processes writes it and however often they are killed: constraints on `entries`;
//! - `hash` = SHA-256(`prev_hash` ‖ `body`), where `body` is the message as it came, byte for byte;
//! - an entry is in the chain once (`entry_id`), and stays: neither this role nor its code can change or remove one;
//! - no personal data is in it: that stands with the service that wrote the entry, bound by a hash.
//!
//! The order of the chain is the order in which entries came here. Two processes may take parts of the stream at the same
//! time, so it is not quite the stream's.

mod app;
mod append;
mod compare;
mod erase;
mod export;
mod private;
mod query;
mod sweep;
mod verify;

use std::time::Duration;

use lectern_core::Service;
use lectern_core::config::Setting;
use lectern_core::service::Drain;
use lectern_subjects::identity::GetAuditPrivate;
use lectern_subjects::privacy;

pub use app::{App, app};

/// What audit reads from the configuration: nothing of its own.
pub const SETTINGS: &[Setting] = &[];

/// The tables of schema `audit`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/audit");

/// The stream of all services' entries.
pub(crate) const STREAM: &str = "AUDIT";
/// Everything that was done, as the services published it.
const CHAIN: Drain = Drain { stream: STREAM, consumer: "chain", filter: "audit.>", batch: 200 };

/// How often the newest part of the chain is verified, and one older part.
const VERIFY_PACE: Duration = Duration::from_secs(60);

/// What this worker answers, drains and sweeps.
pub fn service() -> Service<App> {
    Service::new("audit")
        .on(query::search)
        .on(verify::verify)
        .on(export::export)
        .holds(export::HELD)
        .command(privacy::ERASE, erase::erase)
        .drain(CHAIN, append::append)
        .sweep("verify", VERIFY_PACE, sweep::sweep)
        .calls::<GetAuditPrivate>()
        // verification compares the chain with the stream
        .publishes("$JS.API.STREAM.INFO.AUDIT")
        .publishes("$JS.API.STREAM.MSG.GET.AUDIT")
}
