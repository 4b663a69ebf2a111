//! The metrics of seed 001, read from a running process after what they count has happened through the doors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lectern_harness::{Actor, Answer, Stack, StackOptions};
use reqwest::Method;
use serde_json::{Value, json};

const WRONG: &str = "Wrong-Horse-7!";
const NEW: &str = "Blue-Kettle-42!";

/// A scrape, series by series.
struct Scrape(BTreeMap<String, f64>, String);

impl Scrape {
    async fn of(stack: &Stack) -> Scrape {
        let answer = stack.anonymous().gets("/metrics").await.ok();
        assert!(answer.header("content-type").starts_with("text/plain"), "{answer}");
        let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
        let series = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = series.map(|line| line.rsplit_once(' ').expect("a value"));
        let series = series.map(|(name, value)| (name.to_owned(), value.parse().expect("a number")));
        Scrape(series.collect(), text)
    }

    /// The value of a series, whose labels may stand in any order.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self.0.iter().filter(|(series, _)| {
            let (metric, rest) = series.split_once('{').unwrap_or((series, ""));
            let shown: Vec<&str> =
                rest.trim_end_matches('}').split("\",").filter(|it| !it.is_empty()).collect();
            metric == name
                && shown.len() == labels.len()
                && labels.iter().all(|(label, value)| {
                    let pair = format!("{label}=\"{value}");
                    shown.iter().any(|it| it.trim_end_matches('"') == pair)
                })
        });
        let found = matching.next().map(|(_, value)| *value);
        assert!(matching.next().is_none(), "{name} {labels:?} stands twice");
        found
    }

    fn kind(&self, name: &str) -> Option<&str> {
        self.1.lines().find_map(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '))
    }

    /// The upper bounds of a histogram.
    fn bounds(&self, name: &str) -> Vec<&str> {
        let start = format!("{name}_bucket{{");
        let rows = self.1.lines().filter_map(|line| line.strip_prefix(&start)?.split("le=\"").nth(1));
        rows.filter_map(|rest| rest.split('"').next()).collect()
    }
}

/// Waits until the gauges, which are looked up every 15 s, say so.
async fn gauges(stack: &Stack, expected: &[(&str, f64)]) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let scrape = Scrape::of(stack).await;
        let seen: Vec<Option<f64>> = expected.iter().map(|(name, _)| scrape.value(name, &[])).collect();
        if expected.iter().zip(&seen).all(|((_, value), seen)| *seen == Some(*value)) {
            return;
        }
        assert!(Instant::now() < end, "{expected:?} were expected, {seen:?} are seen");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Asks as a client of this address, behind the proxy that the gateway trusts.
async fn from(anyone: &Actor, address: &str, path: &str, body: Value) -> Answer {
    anyone.asks(Method::POST, path).header("x-forwarded-for", address).json(body).send().await
}

async fn registers(stack: &Stack, address: &str, email: &str) {
    let body = json!({ "email": email, "password": stack.stranger("x").password, "name": "Some Body" });
    from(&stack.anonymous(), address, "/auth/register", body).await.created();
}

async fn signs_in(stack: &Stack, address: &str, email: &str, password: &str) -> Answer {
    from(&stack.anonymous(), address, "/auth/login", json!({ "email": email, "password": password })).await
}

/// The token of the `nth` link that was mailed to this address.
async fn link(stack: &Stack, email: &str, nth: usize) -> String {
    let mut links = 0;
    for count in 1.. {
        let letter = stack.mailbox().nth(email, count).await.expect("a letter");
        if let Some((_, rest)) = letter.text.split_once("#token=") {
            links += 1;
            if links == nth {
                return rest.lines().next().expect("a token").to_owned();
            }
        }
    }
    unreachable!("letters never end")
}

async fn execute(stack: &Stack, sql: &str) {
    stack.database().execute(sql).await.expect(sql);
}

