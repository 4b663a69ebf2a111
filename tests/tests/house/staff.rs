//! What staff do with accounts, as the edge answers it.

use std::time::Duration;

use lectern_harness::Answer;
use reqwest::Method;
use serde_json::json;

use crate::shared::{NOBODY, house, until};

#[tokio::test]
async fn i029_a_role_that_is_given_over_http_is_in_the_next_token_and_in_no_older_one() {
    let house = house().await;
    let (admin, bob) = (house.stack.admin().await, house.stack.learner("Bob").await);
    let id = bob.looks_at_self().await.ok().text("/id");
    bob.gets("/users").await.refused(403, "COMMON_0013");
    let path = format!("/users/{id}/role");
    let put = |body| admin.asks(Method::PUT, &path).json(body).send();
    put(json!({ "role": "service" })).await.refused(403, "USER_1303");
    put(json!({ "role": "boss" })).await.refused(400, "COMMON_0001");
    put(json!({})).await.refused(400, "COMMON_0001");
    bob.asks(Method::PUT, &path).json(json!({ "role": "admin" })).send().await.refused(403, "COMMON_0013");
    assert_eq!(put(json!({ "role": "MODERATOR" })).await.ok().text("/role"), "moderator");
    let void = |it: &Answer| it.status == 401;
    until(Duration::from_secs(5), async || bob.looks_at_self().await, void).await.refused(401, "USER_1011");
}

#[tokio::test]
async fn i028_accounts_are_read_changed_switched_off_and_deleted_over_http() {
    let house = house().await;
    let (admin, bob) = (house.stack.admin().await, house.stack.learner("Bob").await);
    let id = bob.looks_at_self().await.ok().text("/id");
    let path = format!("/users/{id}");
    let seen = admin.gets(&path).await.ok();
    assert_eq!(seen.text("/email"), bob.email);
    let patch = |tag: &str| {
        let ask = admin.asks(Method::PATCH, &path).header("if-match", tag);
        ask.json(json!({ "region": "Busan" })).send()
    };
    let changed = patch(seen.header("etag")).await.ok();
    assert_eq!(changed.text("/region"), "Busan");
    patch(seen.header("etag")).await.refused(412, "COMMON_0011");
    let start = bob.email.split('@').next().expect("a local part").to_uppercase();
    let found = admin.gets(&format!("/users?q={start}&active=true&role=user")).await.ok();
    assert_eq!(found.items().iter().filter(|user| user["id"] == id.as_str()).count(), 1);

    admin.posts(&format!("/admin/users/{id}/disable"), json!({})).await.ok();
    let account = json!({ "email": bob.email, "password": bob.password });
    bob.posts("/auth/login", account).await.refused(401, "USER_1002");
    admin.posts(&format!("/admin/users/{id}/enable"), json!({})).await.ok();
    admin.posts(&format!("/admin/users/{id}/unlock"), json!({})).await.ok();
    assert!(admin.gets(&format!("/admin/users/{id}/sessions")).await.ok().items().is_empty());
    admin.deletes(&format!("/admin/users/{id}/sessions")).await.ok();
    admin.deletes(&path).await.ok();
    admin.gets(&path).await.refused(404, "USER_1101");
    admin.deletes(&path).await.refused(404, "USER_1101");
    admin.deletes(&format!("/users/{NOBODY}")).await.refused(404, "USER_1101");
    admin.deletes("/users/nobody").await.refused(400, "COMMON_0001");
}

#[tokio::test]
async fn i027_both_paths_make_an_account_and_the_older_one_names_the_newer() {
    let house = house().await;
    let admin = house.stack.admin().await;
    for (path, old) in [("/users", true), ("/admin/users", false)] {
        let email = format!("made{}@example.org", path.replace('/', "."));
        let body = json!({ "email": email, "name": "Made Up", "password": "Correct-Horse-7!" });
        let made = admin.asks(Method::POST, path).json(body).send().await;
        assert_eq!((made.status, made.text("/email")), (201, email));
        assert_eq!(
            made.headers.get("link").is_some_and(|link| link.contains("/api/v1/admin/users")),
            old,
            "{made}"
        );
    }
}

#[tokio::test]
async fn i027_who_is_invited_signs_in_with_the_password_that_the_letter_let_them_choose() {
    let house = house().await;
    let (admin, bob) = (house.stack.admin().await, house.stack.learner("Bob").await);
    let email = format!("invited.{}", bob.email);
    let invited = json!({ "email": email, "name": "Ina Novak" });
    bob.posts("/admin/users", invited.clone()).await.refused(403, "COMMON_0013");
    let made = admin.posts("/admin/users", invited.clone()).await.created();
    assert_eq!((made.text("/email"), made.json["is_verified"] == false), (email.clone(), true));
    admin.posts("/users", invited).await.refused(409, "USER_1102");
    let path = format!("/admin/users/{}/password-reset", made.id());
    bob.posts(&path, json!({})).await.refused(403, "COMMON_0013");
    let sent = admin.posts(&path, json!({})).await.accepted();
    assert_eq!(sent.text("/message"), "An invitation is on its way");
    admin.posts(&format!("/admin/users/{NOBODY}/password-reset"), json!({})).await.refused(404, "USER_1101");
    let letter = house.stack.mailbox().nth(&email, 2).await.expect("the second invitation");
    let (_, link) = letter.text.split_once("#token=").expect("a link");
    let token = link.lines().next().expect("a token");
    let ina = house.stack.anonymous();
    let chosen = json!({ "token": token, "new_password": "Blue-Kettle-42!" });
    ina.posts("/auth/password/reset", chosen).await.ok();
    ina.posts("/auth/login", json!({ "email": email, "password": "Blue-Kettle-42!" })).await.ok();
    assert!(admin.gets(&format!("/users/{}", made.id())).await.ok().json["is_verified"] == true);
}

#[tokio::test]
async fn p10_keys_are_rotated_and_everybodys_older_sessions_ended_with_the_rights_that_a_role_has() {
    let house = house().await;
    let admin = house.stack.admin().await;
    let rotated = admin.posts("/admin/keys/rotate", json!({})).await.ok();
    let keys = house.stack.anonymous().gets("/.well-known/jwks.json").await.ok();
    let kids: Vec<_> =
        keys.json["keys"].as_array().expect("keys").iter().map(|key| key["kid"].clone()).collect();
    assert!(kids.len() >= 2 && kids.contains(&rotated.json["kid"]), "{kids:?}");
    admin.looks_at_self().await.ok();
    admin.gets(&format!("/admin/erasures/{NOBODY}")).await.refused(404, "USER_1401");
    // nobody's session is that old: the house is shared
    let long_ago = json!({ "began_before": "2020-01-01T00:00:00Z" });
    let ended = admin.posts("/admin/sessions/revoke-all", long_ago).await.accepted();
    assert_eq!(ended.number("/remaining"), 0);
}
