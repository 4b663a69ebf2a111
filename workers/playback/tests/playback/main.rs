//! The worker `playback` on a real bus and database, asked as any caller asks.

mod crediting;
mod lessons;
mod refusals;
mod starting;
mod support;
mod watching;
