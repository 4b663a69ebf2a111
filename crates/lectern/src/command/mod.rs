//! One file per command.

pub mod admin;
pub mod call;
pub mod config;
pub mod migrate;
pub mod nats_config;
pub mod provision;
pub mod run;
pub mod sample_academy;
pub mod secrets;
mod self_test;
pub mod status;
pub mod token;
pub mod tool;
