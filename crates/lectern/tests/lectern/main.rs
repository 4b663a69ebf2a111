//! The house holds: its arrows, its completeness, its documents, and what the command makes of broker and database.

mod audited;
mod authorisation;
mod broker;
mod completeness;
mod database;
mod documents;
mod manifests;
mod observability;
mod policy;
mod privacy;
mod requirements;
mod seed_settings;
mod source;

use lectern_harness::StackOptions;

/// Servers, streams and a migrated database, but no role.
fn servers_only() -> StackOptions {
    StackOptions::default().processes(Vec::<String>::new())
}
