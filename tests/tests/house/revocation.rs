//! Revocation is pushed to every gateway; one that is cut off from the bus opens nothing (architecture §8).

use std::time::{Duration, Instant};

use lectern_harness::servers::Proxy;
use lectern_harness::{Actor, Answer, Stack, StackOptions};
use reqwest::Method;

use crate::shared::until;
use crate::way::clip;

/// As long as a watcher may be stale, and a moment.
const STALE: Duration = Duration::from_millis(5100);

/// A learner who watches an uploaded video, and the path of its signed URL.
async fn viewer(stack: &Stack, operator: &Actor) -> (Actor, String) {
    let course = operator.creates_course("Revocation").await.created().id();
    let asset = operator.uploads("lesson.mp4", clip(5000)).await.ok().text("/asset_id");
    let session = serde_json::json!({ "title": "One", "duration_ms": 12_000, "asset_id": asset });
    let session = operator.adds_session_with(&course, session).await.created().id();
    operator.publishes(&course).await.ok();
    let alice = stack.learner("Alice").await;
    alice.enrols(&course).await.created();
    let url = alice.watches(&course, &session).await.media_url;
    let path = url.find("/media/").map(|at| url[at..].to_owned()).expect("a media URL");
    (alice, path)
}

#[tokio::test]
async fn after_logout_every_gateway_refuses_the_token_and_the_media_url() {
    let stack = Stack::start(StackOptions::default()).await;
    let second = stack.start_roles("gateway", &[]).await;
    let (alice, media) = viewer(&stack, &stack.operator().await).await;
    let elsewhere = alice.at(&second.http_url());
    for alice in [&alice, &elsewhere] {
        alice.looks_at_self().await.ok();
        alice.streams(&media, None).await.ok();
    }
    let other_device = Actor::with_account(&stack.http_url(), "Alice", &alice.email, &alice.password);
    other_device.logs_in().await.ok();

    elsewhere.logs_out().await.ok();
    let void = |it: &Answer| it.status == 401;
    let begun = Instant::now();
    for alice in [&alice, &elsewhere] {
        let refused = until(Duration::from_secs(5), async || alice.looks_at_self().await, void).await;
        refused.refused(401, "USER_1011");
    }
    println!("both gateways refuse the token {:?} after the sign-out", begun.elapsed());
    for alice in [&alice, &elsewhere] {
        alice.browses_courses().await.refused(401, "USER_1011");
        alice.streams(&media, None).await.refused(403, "CONTENT_2220");
        alice.refreshes().await.refused(401, "USER_1011");
    }
    other_device.looks_at_self().await.ok();
}

#[tokio::test]
async fn identity_i7_a_gateway_cut_off_from_the_bus_opens_nothing_after_five_seconds() {
    let stack = Stack::start(StackOptions::default()).await;
    let address = stack.nats_url().trim_start_matches("nats://").parse().expect("an address");
    let door = Proxy::to(address).await.expect("a door");
    let mut lonely = stack.start_roles("gateway", &[("NATS_URL", &door.in_url(&stack.nats_url()))]).await;
    let (alice, media) = viewer(&stack, &stack.operator().await).await;
    let elsewhere = alice.at(&lonely.http_url());
    elsewhere.looks_at_self().await.ok();
    elsewhere.streams(&media, Some("bytes=0-9")).await.is(206);

    door.stall();
    alice.logs_out().await.ok();
    tokio::time::sleep(STALE).await;
    for _ in 0..3 {
        let ask = elsewhere.asks(Method::GET, "/users/me").send().await;
        assert!(matches!(ask.status, 401 | 503 | 504), "accepted while cut off: {ask}");
        let bytes = elsewhere.streams(&media, None).await;
        assert!(matches!(bytes.status, 403 | 503), "opened while cut off: {bytes}");
    }
    assert_eq!(lonely.readiness().await, Some(503), "it takes itself for ready");

    door.open();
    lonely.wait_ready().await.expect("ready again by itself");
    elsewhere.looks_at_self().await.refused(401, "USER_1011");
    elsewhere.streams(&media, None).await.refused(403, "CONTENT_2220");
    elsewhere.logs_in().await.ok();
    elsewhere.looks_at_self().await.ok();
}

/// From the 200 of the sign-out to the first 401 of each gateway.
async fn refused_everywhere_after(elsewhere: &[Actor]) -> Vec<Duration> {
    let answered = Instant::now();
    let asking = elsewhere.iter().map(async |actor| {
        loop {
            let answer = actor.looks_at_self().await;
            if answer.status == 401 {
                let answer = answer.refused(401, "USER_1011");
                assert_eq!(answer.at("/details/reason"), "revoked", "{answer}");
                return answered.elapsed();
            }
            assert!(answered.elapsed() < Duration::from_secs(5), "still accepted: {answer}");
        }
    });
    futures_util::future::join_all(asking).await
}

#[tokio::test]
async fn identity_i7_three_gateways_refuse_a_token_within_moments_of_its_revocation() {
    let stack = Stack::start(StackOptions::default()).await;
    let mut more = [stack.start_roles("gateway", &[]).await, stack.start_roles("gateway", &[]).await];
    let alice = stack.learner("Alice").await;
    let anyone = stack.anonymous();
    let mut times = Vec::new();
    for round in 0..40 {
        alice.logs_in().await.ok();
        let urls = [stack.http_url(), more[0].http_url(), more[1].http_url()];
        let everywhere: Vec<Actor> = urls.iter().map(|url| alice.at(url)).collect();
        for actor in &everywhere {
            actor.looks_at_self().await.ok();
        }
        if round % 2 == 0 {
            everywhere[round % 3].logs_out().await.ok();
        } else {
            let token = alice.refresh_token().expect("signed in");
            anyone.posts("/oauth/revoke", serde_json::json!({ "token": token })).await.ok();
        }
        times.extend(refused_everywhere_after(&everywhere).await);
    }
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("revoke to 401 at three gateways: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
    for gateway in &mut more {
        let lag =
            gateway.metric("gateway_revocation_lag_seconds_count", "role=\"gateway\"").await.expect("read");
        assert!(lag >= 40.0, "{lag} revocations were timed");
        let age = gateway.metric("gateway_revocation_watcher_age_seconds", "role=\"gateway\"").await;
        assert!(age.as_ref().is_ok_and(|age| *age < 5.0), "{age:?}");
    }
}
