//! The worker `content`: uploads and the assets that they become (`spec/learning.md`, L-13, L-15, L-16).
//!
//! It owns the schema `content`, never the bytes: the gateway writes those to the object store and says here how far it
//! came (architecture §13). What holds always, by constraint or conditional update:
//! - an upload's offset only grows, by chunks that begin where it stands, and never passes its length (learning E12);
//! - an asset is made once, from a whole upload, in the transaction that completes it;
//! - **the asset has the id of its upload**, so that an upload knows from the start where its asset will stand:
//!   `media/<id>/<file name>`, the file name reduced to letters, digits, `.`, `_` and `-`.

mod advance;
mod assets;
mod complete;
mod create;
mod erase;
mod export;
mod get;
mod kinds;
mod names;
mod sweep;
mod upload;

use lectern_core::config::Setting;
use lectern_core::{Env, Service};
use lectern_subjects::privacy;

pub use lectern_core::App;

/// What this worker reads from the environment: nothing of its own.
pub const SETTINGS: &[Setting] = &[];

/// The schema `content`, without what core keeps there.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/content");

/// The table of contents.
pub fn service() -> Service<App> {
    Service::new("content")
        .on(create::create)
        .on(get::get)
        .on(advance::advance)
        .on(complete::complete)
        .on(assets::get)
        .on(export::export)
        .holds(export::HELD)
        .command(privacy::ERASE, erase::erase)
        .sweep("expired_uploads", sweep::EVERY, sweep::expired_uploads)
}

/// The worker's handle: core's, for it needs nothing else.
///
/// # Errors
/// None today; the signature is that of every worker.
pub async fn app(core: lectern_core::App, _env: &Env) -> anyhow::Result<App> {
    Ok(core)
}
