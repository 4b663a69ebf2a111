//! Enrolment: who may use which course, and why (`spec/commerce.md`).
//!
//! Owns enrolments, access grants, plans and subscriptions. What always holds, and which constraint holds it:
//! one enrolment per user and course; one live subscription per user and plan (`subscriptions_one_live`); a period of a
//! subscription begins once (`subscription_periods`); a plan's version never changes (`plans_are_immutable`); access is
//! any grant in force, by the one definition `in_force`. Timers only tell: access ends by the clock at the period's end,
//! unless the subscription renews then.

mod access;
mod courses;
mod enrollments;
mod erase;
mod export;
mod plans;
mod subscriptions;

use lectern_core::config::Setting;
use lectern_core::{Env, Service};
use lectern_subjects::courses::GetCourse;
use lectern_subjects::privacy;

pub use lectern_core::App;
pub use subscriptions::reminders::{Reminder, reminders};

/// What enrolment reads from the configuration: nothing of its own.
pub const SETTINGS: &[Setting] = &[];

/// The tables of schema `enrollment`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/enrollment");

/// The table of contents.
pub fn service() -> Service<App> {
    Service::new("enrollment")
        .on(enrollments::create::create)
        .on(enrollments::get::get)
        .on(enrollments::list::list)
        .on(access::check::check)
        .on(plans::create::create)
        .on(plans::get::get)
        .on(plans::list::list)
        .on(subscriptions::create::create)
        .on(subscriptions::get::get)
        .on(subscriptions::list::list)
        .on(subscriptions::update::update)
        .on(subscriptions::cancel::cancel)
        .follow(courses::published)
        .follow(courses::updated)
        .follow(enrollments::completed::completed)
        .on(export::export)
        .holds(export::HELD)
        .command(privacy::ERASE, erase::erase)
        .timer(subscriptions::PERIOD_END, subscriptions::period_end::period_end)
        .timer(Reminder::Week.kind(), subscriptions::remind::remind)
        .timer(Reminder::Day.kind(), subscriptions::remind::remind)
        .timer(Reminder::Short.kind(), subscriptions::remind::remind)
        .calls::<GetCourse>()
}

/// What the handlers are given.
///
/// # Errors
/// None: enrolment needs nothing besides its schema and the bus.
pub async fn app(core: App, _env: &Env) -> anyhow::Result<App> {
    Ok(core)
}
