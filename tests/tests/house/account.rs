//! The own account and its sessions, as the edge answers them.

use std::time::Duration;

use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::json;

use crate::shared::{NOBODY, house, until};

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// Signs in again, with a browser: another session of the same account.
async fn browser_of(person: &Actor) -> Actor {
    let device =
        Actor::with_account(&house().await.stack.http_url(), "browser", &person.email, &person.password);
    let account = json!({ "email": person.email, "password": person.password });
    let login = device.asks(Method::POST, "/auth/login").header("user-agent", BROWSER).json(account);
    device.carries(&login.send().await.ok().text("/access_token"));
    device
}

#[tokio::test]
async fn i024_put_and_patch_change_the_same_and_honour_if_match() {
    let alice = house().await.stack.learner("Alice").await;
    for method in [Method::PUT, Method::PATCH] {
        let before = alice.gets("/users/me").await.ok();
        let name = format!("Alice by {method}").replace(|c: char| !c.is_alphanumeric(), " ");
        let change = |tag: &str| {
            let ask = alice.asks(method.clone(), "/users/me").header("if-match", tag);
            ask.json(json!({ "name": name, "region": "Busan" })).send()
        };
        let updated = change(before.header("etag")).await.ok();
        assert_eq!(updated.text("/name"), name);
        assert_ne!(updated.header("etag"), before.header("etag"));
        let stale = change(before.header("etag")).await.refused(412, "COMMON_0011");
        assert_eq!(stale.at("/details/version"), updated.at("/version"));
        let after = alice.gets("/users/me").await.ok();
        assert_eq!((&after.json, after.header("etag")), (&updated.json, updated.header("etag")));
        let full = alice.gets("/api/v2/users/me").await.ok();
        assert_eq!((full.text("/region").as_str(), full.text("/name")), ("Busan", name));
        assert_eq!(full.header("etag"), updated.header("etag"));
    }
    house().await.stack.anonymous().gets("/api/v2/users/me").await.refused(401, "USER_1006");
}

#[tokio::test]
async fn i024_what_may_not_be_changed_is_refused_and_named() {
    let alice = house().await.stack.learner("Alice").await;
    let before = alice.gets("/api/v2/users/me").await.ok();
    for (body, status, code, pointer) in [
        (json!({}), 400, "COMMON_0001", ""),
        (json!({ "is_verified": true }), 400, "COMMON_0001", "/is_verified"),
        (json!({ "name": null }), 400, "COMMON_0001", "/name"),
        (json!({ "locale": null }), 400, "COMMON_0001", "/locale"),
        (json!({ "time_zone": null }), 400, "COMMON_0001", "/time_zone"),
        (json!({ "name": "A" }), 400, "COMMON_0001", "/name"),
        (json!({ "name": "Alice\nBcc: x" }), 400, "COMMON_0001", "/name"),
        (json!({ "phone": "01012345678" }), 400, "COMMON_0001", "/phone"),
        (json!({ "locale": "ko_KR" }), 400, "COMMON_0001", "/locale"),
        (json!({ "time_zone": "asia/seoul" }), 400, "COMMON_0001", "/time_zone"),
        (json!({ "time_zone": "UTC+9" }), 400, "COMMON_0001", "/time_zone"),
        (json!({ "role": "admin" }), 403, "USER_1303", "/role"),
    ] {
        for method in [Method::PUT, Method::PATCH] {
            let answer =
                alice.asks(method, "/users/me").json(body.clone()).send().await.refused(status, code);
            assert_eq!(answer.text("/details/0/pointer"), pointer, "{answer}");
        }
    }
    assert_eq!(alice.gets("/api/v2/users/me").await.ok().json, before.json);
}

#[tokio::test]
async fn i026_a_session_that_is_ended_is_refused_at_the_edge_and_was_listed_with_its_device() {
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let device = browser_of(&alice).await;
    let sessions = alice.gets("/users/me/sessions").await.ok();
    let theirs = &sessions.items()[0];
    assert_eq!((&theirs["device_name"], &theirs["ip"]), (&json!("Chrome on Windows"), &json!("127.0.0.1")));
    assert_eq!((&theirs["user_agent"], &theirs["current"]), (&json!(BROWSER), &json!(false)));
    let path = format!("/users/me/sessions/{}", theirs["sid"].as_str().expect("an id"));

    let bob = house.stack.learner("Bob").await;
    bob.deletes(&path).await.refused(404, "USER_1201");
    alice.deletes(&format!("/users/me/sessions/{NOBODY}")).await.refused(404, "USER_1201");
    alice.deletes("/users/me/sessions/mine").await.refused(400, "COMMON_0001");
    device.looks_at_self().await.ok();

    // without a body, as DELETE mostly comes
    let ended = alice.deletes(&path).await.ok();
    assert!(ended.json["message"].is_string(), "{ended}");
    let void = |it: &Answer| it.status == 401;
    let refused = until(Duration::from_secs(5), async || device.looks_at_self().await, void).await;
    refused.refused(401, "USER_1011");

    let (one, two) = (browser_of(&alice).await, browser_of(&alice).await);
    alice.deletes("/users/me/sessions").await.ok();
    for device in [&one, &two] {
        let refused = until(Duration::from_secs(5), async || device.looks_at_self().await, void).await;
        refused.refused(401, "USER_1011");
    }
    assert_eq!(alice.gets("/users/me/sessions").await.ok().items().len(), 1);
    let history = alice.gets("/users/me/login-history?limit=1").await.ok();
    let newest = &history.items()[0];
    assert_eq!((&newest["action"], &newest["success"]), (&json!("login"), &json!(true)));
    assert_eq!((&newest["ip_address"], &newest["user_agent"]), (&json!("127.0.0.1"), &json!(BROWSER)));
    let next = format!("/users/me/login-history?cursor={}", history.text("/next_cursor"));
    assert_eq!(alice.gets(&next).await.ok().items().len(), 3, "the rest of her sign-ins");
}

#[tokio::test]
async fn i102_an_address_changes_over_http_when_the_code_comes_back() {
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let new = format!("new.{}", alice.email);
    alice.posts("/users/me/email", json!({ "email": "nowhere" })).await.refused(400, "USER_1104");
    alice.posts("/users/me/email", json!({ "email": new })).await.accepted();
    let letter = house.stack.mailbox().nth(&new, 0).await.expect("a letter");
    let code = letter.code(6).expect("a code").to_owned();
    let changed = alice.posts("/users/me/email/confirm", json!({ "code": code })).await.ok();
    assert_eq!(changed.text("/email"), new);
    assert_eq!(changed.header("etag"), format!("\"{}\"", changed.number("/version")));
    alice.posts("/users/me/email/confirm", json!({ "code": code })).await.refused(400, "USER_1106");
}
