//! The verbs of `./dev`, one file each.

pub mod doctor;
pub mod down;
pub mod later;
pub mod lint;
pub mod logs;
pub mod mail;
pub mod sqlx;
pub mod status;
pub mod story;
pub mod test;
pub mod tools;
pub mod up;

mod academy;
mod cargo;
mod ports;
mod progress;
mod roles;
mod servers;
mod table;
