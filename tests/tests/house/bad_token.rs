//! No token, an expired, a forged, two at once: 401 with `WWW-Authenticate`, on every route that needs one.

use std::time::Duration;

use lectern_harness::{Actor, Answer};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::contract::Access;
use crate::road::{Doors, Road, is_a_problem, over_http};
use crate::shared::house;

#[track_caller]
fn is_unauthenticated(answer: Answer, code: &str) {
    let answer = answer.refused(401, code);
    is_a_problem(&answer);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer") && challenge.contains(code), "no challenge: {answer}");
}

/// A token that was good, changed in one place each.
fn forgeries(token: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("no JWT: {token}") };
    let swap = |text: &str, at: usize| {
        let swapped = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{swapped}{}", &text[..at], &text[at + 1..])
    };
    vec![
        ("another signature", format!("{header}.{claims}.{}", swap(signature, 20))),
        ("other claims", format!("{header}.{}.{signature}", swap(claims, 30))),
        ("no signature", format!("{header}.{claims}.")),
        // {"alg":"none","typ":"at+jwt"}
        ("no algorithm", format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{claims}.")),
        // {"alg":"HS256","typ":"at+jwt"}
        ("a shared secret", format!("eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.{claims}.{signature}")),
        ("two parts", format!("{header}.{claims}")),
        ("nonsense", "not-a-token".to_owned()),
        ("a very long one", "x".repeat(9000)),
    ]
}

#[tokio::test]
async fn no_token_is_refused_with_a_challenge_on_every_route_that_needs_one() {
    let house = house().await;
    let anyone = house.stack.anonymous();
    for (operation, route) in house.contract.routed() {
        if operation.access != Access::Public {
            is_unauthenticated(over_http(&anyone, route, &operation.example).send().await, "USER_1006");
        }
    }
}

#[tokio::test]
async fn a_forged_token_is_refused_on_both_roads() {
    let house = house().await;
    let doors = house.doors().await;
    let admin = house.staff("admin");
    let token = admin.access_token().expect("signed in");
    for (how, forged) in forgeries(&token) {
        admin.carries(&forged);
        is_unauthenticated(admin.looks_at_self().await, "USER_1006");
        let on_the_bus = on_the_bus(&doors, &admin).await;
        assert!(on_the_bus.status == 401, "{how}: {on_the_bus}");
        assert!(on_the_bus.json["error_code"] == "USER_1006", "{how}: {on_the_bus}");
        // where no token is needed, a bad one is not passed over
        is_unauthenticated(admin.browses_courses().await, "USER_1006");
    }
    for scheme in ["Basic YTpi", "Bearer", "Bearer ", "Token abc", ""] {
        let ask = admin.asks(reqwest::Method::GET, "/users/me").authorization(Some(scheme));
        is_unauthenticated(ask.send().await, "USER_1006");
    }
}

async fn on_the_bus(doors: &Doors<'_>, who: &Actor) -> Answer {
    doors.asks(Road::Bus, Some(who), "svc.identity.v1.users.me_get", &serde_json::json!({})).await
}

#[tokio::test]
async fn an_expired_token_is_refused_as_such_on_both_roads() {
    let house = house().await;
    let doors = house.doors().await;
    let issue = ["token", "issue", "--name", "short", "--ttl", "2s"];
    let token = house.stack.lectern(&issue).await.done().expect("issued");
    let machine = house.stack.anonymous();
    machine.carries(&token);
    machine.browses_courses().await.ok();
    tokio::time::sleep(Duration::from_secs(3)).await;
    is_unauthenticated(machine.browses_courses().await, "USER_1005");
    let answer =
        doors.asks(Road::Bus, Some(&machine), "svc.courses.v1.courses.list", &serde_json::json!({})).await;
    assert!(answer.status == 401 && answer.json["error_code"] == "USER_1005", "{answer}");
}

#[tokio::test]
async fn of_two_authorization_headers_none_is_chosen() {
    let house = house().await;
    let token = house.staff("admin").access_token().expect("signed in");
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, bearer.clone());
    headers.append(AUTHORIZATION, bearer);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/api/v1/users/me", house.stack.http_url());
    let response = client.get(url).headers(headers).send().await.expect("an answer");
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
    let problem: serde_json::Value = response.json().await.expect("a problem document");
    assert_eq!(problem["error_code"], "USER_1006");
}

#[tokio::test]
async fn headers_that_claim_to_be_someone_change_nothing() {
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let claims = [("x-user-id", crate::shared::NOBODY), ("x-user-roles", "admin"), ("x-user-role", "admin")];
    let mut ask = alice.asks(reqwest::Method::POST, "/courses");
    for (name, value) in claims {
        ask = ask.header(name, value);
    }
    let course = serde_json::json!({ "title": "Mine", "description": "" });
    ask.json(course).send().await.refused(403, "COMMON_0013");
    let me = alice.asks(reqwest::Method::GET, "/users/me").header("x-user-id", crate::shared::NOBODY);
    assert_eq!(me.send().await.ok().json["email"], alice.email.as_str());
}
