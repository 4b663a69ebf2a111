//! Real servers: found or fetched, started privately on loopback, stopped by us alone.

mod account;
mod archive;
mod cache;
mod cluster;
mod nats;
mod nats_binary;
mod ports;
mod postgres_binary;
mod postgres_package;
mod process;
mod proxy;
mod record;
mod watchdog;

pub use account::Account;
pub use archive::{Digest, verify};
pub use cache::{cache_dir, private_dir, reachable_by_others};
pub use cluster::{Cluster, ClusterOptions, Durability};
pub use nats::{NatsOptions, NatsServer};
pub use nats_binary::{NATS_MINIMUM, NatsBinary};
pub use ports::{PortLease, is_free, next_free};
pub use postgres_binary::{POSTGRES_MINIMUM, PostgresBinary};
pub use process::{Launch, Process, tail};
pub use proxy::Proxy;
pub use record::ProcessRecord;
pub use watchdog::Watchdog;
