//! The command `lectern`: runs roles, migrates, provisions, and does what operators and developers need by hand.
//!
//! `roles.rs` is the table of all roles; permissions, consumers, schemas and settings are derived from it.

mod broker;
mod cli;
mod command;
pub mod roles;
mod secrets;

pub use broker::{permissions, server_conf};
pub use cli::main;
pub use roles::{settings, settings_by_part};
