//! Playback: playback sessions, their events, what was watched (`spec/learning.md`, L-17 to L-23).
//!
//! Owns the viewings (`playback_sessions`), the event log (`playback_events`, one row per (playback session, seq); one
//! plain table, monthly partitions when a month's rows ask for them), the watched segments and the completions.
//!
//! What always holds:
//! - an accepted event is in the stream before it is answered, and in the log once, whatever is sent again;
//! - watched segments come from the crediting rule in [`credit`] alone, never from a client's sums;
//! - a user's watching time is a union of intervals of our clock: tabs and devices don't multiply it;
//! - a user never has more live streams than the cap, however many starts come at once;
//! - completions are announced once.

mod abandoned;
mod app;
pub mod credit;
mod erase;
mod event_log;
mod events;
mod export;
mod fold;
mod gaps;
mod get;
mod lessons;
mod media;
mod message;
mod mine;
mod progress;
mod start;
mod stop;
mod viewing;
mod watched;

use std::time::Duration;

use lectern_core::Service;
use lectern_core::service::Drain;
use lectern_subjects::content::GetAsset;
use lectern_subjects::courses::ListSessions;
use lectern_subjects::enrollment::CheckAccess;
use lectern_subjects::privacy;

pub use app::{App, SETTINGS, app};

/// The tables of this worker's schema.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/playback");

/// The beats of all users, as they came.
const FOLD: Drain = Drain { stream: "PLAYBACK", consumer: "fold", filter: "play.v1.>", batch: 200 };

/// What this worker answers, follows, drains and sweeps.
pub fn service() -> Service<App> {
    Service::new("playback")
        .on(start::start)
        .on(events::events)
        .on(stop::stop)
        .on(get::get)
        .on(event_log::event_log)
        .on(mine::mine)
        .on(progress::progress)
        .follow(lessons::on_session_added)
        .follow(lessons::on_course_published)
        .follow(media::on_upload_completed)
        .on(export::export)
        .holds(export::HELD)
        .command(privacy::ERASE, erase::erase)
        .drain(FOLD, fold::fold)
        .publishes("play.v1.*.*")
        .sweep("abandoned", Duration::from_secs(5), abandoned::abandoned)
        .sweep("gaps", Duration::from_secs(30), gaps::gaps)
        .calls::<CheckAccess>()
        .calls::<ListSessions>()
        .calls::<GetAsset>()
}