/// Sign-ups, codes and links; each with the outcome that it is counted under.
async fn accounts(stack: &Stack) {
    let anyone = stack.anonymous();
    let password = stack.stranger("x").password;
    registers(stack, "203.0.113.1", "ann@example.org").await;
    registers(stack, "203.0.113.1", "bob@example.org").await;
    let again = json!({ "email": "ann@example.org", "password": password, "name": "Ann Again" });
    from(&anyone, "203.0.113.1", "/auth/register", again.clone()).await.refused(409, "USER_1102");
    from(&anyone, "203.0.113.1", "/auth/register", again).await.refused(429, "COMMON_0012");

    let verify = async |email: &str, code: &str| {
        anyone.posts("/auth/verify-email", json!({ "email": email, "code": code })).await
    };
    verify("ann@example.org", "000000").await.refused(400, "USER_1106");
    verify("ann@example.org", "123456").await.ok();
    let age = "UPDATE identity.email_codes SET created_at = created_at - interval '1 hour',
               expires_at = expires_at - interval '1 hour'";
    execute(stack, age).await;
    verify("bob@example.org", "123456").await.refused(400, "USER_1107");

    let forgot = async |address: &str| {
        from(&anyone, address, "/auth/password/forgot", json!({ "email": "bob@example.org" })).await.is(202);
    };
    let reset = async |token: &str| {
        anyone.posts("/auth/password/reset", json!({ "token": token, "new_password": NEW })).await
    };
    forgot("203.0.113.2").await;
    let first = link(stack, "bob@example.org", 1).await;
    let age = "UPDATE identity.password_resets SET created_at = created_at - interval '1 hour',
               expires_at = expires_at - interval '1 hour'";
    execute(stack, age).await;
    reset(&first).await.refused(400, "USER_1107");
    forgot("203.0.113.3").await;
    let second = link(stack, "bob@example.org", 2).await;
    reset(&second).await.ok();
    reset(&second).await.refused(400, "USER_1106");
}

/// Sign-ins, right and wrong, and what looks suspicious; answers how many sessions are live.
async fn sign_ins(stack: &Stack) -> f64 {
    let (anyone, password) = (stack.anonymous(), stack.stranger("x").password);
    let ann = signs_in(stack, "203.0.113.10", "ann@example.org", &password).await.ok();
    signs_in(stack, "198.51.100.10", "ann@example.org", &password).await.ok();
    signs_in(stack, "203.0.113.11", "bob@example.org", NEW).await.ok();
    // one address fails for ten accounts; a minute's limit per address is out of the way
    for n in 0..10 {
        signs_in(stack, "203.0.113.12", &format!("u{n}@example.org"), WRONG).await.refused(401, "USER_1001");
        execute(stack, "DELETE FROM identity.address_attempts").await;
    }
    for n in 1..=5 {
        let address = format!("203.0.113.2{n}");
        signs_in(stack, &address, "bob@example.org", WRONG).await.refused(401, "USER_1001");
    }
    signs_in(stack, "203.0.113.26", "bob@example.org", NEW).await.refused(401, "USER_1003");
    for _ in 0..5 {
        signs_in(stack, "203.0.113.30", "nobody@example.org", WRONG).await.refused(401, "USER_1001");
    }
    signs_in(stack, "203.0.113.30", "nobody@example.org", WRONG).await.refused(429, "COMMON_0012");
    // a consumed refresh token comes again: its session is ended
    let old = json!({ "refresh_token": ann.text("/refresh_token") });
    let next = anyone.posts("/auth/refresh", old.clone()).await.ok();
    anyone.posts("/auth/refresh", json!({ "refresh_token": next.text("/refresh_token") })).await.ok();
    anyone.posts("/auth/refresh", old).await.refused(401, "USER_1010");
    2.0
}

