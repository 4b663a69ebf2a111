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
#[path = "../../../workers/identity/tests/identity/idp.rs"]
#[expect(dead_code, reason = "its bad manners are for the tests of identity itself")]
mod idp;
mod load;
mod log_secrets;
mod media;
mod nothing_written;
mod oidc;
mod permissions;
mod revocation;
mod road;
mod rolling;
mod second_factor;
mod security_feed;
mod seed_aliases;
mod shared;
mod staff;
mod timers;
mod token_endpoints;
mod uploads;
mod way;
mod way_account;
mod way_staff;
mod way_steps;
