//! Enrolments: a user in a course, once.

pub(crate) mod completed;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;
