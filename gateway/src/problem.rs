//! Problem documents (RFC 9457): the edge's own, and those of services.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use chrono::{DateTime, Utc};
use lectern_subjects::Problem;

use crate::Gateway;
use crate::edge::Refused;

/// The media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why there is no answer: the edge refuses, or a service does, with its `Retry-After`.
pub(crate) enum Stop {
    Edge(Refused),
    Service(Box<Problem>, Option<String>),
}

impl<T: Into<Refused>> From<T> for Stop {
    fn from(refused: T) -> Self {
        Stop::Edge(refused.into())
    }
}

impl Stop {
    /// As an HTTP answer to this request.
    pub fn answer(self, gateway: &Gateway, parts: &Parts) -> Response<Body> {
        let path = parts.uri.path();
        match self {
            Stop::Edge(refused) => response(refused, path, gateway.clock.now()),
            Stop::Service(mut document, retry_after) => {
                document.instance = Some(path.to_owned());
                with_problem(&document, retry_after.as_deref())
            }
        }
    }
}

/// A refusal as an HTTP answer.
pub(crate) fn response(refused: Refused, path: &str, now: DateTime<Utc>) -> Response<Body> {
    let Refused { code, details, retry_after_s } = refused;
    let mut problem = Problem::new(code, details, now);
    problem.instance = Some(path.to_owned());
    problem.trace_id = lectern_core::telemetry::current_trace_id();
    with_problem(&problem, retry_after_s.map(|seconds| seconds.to_string()).as_deref())
}

/// A problem document as an HTTP answer.
fn with_problem(problem: &Problem, retry_after: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(problem).unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(value) = retry_after.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(RETRY_AFTER, value);
    }
    if problem.status == 401 {
        let value = format!("Bearer error=\"invalid_token\", error_description=\"{}\"", problem.error_code);
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(WWW_AUTHENTICATE, value);
        }
    }
    response
}
