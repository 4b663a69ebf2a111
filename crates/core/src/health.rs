//! Who is ready, and why not: read by the probes, the queue groups and `$SRV.STATS`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Readiness of every part of this process; cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<BTreeMap<String, Option<String>>>>);

impl Health {
    /// Says that a part is ready (`None`) or why it is not. A part is, for example, `identity/database`.
    pub fn set(&self, part: &str, reason: Option<String>) {
        let mut parts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if parts.get(part) != Some(&reason) {
            match &reason {
                None => tracing::info!(part, "ready"),
                Some(reason) => tracing::warn!(part, reason, "not ready"),
            }
            parts.insert(part.to_owned(), reason);
        }
    }

    /// Why a role is not ready; none when all its parts are. Parts of a role begin with `<role>/`.
    pub fn of(&self, role: &str) -> Option<String> {
        let parts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter(|(part, _)| part.split('/').next() == Some(role))
            .find_map(|(part, reason)| reason.as_ref().map(|reason| format!("{part}: {reason}")))
    }

    /// All parts: `ready`, or why not.
    pub fn parts(&self) -> BTreeMap<String, String> {
        let parts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .map(|(part, reason)| (part.clone(), reason.clone().unwrap_or_else(|| "ready".to_owned())))
            .collect()
    }

    /// Whether every part of every role is ready, and there is at least one.
    pub fn is_ready(&self) -> bool {
        let parts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !parts.is_empty() && parts.values().all(Option::is_none)
    }
}
