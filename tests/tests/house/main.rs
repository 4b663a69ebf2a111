//! What the house must show, through its public doors: HTTP, the bus, the mailbox. A database is looked into only to
//! count what a refusal left behind.

mod abuse;
mod account;
mod authorisation;
mod bad_input;
mod bad_route;
mod bad_token;
mod contract;
mod crash;
mod database_loss;
#[path = "../../../workers/identity/tests/identity/device.rs"]
mod device;
mod differential;
mod discovery;
mod documents;
mod edge;
mod erasure;
mod health;
mod idempotency;
mod identity_crash;
mod load;
mod log_secrets;
mod logs;
mod media;
mod metrics;
mod nothing_written;
mod permissions;
mod revocation;
mod road;
mod rolling;
mod second_factor;
mod security_feed;
mod seed_aliases;
mod shared;
mod spans;
mod staff;
mod stopping;
mod timers;
mod token_endpoints;
mod uploads;
mod way;
mod way_account;
mod way_staff;
mod way_steps;
