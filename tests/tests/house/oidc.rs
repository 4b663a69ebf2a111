//! Sign-in at an OpenID provider as a browser does it: by redirects and cookies.

use std::collections::BTreeMap;
use std::time::Duration;

use lectern_harness::{Stack, StackOptions};
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::shared::{House, until};
use lectern_workbench::idp::{CLIENT, Idp, person};

/// A browser: it keeps cookies as it is told to, and goes where it is sent.
struct Browser {
    client: Client,
    /// Where `http://lectern.test` is.
    gateway: String,
    cookies: BTreeMap<String, String>,
}

/// A page as it came.
struct Page {
    status: u16,
    headers: BTreeMap<String, String>,
    json: Value,
}

impl Browser {
    fn at(stack: &Stack) -> Browser {
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(60));
        let client = client.build().expect("an HTTP client");
        Browser { client, gateway: stack.http_url(), cookies: BTreeMap::new() }
    }

    /// Navigates; the accept header is Firefox's.
    async fn goes(&mut self, url: &str) -> Page {
        let url = url.replace("http://lectern.test", &self.gateway);
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ask = self
            .client
            .get(&url)
            .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
            .header("cookie", cookies.join("; "));
        let answer = ask.send().await.expect("an answer");
        let headers: BTreeMap<String, String> = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        if let Some((name, rest)) = headers.get("set-cookie").and_then(|cookie| cookie.split_once('=')) {
            let value = rest.split(';').next().unwrap_or_default();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a body");
        Page { status, headers, json: serde_json::from_slice(&body).unwrap_or_default() }
    }

    /// Begins here and signs in there; the URL that the provider sends it back to.
    async fn fetches_answer(&mut self) -> String {
        let begun = self.goes(&format!("{}/api/v1/auth/oidc/mock/start", self.gateway)).await;
        assert_eq!(begun.status, 302, "{}", begun.json);
        let there = self.goes(&begun.headers["location"]).await;
        assert_eq!(there.status, 302);
        there.headers["location"].clone()
    }
}

impl Page {
    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json["error_code"].as_str()), (status, Some(code)), "{}", self.json);
    }
}

async fn stack_with(idp: &Idp) -> Stack {
    let options = idp
        .settings()
        .into_iter()
        .fold(StackOptions::default(), |options, (name, value)| options.env(name, value));
    Stack::start(options.env("LOG_LEVEL", "debug")).await
}

#[tokio::test]
async fn i079_a_browser_signs_up_by_redirects_comes_back_and_is_forgotten() {
    let idp = Idp::start().await;
    let mut stack = stack_with(&idp).await;
    let mut browser = Browser::at(&stack);
    let begun = browser.goes(&format!("{}/api/v1/auth/oidc/mock/start", stack.http_url())).await;
    assert_eq!((begun.status, begun.headers["cache-control"].as_str()), (302, "no-store"));
    assert!(begun.headers["location"].starts_with(&format!("{}/authorize?", idp.issuer())));
    let cookie = &begun.headers["set-cookie"];
    assert!(cookie.ends_with("; Path=/; Max-Age=300; HttpOnly; SameSite=Lax"), "{cookie}");
    let back = browser.goes(&begun.headers["location"]).await.headers["location"].clone();
    assert!(back.contains("session_state=") && back.contains("iss="), "{back}");
    let mut secrets: Vec<String> = browser.cookies.values().cloned().collect();
    let answer = url::Url::parse(&back).expect("a URL");
    secrets.extend(
        answer.query_pairs().filter(|(name, _)| name == "state" || name == "code").map(|(_, it)| it.into()),
    );
    let signed_in = browser.goes(&back).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.json);
    assert_eq!(signed_in.headers["cache-control"], "no-store");
    assert_eq!(signed_in.headers["referrer-policy"], "no-referrer");
    assert!(signed_in.headers["set-cookie"].starts_with("lectern_device="));
    browser.goes(&back).await.refused(400, "COMMON_0001");

    let alice = stack.anonymous();
    alice.carries(signed_in.json["access_token"].as_str().expect("a token"));
    let me = alice.gets("/users/me").await.ok();
    assert_eq!((me.text("/email"), me.at("/is_verified")), ("alice@example.org".to_owned(), &json!(true)));
    let identities = alice.gets("/users/me/identities").await.ok();
    assert_eq!((identities.items().len(), identities.text("/items/0/provider")), (1, "mock".to_owned()));
    let id = identities.text("/items/0/id");
    alice.deletes(&format!("/users/me/identities/{id}")).await.refused(409, "USER_1108");

    // another account of hers there, linked with the cookie that the page was given
    idp.now(|manners| manners.person = person("sub-second", "second@example.org"));
    let ask = alice.asks(Method::POST, "/users/me/identities").json(json!({ "provider": "mock" }));
    let begun = ask.send().await.ok();
    assert!(begun.header("set-cookie").starts_with("lectern_oidc="));
    browser.cookies.insert("lectern_oidc".to_owned(), begun.text("/binding"));
    let back = browser.goes(&begun.text("/url")).await.headers["location"].clone();
    let linked = browser.goes(&back).await;
    assert_eq!((linked.status, &linked.json["provider"]), (200, &json!("mock")), "{}", linked.json);
    alice.deletes(&format!("/users/me/identities/{id}")).await.ok();

    // she is forgotten, and so is where she signed in: whoever comes from there is somebody new
    let second = browser.fetches_answer().await;
    let again = browser.goes(&second).await;
    alice.carries(again.json["access_token"].as_str().expect("a token"));
    assert_eq!(alice.gets("/users/me").await.ok().id(), me.id());
    alice.deletes("/users/me").await.is(202);
    until(Duration::from_secs(30), async || alice.gets("/users/me").await, |answer| answer.status == 401)
        .await;
    let left = "SELECT count(*)::text FROM identity.credentials";
    assert_eq!(stack.database().value(left).await.expect("asked").as_deref(), Some("0"));
    let third = browser.fetches_answer().await;
    let new = browser.goes(&third).await;
    alice.carries(new.json["access_token"].as_str().expect("a token"));
    assert_ne!(alice.gets("/users/me").await.ok().id(), me.id());

    secrets.extend(["sub-alice", "second@example.org", CLIENT.1].map(str::to_owned));
    let log = stack.processes()[0].log();
    assert!(log.contains("oidc_callback"), "it was not on the way: {log}");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "the log tells {secret}");
    }
}

