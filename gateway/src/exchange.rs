//! What every answer has in common: its request's span and id, its line in the log, its place in the metrics, and the headers
//! that all carry.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use tracing::{Instrument, Span};

use crate::Gateway;

/// Target of the lines about requests: `LOG_LEVEL=info,lectern_gateway::access=off` leaves them out.
const ACCESS: &str = "lectern_gateway::access";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is asked, as the metrics and the trace name it: a route, never the path itself.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint {
    pub method: &'static str,
    pub path: &'static str,
    /// Who answers.
    pub service: &'static str,
}

/// One request under way.
pub(crate) struct Exchange {
    endpoint: Endpoint,
    span: Span,
    request_id: Arc<str>,
    started: Instant,
}

impl Exchange {
    /// Begins the span, which goes on with the client's trace when there is one, and finds the id: the client's or a new one,
    /// which stands in the headers from now on.
    pub fn begin(gateway: &Gateway, endpoint: Endpoint, headers: &mut HeaderMap) -> Exchange {
        let started = Instant::now();
        let request_id = request_id(gateway, headers);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            headers.insert(REQUEST_ID, value);
        }
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let span = lectern_core::telemetry::server_span(endpoint.method, endpoint.path, traceparent);
        span.in_scope(|| lectern_core::telemetry::identify(&request_id, None));
        Exchange { endpoint, span, request_id, started }
    }

    /// The id of the request for the logs.
    pub fn request_id(&self) -> Arc<str> {
        self.request_id.clone()
    }

    /// Answers within the span, and notes it in the log (I-154: method, route, status and ids are the span's) and the metrics.
    pub async fn answer(self, answering: impl Future<Output = Response<Body>>) -> Response<Body> {
        let Exchange { endpoint: Endpoint { method, path, service }, span, request_id, started } = self;
        let mut response = async {
            let response = answering.await;
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            Span::current().record("status", response.status().as_u16());
            tracing::info!(target: ACCESS, event = "http_request", ms, "answered");
            response
        }
        .instrument(span)
        .await;
        common_headers(response.headers_mut(), &request_id);
        let status = response.status().as_u16().to_string();
        metrics::counter!("http_requests_total", "method" => method, "endpoint" => path, "service" => service, "status" => status)
            .increment(1);
        metrics::histogram!("http_request_duration_seconds", "method" => method, "endpoint" => path, "service" => service)
            .record(started.elapsed());
        response
    }
}

fn request_id(gateway: &Gateway, headers: &HeaderMap) -> Arc<str> {
    match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()) {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => id.into(),
        _ => gateway.clock.new_id().to_string().into(),
    }
}

/// Headers that every answer carries (ASVS V3).
fn common_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
}
