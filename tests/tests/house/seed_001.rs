//! Seed 001's documented answers to the letter: their fields, their statuses, their limits and how long they may take.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lectern_harness::{Answer, Stack, StackOptions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::shared::house;

/// An answer has these fields and no others: a client written for the seed finds all of its own, and what is new is
/// known to us.
#[track_caller]
fn has_fields(answer: &Answer, of_the_seed: &[&str], ours: &[&str]) {
    let fields: BTreeSet<&str> =
        answer.json.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, of_the_seed.iter().chain(ours).copied().collect(), "{answer}");
}

/// `ErrorResponse` of the seed, in a problem document (RFC 9457).
#[track_caller]
fn is_an_error(answer: &Answer, code: &str) {
    has_fields(
        answer,
        &["error_code", "message", "details", "timestamp"],
        &["type", "title", "status", "detail", "instance", "trace_id"],
    );
    assert_eq!(answer.json["error_code"], code, "{answer}");
    assert!(is_time(&answer.json["timestamp"]) && answer.json["message"].is_string(), "{answer}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<chrono::DateTime<chrono::Utc>>().is_ok())
}

fn is_id(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<uuid::Uuid>().is_ok())
}

const USER: &[&str] =
    &["id", "email", "name", "phone", "role", "is_active", "is_verified", "created_at", "last_login_at"];

#[tokio::test]
async fn i040_i041_i042_tokens_users_and_errors_have_the_fields_of_seed_001() {
    let stack = &house().await.stack;
    let anyone = stack.anonymous();
    let email = format!("seed001.{}", stack.stranger("fields").email);
    let account = json!({ "email": email, "password": "Test1234!", "name": "E2E Test User" });
    let made = anyone.posts("/auth/register", account.clone()).await.created();
    has_fields(&made, USER, &["roles", "version"]);
    for (field, value) in [
        ("email", json!(email)),
        ("name", json!("E2E Test User")),
        ("phone", Value::Null),
        ("role", json!("user")),
        ("is_active", json!(true)),
        ("is_verified", json!(false)),
        ("last_login_at", Value::Null),
    ] {
        assert_eq!(made.json[field], value, "{field}: {made}");
    }
    assert!(is_id(&made.json["id"]) && is_time(&made.json["created_at"]), "{made}");

    let login = json!({ "email": email, "password": "Test1234!" });
    let signed_in = anyone.posts("/auth/login", login).await.ok();
    let of_the_seed = ["access_token", "refresh_token", "token_type"];
    has_fields(&signed_in, &of_the_seed, &["expires_in", "device_token"]);
    assert_eq!(signed_in.json["token_type"], "bearer");
    assert_eq!(signed_in.text("/access_token").split('.').count(), 3, "a JWT");
    let renewed = json!({ "refresh_token": signed_in.text("/refresh_token") });
    let renewed = anyone.posts("/auth/refresh", renewed).await.ok();
    has_fields(&renewed, &of_the_seed, &["expires_in"]);
    assert_eq!(renewed.json["token_type"], "bearer");

    let bearer = format!("Bearer {}", renewed.text("/access_token"));
    let me = anyone.asks(Method::GET, "/users/me").authorization(Some(&bearer)).send().await.ok();
    has_fields(&me, USER, &["roles", "version"]);
    assert!(is_time(&me.json["last_login_at"]), "{me}");
    let mut expected = made.json.clone();
    for field in ["last_login_at", "version"] {
        expected[field] = me.json[field].clone();
    }
    assert_eq!(me.json, expected);
    // version 2 has all of that and more (I-025)
    let full = anyone.asks(Method::GET, "/api/v2/users/me").authorization(Some(&bearer)).send().await.ok();
    has_fields(
        &full,
        USER,
        &[
            "roles",
            "version",
            "business_type",
            "business_number",
            "industry",
            "region",
            "locale",
            "time_zone",
            "updated_at",
            "mfa",
        ],
    );

    is_an_error(&anyone.posts("/auth/register", account).await.refused(409, "USER_1102"), "USER_1102");
    let wrong = json!({ "email": email, "password": "Wrong1234!" });
    is_an_error(&anyone.posts("/auth/login", wrong).await.refused(401, "USER_1001"), "USER_1001");
    is_an_error(&anyone.looks_at_self().await.refused(401, "USER_1006"), "USER_1006");
    let weak = json!({ "email": email, "password": "weak", "name": "E2E Test User" });
    let weak = anyone.posts("/auth/register", weak).await.refused(400, "USER_1103");
    is_an_error(&weak, "USER_1103");
    assert!(
        weak.json["details"].as_array().is_some_and(|rules| rules.len() >= 4),
        "every missed rule: {weak}"
    );
    let bye = anyone.asks(Method::POST, "/auth/logout").authorization(Some(&bearer)).send().await.ok();
    assert_eq!(bye.json, json!({ "message": "Successfully logged out" }));
}

