//! The public keys of access tokens, fetched from identity over the bus and kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use lectern_subjects::identity::{GetJwks, Jwks};
use tokio::sync::Mutex;

use crate::bus::{Bus, Outgoing};
use crate::clock::Clock;
use crate::error::CallError;
use crate::jwt;

/// An unknown key id makes us ask identity again, at most this often (`spec/protocols.md` P10).
const REFETCH: Duration = Duration::from_secs(10);
/// Right after start, before any key is known, ask more often.
const FIRST_FETCH: Duration = Duration::from_millis(100);

/// The keys in force.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    bus: Bus,
    clock: Clock,
    known: RwLock<HashMap<String, Arc<DecodingKey>>>,
    fetched: Mutex<Option<Instant>>,
}

impl Keys {
    /// No keys yet; they are fetched when the first token comes.
    pub fn new(bus: Bus, clock: Clock) -> Keys {
        Keys(Arc::new(Inner { bus, clock, known: RwLock::default(), fetched: Mutex::new(None) }))
    }

    /// The key of that id; none when identity does not know it either.
    ///
    /// # Errors
    /// When identity can't be asked and the key is not known.
    pub async fn get(&self, kid: &str) -> Result<Option<Arc<DecodingKey>>, CallError> {
        if let Some(key) = self.known(kid) {
            return Ok(Some(key));
        }
        let mut fetched = self.0.fetched.lock().await;
        if let Some(key) = self.known(kid) {
            return Ok(Some(key));
        }
        let pause = if self.is_empty() { FIRST_FETCH } else { REFETCH };
        if fetched.is_some_and(|at| at.elapsed() < pause) {
            return if self.is_empty() {
                Err(CallError::Unavailable("no token keys yet".to_owned()))
            } else {
                Ok(None)
            };
        }
        *fetched = Some(Instant::now());
        let jwks = self.fetch().await?;
        let keys = jwks
            .keys
            .into_iter()
            .filter(|jwk| jwk.alg == "EdDSA")
            .filter_map(|jwk| Some((jwk.kid, Arc::new(jwt::public_key(&jwk.x).ok()?))))
            .collect();
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(self.known(kid))
    }

    async fn fetch(&self) -> Result<Jwks, CallError> {
        self.0.bus.call_with(Outgoing::own(&self.0.clock), &GetJwks {}).await
    }

    fn known(&self, kid: &str) -> Option<Arc<DecodingKey>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    fn is_empty(&self) -> bool {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
