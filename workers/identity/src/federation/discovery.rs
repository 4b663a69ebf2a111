//! What a provider says of itself (OpenID Connect Discovery 1.0) and the keys that it signs with (RFC 7517): fetched when
//! they are needed, kept for an hour. One request fetches, the others wait for what it gets; after a failure the provider
//! is left alone for a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::federation::provider::{Provider, is_loopback};
use crate::federation::web::{Away, Web};

/// How long what was fetched is good.
const LIFE: Duration = Duration::from_secs(3600);
/// Keys are fetched for a token whose key is not among them, when those at hand are older than this: a provider may change
/// them at any time, and nobody shall make us ask it as often as they like.
const YOUNG: Duration = Duration::from_secs(10);
/// A provider that did not answer is not asked again for so long.
const REST: Duration = Duration::from_secs(1);
/// Requests that may wait for one provider at once; the next one is told to come back.
const PLACES: usize = 8;

/// What is used of the provider's description.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// Whether every answer says who it is from (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// A provider with what is known of it in this process.
pub(crate) struct Party {
    pub provider: Provider,
    metadata: Kept<Metadata>,
    keys: Kept<Vec<Jwk>>,
    places: Semaphore,
}

impl Party {
    /// A provider of which nothing is known yet.
    pub fn new(provider: Provider) -> Party {
        let places = Semaphore::new(PLACES);
        Party { provider, metadata: Kept::default(), keys: Kept::default(), places }
    }

    /// The description; it must be of this issuer (Discovery 4.3), and its endpoints as safe as the issuer itself.
    pub async fn metadata(&self, web: &Web) -> Result<Arc<Metadata>, Away> {
        let issuer = &self.provider.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let fetch = async || {
            let metadata: Metadata = read(&url, &web.get(&url).await?)?;
            if metadata.issuer != *issuer {
                return Err(Away(format!("{url}: describes another issuer than the configured one")));
            }
            let methods = metadata.code_challenge_methods_supported.as_deref();
            if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
                return Err(Away(format!("{url}: the provider does not know PKCE by S256")));
            }
            for endpoint in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
                if !as_safe_as(issuer, endpoint) {
                    return Err(Away(format!("{url}: names an endpoint that is not https")));
                }
            }
            Ok(metadata)
        };
        self.metadata.get(LIFE, &self.places, fetch).await
    }

    /// The keys at hand.
    pub async fn keys(&self, web: &Web) -> Result<Arc<Vec<Jwk>>, Away> {
        self.fetched_keys(web, LIFE).await
    }

    /// The keys for a token whose key is not among those at hand.
    pub async fn newer_keys(&self, web: &Web) -> Result<Arc<Vec<Jwk>>, Away> {
        self.fetched_keys(web, YOUNG).await
    }

    async fn fetched_keys(&self, web: &Web, life: Duration) -> Result<Arc<Vec<Jwk>>, Away> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let metadata = self.metadata(web).await?;
        let fetch = async || {
            let url = &metadata.jwks_uri;
            let set: Set = read(url, &web.get(url).await?)?;
            // kinds that we don't know are for others (RFC 7517, 5)
            Ok(set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
        };
        self.keys.get(life, &self.places, fetch).await
    }

    /// A place among those who wait for this provider.
    pub fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Away> {
        place(&self.places)
    }
}

fn place(places: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>, Away> {
    places.try_acquire().map_err(|_| Away("too many wait for this provider already".to_owned()))
}

/// Over https, or over http on this machine where the issuer is there too.
fn as_safe_as(issuer: &str, endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else { return false };
    url.scheme() == "https" || (url.scheme() == "http" && issuer.starts_with("http://") && is_loopback(&url))
}

fn read<T: DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, Away> {
    serde_json::from_slice(body).map_err(|_| Away(format!("{url}: not the documented JSON")))
}

/// Something fetched, and when.
struct Kept<T> {
    value: Mutex<Option<(Arc<T>, Instant)>>,
    /// Held by who fetches; when that last failed.
    failed: tokio::sync::Mutex<Option<Instant>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept { value: Mutex::default(), failed: tokio::sync::Mutex::default() }
    }
}

impl<T> Kept<T> {
    /// What is kept if it is younger than `life`, else what `fetch` gets; who waits for that has a place.
    async fn get(
        &self,
        life: Duration,
        places: &Semaphore,
        fetch: impl AsyncFnOnce() -> Result<T, Away>,
    ) -> Result<Arc<T>, Away> {
        if let Some(value) = self.younger_than(life) {
            return Ok(value);
        }
        let _place = place(places)?;
        let mut failed = self.failed.lock().await;
        if let Some(value) = self.younger_than(life) {
            return Ok(value);
        }
        if failed.is_some_and(|at| at.elapsed() < REST) {
            return Err(Away("did not answer a moment ago".to_owned()));
        }
        match fetch().await {
            Ok(value) => {
                let value = Arc::new(value);
                *self.value.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((value.clone(), Instant::now()));
                *failed = None;
                Ok(value)
            }
            Err(away) => {
                *failed = Some(Instant::now());
                Err(away)
            }
        }
    }

    fn younger_than(&self, life: Duration) -> Option<Arc<T>> {
        let kept = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(_, at)| at.elapsed() < life).map(|(value, _)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn i079_what_was_fetched_is_kept_for_its_life_and_a_failure_for_a_moment() {
        let (kept, places, asked) = (Kept::default(), Semaphore::new(1), AtomicUsize::new(0));
        let fetch = async || Ok(asked.fetch_add(1, Ordering::Relaxed));
        assert_eq!(*kept.get(LIFE, &places, fetch).await.unwrap(), 0);
        assert_eq!(*kept.get(LIFE, &places, fetch).await.unwrap(), 0);
        assert_eq!(*kept.get(Duration::ZERO, &places, fetch).await.unwrap(), 1);
        let fails = async || {
            asked.fetch_add(1, Ordering::Relaxed);
            Err(Away("down".to_owned()))
        };
        for _ in 0..5 {
            assert!(kept.get(Duration::ZERO, &places, fails).await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3, "it was asked again at once");
        // a place is taken by who has to wait, and by nobody else
        let _taken = places.try_acquire().unwrap();
        assert!(kept.get(LIFE, &places, fetch).await.is_ok());
        assert!(kept.get(Duration::ZERO, &places, fetch).await.is_err());
    }

    #[test]
    fn i079_endpoints_are_as_safe_as_their_issuer() {
        let here = "http://127.0.0.1:8080";
        assert!(
            as_safe_as("https://a.example", "https://b.example/token")
                && as_safe_as(here, "http://127.0.0.1:8080/token")
        );
        assert!(as_safe_as(here, "https://b.example/token"));
        for endpoint in ["http://127.0.0.1/token", "http://b.example/token", "file:///etc/passwd", "token"] {
            assert!(!as_safe_as("https://a.example", endpoint), "{endpoint}");
        }
        assert!(!as_safe_as(here, "http://b.example/token"));
    }
}
