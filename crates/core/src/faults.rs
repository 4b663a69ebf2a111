//! Fault points: named places around every commit, publish and ack where a test may stop, break or kill the process.
//! Without the feature `faults` they compile to nothing.

use crate::error::Error;

/// A place where a test may interfere. `LECTERN_FAULTS="tx.after_commit=abort@3,relay.after_publish=error"`: at the third
/// hit kill the process, at every hit fail. Actions: `abort` (as `kill -9` would), `error`, `pause` (10 s).
///
/// # Errors
/// [`Error::Broker`] when the action is `error`.
#[cfg(feature = "faults")]
pub async fn hit(point: &'static str) -> Result<(), Error> {
    active::hit(point).await
}

/// A place where a test may interfere; nothing in this build.
///
/// # Errors
/// Never, in this build.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub async fn hit(_point: &'static str) -> Result<(), Error> {
    Ok(())
}

#[cfg(feature = "faults")]
mod active {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use crate::error::Error;

    struct Fault {
        action: String,
        /// Hits until it acts; none: at every hit.
        countdown: Option<u32>,
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "fault points are set by tests, before any configuration is read"
    )]
    static FAULTS: LazyLock<Mutex<HashMap<String, Fault>>> = LazyLock::new(|| {
        let text = std::env::var("LECTERN_FAULTS").unwrap_or_default();
        Mutex::new(text.split(',').filter_map(parse).collect())
    });

    fn parse(rule: &str) -> Option<(String, Fault)> {
        let (point, action) = rule.split_once('=')?;
        let (action, countdown) = match action.split_once('@') {
            Some((action, count)) => (action, count.parse().ok()),
            None => (action, None),
        };
        Some((point.trim().to_owned(), Fault { action: action.trim().to_owned(), countdown }))
    }

    /// Sets a fault in this process, for tests that run core in their own process.
    pub(super) fn set(point: &str, action: &str) {
        let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((point, fault)) = parse(&format!("{point}={action}")) {
            faults.insert(point, fault);
        }
    }

    pub(super) async fn hit(point: &'static str) -> Result<(), Error> {
        let action = {
            let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(fault) = faults.get_mut(point) else { return Ok(()) };
            match &mut fault.countdown {
                Some(1) | None => {
                    let action = fault.action.clone();
                    if fault.countdown.is_some() {
                        faults.remove(point);
                    }
                    action
                }
                Some(count) => {
                    *count -= 1;
                    return Ok(());
                }
            }
        };
        match action.as_str() {
            "abort" => std::process::abort(),
            "pause" => tokio::time::sleep(Duration::from_secs(10)).await,
            _ => return Err(Error::Broker(format!("fault point {point}"))),
        }
        Ok(())
    }
}

/// Sets a fault in this process.
#[cfg(feature = "faults")]
pub fn set(point: &str, action: &str) {
    active::set(point, action);
}
