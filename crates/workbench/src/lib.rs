//! One worker under test: it runs in this process, on a nats-server and a database of its own, with the streams and
//! consumers that provisioning makes. A small identity vouches for the people of the test; what other services answer,
//! the test says. Besides what people bring along: an OpenID provider, and an authenticator of passkeys.

mod broker;
pub mod device;
mod identity;
pub mod idp;
mod person;
mod wait;
mod world;

pub use person::{Person, refused, refused_at};
pub use wait::{eventually, until};
pub use world::{Running, World};
