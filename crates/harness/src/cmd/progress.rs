//! What happens, one line per step, with the time since the start.

use std::fmt::Display;
use std::time::Instant;

/// Prints steps to stderr, so that stdout holds results alone.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
}

impl Progress {
    /// The clock starts now.
    pub fn new() -> Progress {
        Progress { started: Instant::now() }
    }

    /// A step is done, or a long one begins.
    pub fn say(&self, what: impl Display) {
        eprintln!("[{:6.1} s] {what}", self.started.elapsed().as_secs_f64());
    }
}
