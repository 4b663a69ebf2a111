//! Telemetry (placeholder while it is being written).
/// The span of one message.
pub fn consumer_span(subject: &'static str, _headers: Option<&async_nats::HeaderMap>) -> tracing::Span {
    tracing::info_span!("handle", subject)
}
/// W3C `traceparent` of the current span.
pub fn current_traceparent() -> Option<String> {
    None
}
/// Trace id of the current span.
pub fn current_trace_id() -> Option<String> {
    None
}
/// The span of one HTTP request: method, route pattern, the client's `traceparent` if it sent one. (The gateway calls exactly this signature.)
pub fn server_span(method: &str, route: &str, _traceparent: Option<&str>) -> tracing::Span {
    tracing::info_span!("http", method, route)
}
