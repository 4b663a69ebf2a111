//! Who asks the worker, and what a refusal has to look like.

use std::time::Duration;

use async_nats::HeaderMap;
use lectern_harness::Answer;
use lectern_harness::actors::Bus;
use lectern_subjects::id::{AuthSessionId, UserId};
use serde_json::Value;

/// A caller.
#[derive(Clone)]
pub struct Person {
    /// Whose token it is; nobody's for the anonymous.
    pub id: UserId,
    /// The sign-in that the token is of.
    pub sid: AuthSessionId,
    pub(crate) tool: Bus,
}

impl Person {
    /// Asks on the bus.
    pub async fn asks(&self, subject: &str, body: Value) -> Answer {
        self.asks_with(subject, body, &[]).await
    }

    /// Asks with headers. "Nobody listens" is asked again for a while: a service joins its queue groups a moment after it
    /// is ready.
    ///
    /// # Panics
    /// When nobody answers for ten seconds.
    pub async fn asks_with(&self, subject: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        for _ in 0..100 {
            match self.tool.asks_with(subject, body.clone(), map.clone()).await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("nobody answers {subject}")
    }

    /// Asks with an idempotency key until the answer is another than 503, as a client does in front of a busy worker.
    ///
    /// # Panics
    /// When it stays unavailable.
    pub async fn insists(&self, subject: &str, body: Value, key: &str) -> Answer {
        for _ in 0..200 {
            let answer = self.asks_with(subject, body.clone(), &[("Idempotency-Key", key)]).await;
            match answer.status {
                503 | 504 => tokio::time::sleep(Duration::from_millis(50)).await,
                409 if answer.json["error_code"] == "COMMON_0016" => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                _ => return answer,
            }
        }
        panic!("{subject} stays unavailable")
    }
}

/// Asserts a refusal with this status and code, the same in the header and in the body, and gives its details.
///
/// # Panics
/// When it is another answer.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!((answer.status, answer.json["error_code"].as_str()), (status, Some(code)), "{answer}");
    assert!(answer.header("nats-service-error").starts_with(code), "{answer}");
    answer.json["details"].clone()
}

/// The same for a field: the first of the details names it.
///
/// # Panics
/// When it is another answer, or about another field.
#[track_caller]
pub fn refused_at(answer: &Answer, status: u16, code: &str, pointer: &str) {
    let details = refused(answer, status, code);
    assert_eq!(details[0]["pointer"], pointer, "{answer}");
}
