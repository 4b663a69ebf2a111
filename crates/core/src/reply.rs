//! Answers on the bus: ADR-32 headers, the same problem document as over HTTP.

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use lectern_subjects::Problem;

/// Header of the HTTP status of a refusal (ADR-32).
pub(crate) const ERROR_CODE: &str = "Nats-Service-Error-Code";
/// Header of its code and message (ADR-32).
pub(crate) const ERROR: &str = "Nats-Service-Error";
/// Seconds after which to try again.
pub(crate) const RETRY_AFTER: &str = "Retry-After";
/// The entity's version, quoted.
pub(crate) const ETAG: &str = "ETag";
/// Says that the answer shows what was there already.
pub(crate) const EXISTING: &str = "Lectern-Existing";
/// Says that the request was shed: nothing was done, another worker may be asked at once.
pub(crate) const SHED: &str = "Lectern-Shed";

/// One answer, ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub headers: Option<HeaderMap>,
    pub body: Bytes,
    /// The status of a refusal; none for a success.
    pub refused: Option<u16>,
}

impl Answer {
    pub fn success(body: Vec<u8>, version: Option<i64>, existing: bool) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(ETAG, format!("\"{version}\"").as_str());
        }
        if existing {
            headers.insert(EXISTING, "true");
        }
        Answer { headers: (!headers.is_empty()).then_some(headers), body: body.into(), refused: None }
    }

    pub fn problem(problem: &Problem, retry_after_s: Option<u32>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/problem+json");
        headers.insert(ERROR_CODE, problem.status.to_string().as_str());
        headers.insert(ERROR, header_text(&format!("{} {}", problem.error_code, problem.message)).as_str());
        if let Some(seconds) = retry_after_s {
            headers.insert(RETRY_AFTER, seconds.to_string().as_str());
        }
        let body = serde_json::to_vec(problem).unwrap_or_default();
        Answer { headers: Some(headers), body: body.into(), refused: Some(problem.status) }
    }

    /// "Overloaded": sent at once, before any work.
    pub fn shed(at: DateTime<Utc>) -> Answer {
        use lectern_subjects::{CommonRefusal, Refusal};
        let problem = Problem::new(
            CommonRefusal::Unavailable.code(),
            Some(serde_json::json!({ "reason": "overloaded" })),
            at,
        );
        let mut answer = Answer::problem(&problem, Some(1));
        if let Some(headers) = &mut answer.headers {
            headers.insert(SHED, "true");
        }
        answer
    }
}

/// A header value may hold no control characters: `HeaderMap::insert` panics on CR and LF, and user input may get here.
pub(crate) fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
