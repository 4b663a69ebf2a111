//! What a process has before it talks to anybody: its settings, its clock, its logs, traces and metrics.

pub mod clock;
pub mod config;
pub mod metrics;
pub mod telemetry;

pub use clock::Clock;
pub use config::Env;
