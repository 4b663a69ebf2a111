//! Real servers and real people for tests and for `./dev`.
//!
//! - [`servers`] finds or fetches nats-server and PostgreSQL, starts them privately, and stops what it started.
//! - [`testing`] gives each test its own nats-server and its own database, or a whole running Lectern ([`testing::Stack`]).
//! - [`actors`] are people with verbs (`alice.enrols(course)`), who use public doors only.
//! - [`checkout`] knows where the development stack of this checkout lives; the binary `dev` drives it.
//!
//! Nothing here knows how a worker is written, and no worker knows that this exists, except in its tests.

pub mod actors;
pub mod checkout;
pub mod environment;
pub mod servers;
pub mod testing;

pub use actors::{Actor, Answer};
pub use testing::{Database, Nats, Stack, StackOptions, TestServers, limits};