#[tokio::test]
async fn i120_to_i135_c26_what_happens_through_the_doors_is_counted_under_the_seeds_names_and_labels() {
    let options = StackOptions::default().limits("seed").env("TRUSTED_PROXIES", "127.0.0.1");
    let stack = Stack::start(options).await;
    let before = Scrape::of(&stack).await;
    for (name, label, values) in [
        ("user_login_attempts_total", "status", &["success", "failed", "rate_limited"][..]),
        ("user_signup_total", "status", &["success", "failed", "rate_limited"]),
        ("user_email_verification_total", "status", &["success", "failed", "expired"]),
        ("user_password_reset_total", "status", &["requested", "success", "failed", "expired"]),
        (
            "user_failed_login_attempts_total",
            "reason",
            &["invalid_password", "user_not_found", "account_locked", "rate_limited"],
        ),
        (
            "user_suspicious_activity_total",
            "activity_type",
            &["lockout", "credential_stuffing", "new_device", "refresh_reuse"],
        ),
    ] {
        for value in values {
            // there from the start, so that a rate over the first one is one
            assert_eq!(before.value(name, &[(label, value)]), Some(0.0), "{name} {value}:\n{}", before.1);
        }
    }
    accounts(&stack).await;
    let sessions = sign_ins(&stack).await;
    let after = Scrape::of(&stack).await;
    for (name, labels, counted) in [
        ("user_login_attempts_total", &[("status", "success")][..], 3.0),
        ("user_login_attempts_total", &[("status", "failed")], 21.0),
        ("user_login_attempts_total", &[("status", "rate_limited")], 1.0),
        ("user_signup_total", &[("status", "success")], 2.0),
        ("user_signup_total", &[("status", "failed")], 1.0),
        ("user_signup_total", &[("status", "rate_limited")], 1.0),
        ("user_email_verification_total", &[("status", "success")], 1.0),
        ("user_email_verification_total", &[("status", "failed")], 1.0),
        ("user_email_verification_total", &[("status", "expired")], 1.0),
        ("user_password_reset_total", &[("status", "requested")], 2.0),
        ("user_password_reset_total", &[("status", "success")], 1.0),
        ("user_password_reset_total", &[("status", "failed")], 1.0),
        ("user_password_reset_total", &[("status", "expired")], 1.0),
        ("user_failed_login_attempts_total", &[("reason", "invalid_password")], 5.0),
        ("user_failed_login_attempts_total", &[("reason", "user_not_found")], 15.0),
        ("user_failed_login_attempts_total", &[("reason", "account_locked")], 1.0),
        ("user_failed_login_attempts_total", &[("reason", "rate_limited")], 1.0),
        ("user_suspicious_activity_total", &[("activity_type", "lockout")], 1.0),
        ("user_suspicious_activity_total", &[("activity_type", "credential_stuffing")], 1.0),
        ("user_suspicious_activity_total", &[("activity_type", "new_device")], 1.0),
        ("user_suspicious_activity_total", &[("activity_type", "refresh_reuse")], 1.0),
        // whoever is locked out: nobody@example.org is nobody, and counted all the same
        ("user_account_lockouts_total", &[], 2.0),
        ("user_login_duration_seconds_count", &[], 25.0),
    ] {
        assert_eq!(after.value(name, labels), Some(counted), "{name} {labels:?}:\n{}", after.1);
    }
    http_is_counted_by_route_and_operations_by_subject(&stack).await;
    shapes(&Scrape::of(&stack).await);
    gauges(&stack, &[("users_total", 2.0), ("active_users_total", 2.0), ("user_active_sessions", sessions)])
        .await;
    let last = Scrape::of(&stack).await;
    assert!(last.value("user_database_connections", &[]).is_some_and(|open| (1.0..=20.0).contains(&open)));
    for personal in ["example.org", "203.0.113", "198.51.100"] {
        assert!(!last.1.contains(personal), "{personal} stands in a label");
    }
}

