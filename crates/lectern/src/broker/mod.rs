//! What the broker is told: users with their rights, streams, buckets and consumers, all from the contract.

pub mod api;
pub mod monitor;
pub mod permissions;
pub mod plan;
pub mod server_conf;
pub mod tools;
