//! Notifications: what a user is told, in an inbox (`spec/gateway-and-notifications.md`).
//!
//! Owns notices. Each fact that it follows becomes at most one notice per user: `UNIQUE (user_id, dedupe_key)`, with the
//! fact's id as key. What is said stands in [`texts`].

mod deliver;
mod erase;
mod export;
mod inbox_list;
mod inbox_read;
pub mod texts;

use lectern_core::config::Setting;
use lectern_core::{Env, Service};
use lectern_subjects::enrollment::{
    EnrollmentCreated, RenewalUpcoming, SubscriptionActivated, SubscriptionCanceled, SubscriptionExpired,
    SubscriptionRenewed,
};
use lectern_subjects::playback::{CourseCompleted, SessionCompleted};
use lectern_subjects::privacy;

pub use lectern_core::App;

use deliver::deliver;

/// What notifications reads from the configuration: nothing of its own.
pub const SETTINGS: &[Setting] = &[];

/// The tables of schema `notifications`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/notifications");

/// The table of contents.
pub fn service() -> Service<App> {
    Service::new("notifications")
        .on(inbox_list::list)
        .on(inbox_read::read)
        .follow(deliver::<EnrollmentCreated>)
        .follow(deliver::<SubscriptionActivated>)
        .follow(deliver::<RenewalUpcoming>)
        .follow(deliver::<SubscriptionRenewed>)
        .follow(deliver::<SubscriptionExpired>)
        .follow(deliver::<SubscriptionCanceled>)
        .follow(deliver::<SessionCompleted>)
        .follow(deliver::<CourseCompleted>)
        .on(export::export)
        .holds(export::HELD)
        .command(privacy::ERASE, erase::erase)
}

/// What the handlers are given.
///
/// # Errors
/// None: notifications needs nothing besides its schema and the bus.
pub async fn app(core: App, _env: &Env) -> anyhow::Result<App> {
    Ok(core)
}