/// I-125, I-132, I-133, I-135.
async fn http_is_counted_by_route_and_operations_by_subject(stack: &Stack) {
    let seen = Scrape::of(stack).await;
    let checks = seen.value("user_token_verification_duration_seconds_count", &[]).unwrap_or_default();
    let alice = stack.anonymous();
    let email = json!({ "email": "ann@example.org", "password": stack.stranger("x").password });
    let pair = from(&alice, "203.0.113.40", "/auth/login", email).await.ok();
    alice.carries(&pair.text("/access_token"));
    alice.looks_at_self().await.ok();
    alice.looks_at_self().await.ok();
    let unknown = "0192f0c1-2345-7abc-8def-0123456789ab";
    alice.deletes(&format!("/users/me/sessions/{unknown}")).await.refused(404, "USER_1201");
    alice.logs_out().await.ok();
    alice.gets("/nowhere/at/all").await.refused(404, "COMMON_0006");

    let scrape = Scrape::of(stack).await;
    let me =
        [("method", "GET"), ("endpoint", "/api/v1/users/me"), ("status", "200"), ("service", "identity")];
    assert_eq!(scrape.value("http_requests_total", &me), Some(2.0), "{}", scrape.1);
    let ended = [
        ("method", "DELETE"),
        // the route, not the path: a scrape does not grow with every session
        ("endpoint", "/api/v1/users/me/sessions/{sid}"),
        ("status", "404"),
        ("service", "identity"),
    ];
    assert_eq!(scrape.value("http_requests_total", &ended), Some(1.0), "{}", scrape.1);
    let timed = [("method", "GET"), ("endpoint", "/api/v1/users/me"), ("service", "identity")];
    assert_eq!(scrape.value("http_request_duration_seconds_count", &timed), Some(2.0));
    assert!(!scrape.1.contains(unknown) && !scrape.1.contains("nowhere"), "a path stands in a label");
    // the token's signature is checked once by the gateway and once by the service
    let now = scrape.value("user_token_verification_duration_seconds_count", &[]).expect("checked");
    assert!(now > checks, "{checks} before, {now} now");
    for (subject, outcome) in [
        ("svc.identity.v1.users.me_get", "ok"),
        ("svc.identity.v1.auth.login", "ok"),
        ("svc.identity.v1.auth.login", "refused"),
        ("svc.identity.v1.auth.register", "ok"),
        ("svc.identity.v1.auth.logout", "ok"),
        ("svc.identity.v1.sessions.revoke", "refused"),
    ] {
        let counted = scrape.value("service_requests_total", &[("subject", subject), ("outcome", outcome)]);
        assert!(counted.is_some_and(|count| count >= 1.0), "{subject} {outcome}:\n{}", scrape.1);
        let timed = scrape.value("service_request_duration_seconds_count", &[("subject", subject)]);
        assert!(timed.is_some_and(|count| count >= 1.0), "{subject} is not timed");
    }
}

/// Kinds, buckets, and what the process says of itself.
fn shapes(scrape: &Scrape) {
    for (name, kind) in [
        ("user_login_attempts_total", "counter"),
        ("user_signup_total", "counter"),
        ("user_email_verification_total", "counter"),
        ("user_password_reset_total", "counter"),
        ("user_failed_login_attempts_total", "counter"),
        ("user_account_lockouts_total", "counter"),
        ("user_suspicious_activity_total", "counter"),
        ("http_requests_total", "counter"),
        ("user_login_duration_seconds", "histogram"),
        ("user_token_verification_duration_seconds", "histogram"),
        ("http_request_duration_seconds", "histogram"),
        ("user_active_sessions", "gauge"),
        ("user_database_connections", "gauge"),
        ("users_total", "gauge"),
        ("active_users_total", "gauge"),
    ] {
        assert_eq!(scrape.kind(name), Some(kind), "{name}");
    }
    // the superset of the two lists of seed 001 (C26)
    assert_eq!(scrape.bounds("user_login_duration_seconds"), ["0.1", "0.2", "0.5", "1", "2", "5", "+Inf"]);
    let checks = scrape.bounds("user_token_verification_duration_seconds");
    assert_eq!(checks, ["0.01", "0.05", "0.1", "0.2", "0.5", "+Inf"]);
    let about = [("version", env!("CARGO_PKG_VERSION")), ("environment", "test")];
    assert_eq!(scrape.value("user_service_info", &about), Some(1.0));
}
