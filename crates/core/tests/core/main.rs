//! Core against a real nats-server and a real PostgreSQL: nothing is lost, nothing is believed twice.

mod drain;
mod follow;
mod follow_fails;
mod host;
mod housekeeping;
mod idempotency;
mod relay;
mod relay_faults;
mod sweeps;
mod timers;
mod timers_repair;
mod tokens;
mod transactions;
mod world;