#[tokio::test]
async fn i017_i018_i023_the_documented_statuses_are_announced_for_the_documented_paths() {
    let openapi = &house().await.contract.openapi;
    for (path, method, statuses) in [
        ("/auth/login", "post", &["200", "401", "429"][..]),
        ("/auth/register", "post", &["201", "400"]),
        ("/users/me", "get", &["200", "401"]),
    ] {
        for prefix in ["/api/v1", "/user/v1"] {
            let operation = &openapi["paths"][format!("{prefix}{path}")][method];
            for status in statuses {
                assert!(operation["responses"][status].is_object(), "{method} {prefix}{path}: {operation}");
            }
        }
    }
}

#[tokio::test]
async fn i083_a_fourth_sign_up_of_an_hour_is_refused_by_whatever_path_it_comes() {
    let stack = Stack::start(StackOptions::default().limits("seed")).await;
    let anyone = stack.anonymous();
    let base = stack.http_url();
    let signs_up = async |n: usize, path: &str| {
        let account =
            json!({ "email": format!("u{n}@example.org"), "password": "Test1234!", "name": "Somebody" });
        anyone.posts(&format!("{base}{path}"), account).await
    };
    for (n, path) in
        ["/api/v1/auth/register", "/user/v1/auth/register", "/auth/register"].into_iter().enumerate()
    {
        signs_up(n, path).await.created();
    }
    for path in ["/api/v1/auth/register", "/api/users/register"] {
        let refused = signs_up(9, path).await.refused(429, "COMMON_0012");
        is_an_error(&refused, "COMMON_0012");
        let wait: u64 = refused.header("retry-after").parse().expect("seconds");
        assert!((3400..=3600).contains(&wait), "{refused}");
    }
    assert_eq!(
        stack
            .database()
            .value("SELECT count(*)::text FROM identity.users")
            .await
            .expect("counted")
            .as_deref(),
        Some("3")
    );
}

#[tokio::test]
async fn i030_i117_to_make_an_account_takes_ten_seconds_at_most_and_anything_else_five() {
    let mut stack = Stack::start(StackOptions::default().processes(["gateway", "identity"])).await;
    let admin = stack.admin().await;
    let base = stack.http_url();
    // the gateway has the keys of tokens from then on
    admin.looks_at_self().await.ok();
    let identity =
        stack.processes().iter_mut().find(|process| process.roles() == "identity").expect("identity");
    identity.freeze();
    let account = |n: usize| json!({ "email": format!("late{n}@example.org"), "password": "Test1234!", "name": "Somebody" });
    let asks = [
        ("/api/v1/admin/users", 10),
        ("/api/v1/users", 10),
        ("/user/v1/users", 10),
        ("/user/v1/admin/users", 10),
        ("/api/v1/auth/register", 5),
        ("/api/v1/users/me/email", 5),
    ];
    let asked = asks.into_iter().enumerate().map(|(n, (path, seconds))| {
        let mut body = account(n);
        if path.ends_with("/email") {
            body.as_object_mut().expect("an object").retain(|name, _| name == "email");
        }
        let (admin, url) = (&admin, format!("{base}{path}"));
        async move {
            let begun = Instant::now();
            let answer = admin.posts(&url, body).await.refused(504, "COMMON_0009");
            is_an_error(&answer, "COMMON_0009");
            (path, seconds, begun.elapsed())
        }
    });
    for (path, seconds, took) in join_all(asked).await {
        let bound = Duration::from_secs(seconds);
        assert!((bound..bound + Duration::from_secs(3)).contains(&took), "{path} answered after {took:?}");
    }
    let identity =
        stack.processes().iter_mut().find(|process| process.roles() == "identity").expect("identity");
    identity.thaw();
    // what was too late is not done later
    let list = async || admin.gets("/users?q=late").await;
    let found = crate::shared::until(Duration::from_secs(30), list, |answer| answer.status == 200).await;
    assert_eq!(found.items().len(), 0, "{found}");
}

