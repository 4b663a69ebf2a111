//! Whole-platform programs and journeys through public doors: the demo, the benchmark, and (in `tests/`) what the house
//! must show. Nothing here looks into a database.

pub mod load;
pub mod machine;
pub mod peer;
pub mod story;
