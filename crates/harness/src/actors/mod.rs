//! People with verbs: `alice.enrols(&course)`. They use the public doors — HTTP, the mailbox, the bus — and nothing else.
//!
//! A verb answers an [`Answer`] and judges nothing; the test does: `alice.enrols(&course).await.created()`.
//! Bodies are JSON as a stranger would write it, not our own types: a name that changes by accident must break here.

mod actor;
mod answer;
mod ask;
mod bus;
mod learning;
mod people;
mod player;
mod signing;
mod subscribing;
mod teaching;

pub use actor::Actor;
pub use answer::Answer;
pub use ask::Ask;
pub use bus::Bus;
pub use player::Player;
