//! The spans that leave the process, as a collector of OpenTelemetry gets them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lectern_harness::{Stack, StackOptions};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A collector: takes what is posted to it, and says 200.
#[derive(Clone)]
pub struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let taken = bodies.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, taken.clone()));
            }
        });
        Collector { url, bodies }
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All bytes that came.
    pub fn bytes(&self) -> Vec<u8> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    /// All spans that came.
    pub fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let requests = bodies
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.as_slice()).expect("an export of spans"));
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
    }
}

/// Requests of one connection, one after the other.
async fn take(stream: TcpStream, bodies: Arc<Mutex<Vec<Vec<u8>>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
            )
            .await?;
    }
}

/// What a span says of itself.
fn attribute(span: &Span, name: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|pair| pair.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn i153_a_sign_in_is_one_trace_from_the_clients_span_to_the_tokens() {
    let collector = Collector::start().await;
    let options = StackOptions::default().env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let stack = Stack::start(options).await;
    let ann = stack.learner("Ann").await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let ask = ann.asks(reqwest::Method::POST, "/auth/login");
    let ask = ask.header("traceparent", format!("00-{trace}-{parent}-01"));
    ask.json(json!({ "email": ann.email, "password": ann.password })).send().await.ok();

    let mut names = BTreeMap::new();
    for _ in 0..100 {
        // spans are exported in batches, some seconds apart
        tokio::time::sleep(Duration::from_millis(200)).await;
        let spans = collector.spans().into_iter().filter(|span| hex(&span.trace_id) == trace);
        names = spans.map(|span| (span.name.clone(), span)).collect();
        if names.len() >= 5 {
            break;
        }
    }
    let span = |name: &str| names.get(name).unwrap_or_else(|| panic!("no span {name}: {:?}", names.keys()));
    for (name, above) in [
        ("handle", "http"),
        ("user_login", "handle"),
        ("authenticate_user", "user_login"),
        ("create_tokens", "user_login"),
    ] {
        assert_eq!(hex(&span(name).parent_span_id), hex(&span(above).span_id), "{name} is not below {above}");
    }
    assert_eq!(hex(&span("http").parent_span_id), parent);
    assert_eq!(attribute(span("http"), "route").as_deref(), Some("/api/v1/auth/login"));
    assert_eq!(attribute(span("http"), "status").as_deref(), Some("200"));
    assert_eq!(attribute(span("handle"), "subject").as_deref(), Some("svc.identity.v1.auth.login"));
    assert_eq!(attribute(span("http"), "request_id"), attribute(span("handle"), "request_id"));
    // the hash takes time, and it is the sign-in's
    let took = |name: &str| span(name).end_time_unix_nano - span(name).start_time_unix_nano;
    assert!(took("user_login") >= took("authenticate_user") + took("create_tokens"));
    // C16: who it is by id only
    let bytes = collector.bytes();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("user_login") && !holds(&ann.email) && !holds(&ann.password));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