#[tokio::test]
async fn i010_every_main_operation_is_counted_and_timed_where_it_comes_in_and_where_it_is_done() {
    let mut stack = Stack::start(StackOptions::default()).await;
    let anyone = stack.anonymous();
    let alice = stack.stranger("Alice");
    let account = json!({ "email": alice.email, "password": alice.password, "name": "Alice Kim" });
    alice.posts("/auth/register", account.clone()).await.created();
    anyone.posts("/auth/register", account).await.refused(409, "USER_1102");
    alice.verifies_email("123456").await.ok();
    let wrong = json!({ "email": alice.email, "password": "Wrong-Horse-7!" });
    anyone.posts("/auth/login", wrong).await.refused(401, "USER_1001");
    alice.logs_in().await.ok();
    alice.refreshes().await.ok();
    alice.looks_at_self().await.ok();
    alice.patches("/users/me", json!({ "name": "Alice Park" })).await.ok();
    alice.gets("/users/me/sessions").await.ok();
    let passwords = json!({ "current_password": alice.password, "new_password": "Blue-Kettle-42!" });
    alice.puts("/users/me/password", passwords).await.ok();
    alice.logs_out().await.ok();
    let admin = stack.processes()[0].admin_url();
    let metrics = anyone.gets(&format!("{admin}/metrics")).await.ok();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = |name: &str, labels: &[String]| {
        let mut lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.any(|line| labels.iter().all(|label| line.contains(label)) && !line.ends_with(" 0"))
    };
    for (method, path, status, request) in [
        ("POST", "/auth/register", 201, "auth.register"),
        ("POST", "/auth/register", 409, "auth.register"),
        ("POST", "/auth/verify-email", 200, "auth.verify_email"),
        ("POST", "/auth/login", 200, "auth.login"),
        ("POST", "/auth/login", 401, "auth.login"),
        ("POST", "/auth/refresh", 200, "auth.refresh"),
        ("GET", "/users/me", 200, "users.me_get"),
        ("PATCH", "/users/me", 200, "users.me_update"),
        ("GET", "/users/me/sessions", 200, "sessions.list"),
        ("PUT", "/users/me/password", 200, "users.password_change"),
        ("POST", "/auth/logout", 200, "auth.logout"),
    ] {
        let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
        let edge = [label("method", method), label("endpoint", &format!("/api/v1{path}"))];
        let subject = label("subject", &format!("svc.identity.v1.{request}"));
        let outcome = label("outcome", if status < 400 { "ok" } else { "refused" });
        let with_status = [edge.as_slice(), &[label("status", &status.to_string())]].concat();
        assert!(counted("http_requests_total", &with_status), "{method} {path} {status}:\n{metrics}");
        assert!(counted("http_request_duration_seconds_count", &edge), "{method} {path}:\n{metrics}");
        assert!(
            counted("service_requests_total", &[subject.clone(), outcome]),
            "{request} {status}:\n{metrics}"
        );
        assert!(counted("service_request_duration_seconds_count", &[subject]), "{request}:\n{metrics}");
    }
}

#[tokio::test]
async fn i024_i028_i029_the_older_paths_of_an_account_work_and_name_the_newer_of_the_same_account() {
    let house = house().await;
    let (admin, alice) = (house.staff("admin"), house.stack.learner("Alice").await);
    let (base, id) = (house.stack.http_url(), alice.user_id().await);
    let asks =
        async |who: &lectern_harness::Actor, method: Method, path: &str, body: Value, successor: &str| {
            let answer = who.asks(method, &format!("{base}/user/v1{path}")).json(body).send().await;
            let link = format!("</api/v1{successor}>; rel=\"successor-version\"");
            assert_eq!(answer.header("link"), link, "{answer}");
            assert!(answer.header("deprecation").starts_with('@'), "{answer}");
            answer
        };
    let me = json!({ "name": "Updated Name" });
    let renamed = asks(&alice, Method::PUT, "/users/me", me, "/users/me").await.ok();
    assert_eq!(renamed.json["name"], "Updated Name");
    let (path, role) = (format!("/users/{id}/role"), json!({ "role": "moderator" }));
    asks(&alice, Method::PUT, &path, role.clone(), &path).await.refused(403, "COMMON_0013");
    let promoted = asks(&admin, Method::PUT, &path, role, &path).await.ok();
    assert_eq!(
        (&promoted.json["role"], &promoted.json["roles"]),
        (&json!("moderator"), &json!(["moderator"]))
    );
    let path = format!("/users/{id}");
    asks(&alice, Method::DELETE, &path, json!({}), &path).await.refused(401, "USER_1011");
    asks(&admin, Method::DELETE, &path, json!({}), &path).await.ok();
    asks(&admin, Method::DELETE, &path, json!({}), &path).await.refused(404, "USER_1101");
    admin.gets(&path).await.refused(404, "USER_1101");
}
