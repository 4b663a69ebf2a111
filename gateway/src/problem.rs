//! Problem documents for what the edge itself refuses (RFC 9457).

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use chrono::{DateTime, Utc};
use lectern_subjects::{Code, Problem};
use serde_json::Value;

/// The media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A refusal as an HTTP answer.
pub(crate) fn response(
    code: &Code,
    details: Option<Value>,
    retry_after_s: Option<u32>,
    path: &str,
    now: DateTime<Utc>,
) -> Response<Body> {
    let mut problem = Problem::new(code, details, now);
    problem.instance = Some(path.to_owned());
    problem.trace_id = lectern_core::telemetry::current_trace_id();
    with_problem(&problem, retry_after_s.map(|seconds| seconds.to_string()).as_deref())
}

/// A problem document as an HTTP answer.
pub(crate) fn with_problem(problem: &Problem, retry_after: Option<&str>) -> Response<Body> {
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
