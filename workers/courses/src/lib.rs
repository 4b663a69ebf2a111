//! The worker `courses`: the catalogue and its course sessions (`spec/learning.md`, L-01 to L-04).
//!
//! It owns the schema `courses`. What holds there always, by constraint or under the course's row lock:
//! - a price has a currency, and a free course has neither;
//! - a published course has at least one course session, and a course session has exactly one video;
//! - positions of course sessions are 1..n without a gap (learning E8);
//! - each change makes the next version of its course, leaves a revision, and is announced with that version.

mod add_session;
mod course;
mod create;
mod erase;
mod export;
mod get;
mod list;
mod publish;
mod sessions;
mod set_instructors;
mod staff;
mod update;
mod video;

use lectern_core::config::Setting;
use lectern_core::{Env, Service};
use lectern_subjects::content::GetAsset;
use lectern_subjects::privacy;

pub use lectern_core::App;

/// What this worker reads from the environment: nothing of its own.
pub const SETTINGS: &[Setting] = &[];

/// The schema `courses`, without what core keeps there.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/courses");

/// The table of contents.
pub fn service() -> Service<App> {
    Service::new("courses")
        .on(create::create)
        .on(update::update)
        .on(publish::publish)
        .on(get::get)
        .on(list::list)
        .on(set_instructors::set_instructors)
        .on(add_session::add_session)
        .on(sessions::list)
        .on(sessions::get)
        .on(export::export)
        .holds(export::HELD)
        .command(privacy::ERASE, erase::erase)
        .calls::<GetAsset>()
}

/// The worker's handle: core's, for it needs nothing else.
///
/// # Errors
/// None today; the signature is that of every worker.
pub async fn app(core: lectern_core::App, _env: &Env) -> anyhow::Result<App> {
    Ok(core)
}
