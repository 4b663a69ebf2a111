//! For tests: a nats-server of one's own, a database of one's own, or a whole running Lectern.
//!
//! One PostgreSQL cluster serves a test process (or a whole `./dev test`, which starts one and names it in
//! `LECTERN_TEST_CLUSTER`); each test gets a database cloned from a migrated template. Everything ends with the process,
//! however that ends. `LECTERN_TEST_KEEP=1` keeps the directories of failed and passed tests for reading.

mod binary;
mod cluster;
mod database;
mod home;
mod mailbox;
mod migrations;
mod role_process;
mod servers;
mod stack;
mod stack_options;
mod statements;
mod template;

pub use binary::lectern_binary;
pub use cluster::{SHARED_CLUSTER, TestCluster};
pub use database::Database;
pub use mailbox::{Letter, Mailbox};
pub use migrations::apply_migrations;
pub use role_process::RoleProcess;
pub use servers::{Nats, TestServers};
pub use stack::{Ran, Stack};
pub use stack_options::{StackOptions, limits};
pub use statements::{Statement, Statements};