#[tokio::test]
async fn i079_login_csrf_a_link_with_somebody_elses_answer_signs_nobody_in() {
    let idp = Idp::start().await;
    let stack = stack_with(&idp).await;
    let (mut attacker, mut victim) = (Browser::at(&stack), Browser::at(&stack));
    let planted = attacker.fetches_answer().await;
    let binding = attacker.cookies["lectern_oidc"].clone();
    // the query says nothing that is for the cookie to say
    let with_binding = format!("{planted}&binding={binding}&device_token=x");
    let refused = victim.goes(&with_binding).await;
    refused.refused(400, "COMMON_0001");
    assert_eq!(refused.json["details"][0]["pointer"], "/binding");
    // who began may go on: a visit without the cookie has not used it up
    assert_eq!(attacker.goes(&planted).await.status, 200);
    let planted = attacker.fetches_answer().await;
    victim.fetches_answer().await;
    victim.goes(&planted).await.refused(400, "COMMON_0001");
    assert!(!victim.cookies.contains_key("lectern_device"));
    // refusals there are told in our own words
    idp.now(|manners| manners.denies = true);
    let refusal = victim.fetches_answer().await;
    let refused = victim.goes(&refusal).await;
    refused.refused(401, "USER_1012");
    assert_eq!(refused.json["details"], json!({ "provider": "mock", "reason": "access_denied" }));
    victim.goes(&planted.replace("&code=", "&state=x&code=")).await.refused(400, "COMMON_0002");
}

#[tokio::test]
async fn i079_the_roads_to_a_provider_refuse_alike() {
    let idp = Idp::start().await;
    let house = House::over(stack_with(&idp).await).await;
    let doors = house.doors().await;
    let alice = house.stack.learner("Alice").await;
    let listed = doors.both(None, "svc.identity.v1.auth.oidc_providers", &json!({})).await;
    assert_eq!(listed.json["items"], json!([{ "provider": "mock", "name": "Mock" }]));
    let nobody = crate::shared::NOBODY;
    for (who, subject, input, code) in [
        (None, "auth.oidc_start", json!({ "provider": "nowhere" }), "COMMON_0006"),
        (None, "auth.oidc_start", json!({ "provider": "x".repeat(65) }), "COMMON_0001"),
        (None, "identities.link", json!({ "provider": "mock" }), "USER_1006"),
        (None, "identities.list", json!({}), "USER_1006"),
        (Some(&alice), "identities.link", json!({ "provider": "nowhere" }), "COMMON_0006"),
        (Some(&alice), "identities.list", json!({ "limit": 0 }), "COMMON_0001"),
        (Some(&alice), "identities.unlink", json!({ "id": nobody }), "USER_1109"),
    ] {
        let answer = doors.both(who, &format!("svc.identity.v1.{subject}"), &input).await;
        assert_eq!(answer.json["error_code"], code, "{subject} {input}");
    }
    let empty = doors.both(Some(&alice), "svc.identity.v1.identities.list", &json!({})).await;
    assert!(empty.items().is_empty());
    // on the bus the answer is what a browser is sent with
    let bus = house.stack.bus().await;
    let started = bus.asks("svc.identity.v1.auth.oidc_start", json!({ "provider": "mock" })).await.ok();
    let back = Idp::visit(&started.text("/url")).await;
    let back = url::Url::parse(&back).expect("a URL");
    let get = |name: &str| back.query_pairs().find(|(key, _)| key == name).expect(name).1.into_owned();
    let answer = json!({
        "provider": "mock", "binding": started.text("/binding"), "state": get("state"), "code": get("code"), "iss": get("iss"),
    });
    let signed_in = bus.asks("svc.identity.v1.auth.oidc_callback", answer.clone()).await.ok();
    assert_eq!(signed_in.text("/token_type"), "bearer");
    bus.asks("svc.identity.v1.auth.oidc_callback", answer).await.refused(400, "COMMON_0001");
}
