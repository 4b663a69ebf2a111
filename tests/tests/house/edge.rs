//! The HTTP edge against clients that don't play by the rules (reliability H1, H4; V4 API).

use std::time::{Duration, Instant};

use lectern_harness::{Stack, StackOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shared::house;

/// Sends bytes as they are; what came until the server closed the connection, or `patience` was over.
async fn says(address: &str, bytes: &[u8], patience: Duration) -> (String, bool) {
    let mut connection = TcpStream::connect(address).await.expect("connected");
    connection.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(patience, connection.read_to_end(&mut answer)).await.is_ok();
    (String::from_utf8_lossy(&answer).into_owned(), closed)
}

fn address(stack: &Stack) -> String {
    stack.http_url().trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn rel_h1_a_client_that_does_not_send_its_head_or_its_body_is_let_go() {
    let address = address(&house().await.stack);
    let begun = Instant::now();
    let patience = Duration::from_secs(40);
    let login = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let (silent, half_head, half_body) = tokio::join!(
        says(&address, b"", patience),
        says(&address, b"GET /api/v1/courses HTTP/1.1\r\nHost: x\r\n", patience),
        says(&address, login.as_bytes(), patience),
    );
    println!("silent connections were closed within {:?}", begun.elapsed());
    assert!(silent.1, "a silent connection is kept");
    assert!(half_head.1, "a connection with half a head is kept: {}", half_head.0);
    assert!(
        half_body.0.contains(" 400 ") && half_body.0.contains("COMMON_0002"),
        "half a body: {half_body:?}"
    );
}

#[tokio::test]
async fn a_head_that_is_too_long_or_ambiguous_is_refused() {
    let address = address(&house().await.stack);
    let patience = Duration::from_secs(15);
    let long = format!("GET /api/v1/courses HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000));
    let (answer, closed) = says(&address, long.as_bytes(), patience).await;
    assert!(closed && answer.contains(" 431 "), "{answer}");
    for ambiguous in [
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{}xx",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, nonsense\r\n\r\n{}",
        "GET /api/v1/courses HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let (answer, closed) = says(&address, ambiguous.as_bytes(), patience).await;
        assert!(closed && (answer.contains(" 400 ") || answer.is_empty()), "{ambiguous:?}: {answer}");
    }
    // with both lengths the chunks count (RFC 9112 §6.3), and nothing of the body becomes a second request
    let both = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /api/v1/courses HTTP/1.1\r\nHost: x\r\n\r\n";
    let (answer, closed) = says(&address, both.as_bytes(), patience).await;
    assert!(closed && answer.matches("HTTP/1.1 ").count() <= 1, "smuggled: {answer}");
}

#[tokio::test]
async fn every_answer_carries_the_headers_of_the_edge_and_the_clients_request_id() {
    let anyone = house().await.stack.anonymous();
    for path in ["/courses", "/users/me", "/no/such/path", "/media/a/b", "/uploads/x"] {
        let answer = anyone.asks(reqwest::Method::GET, path).header("x-request-id", "mine-7").send().await;
        assert_eq!(answer.header("x-request-id"), "mine-7", "{answer}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.header(name), value, "{answer}");
        }
        let bad =
            anyone.asks(reqwest::Method::GET, path).header("x-request-id", "x".repeat(200)).send().await;
        assert_eq!(bad.header("x-request-id").len(), 36, "{bad}");
    }
    let traced = anyone
        .asks(reqwest::Method::GET, "/users/me")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let refused = traced.send().await.refused(401, "USER_1006");
    assert_eq!(refused.at("/trace_id"), "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn limits_are_per_anonymous_address_and_a_forged_token_is_no_way_around() {
    let stack = Stack::start(StackOptions::default().limits("seed")).await;
    let anyone = stack.anonymous();
    let forger = stack.anonymous();
    forger.carries("eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.e30.AAAA");
    let mut limited = 0;
    for _ in 0..40 {
        for actor in [&anyone, &forger] {
            let answer = actor.browses_courses().await;
            if answer.status == 429 {
                let answer = answer.refused(429, "COMMON_0012");
                let wait: u64 = answer.header("retry-after").parse().expect("seconds");
                assert!((1..=60).contains(&wait), "{answer}");
                limited += 1;
            }
        }
    }
    assert!(limited >= 15, "80 requests at once from one address, and only {limited} were too many");
    // documents and probes stay reachable
    anyone.gets("/health/liveness").await.ok();
    anyone.gets("/openapi.json").await.ok();
}

#[tokio::test]
async fn i161_the_limit_of_anonymous_addresses_is_a_setting() {
    let options = StackOptions::default().limits("seed").env("RATE_LIMIT_PER_MINUTE", "4");
    let stack = Stack::start(options).await;
    let anyone = stack.anonymous();
    for _ in 0..4 {
        anyone.browses_courses().await.ok();
    }
    anyone.browses_courses().await.refused(429, "COMMON_0012");
    let mut nonsense = stack.launch("gateway", &[("RATE_LIMIT_PER_MINUTE", "0")]).expect("started");
    let ended = nonsense.ends_within(std::time::Duration::from_secs(20)).await.expect("it does not start");
    assert!(!ended.success() && nonsense.log().contains("RATE_LIMIT_PER_MINUTE"), "{}", nonsense.log());
}
