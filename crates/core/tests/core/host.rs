//! The host: sheds at once, drops what is too late, survives its handlers, leaves without losing anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use futures_util::StreamExt;
use futures_util::future::join_all;
use lectern_core::bus::{DEADLINE, refusal_status};
use lectern_core::error::CallError;
use lectern_core::{App, Call, Service, metrics};
use lectern_subjects::identity::{CheckToken, TokenState};
use lectern_subjects::{Effect, Problem, Request};
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::world::{World, course, eventually, no_faults, outgoing, published, with_faults};

/// A public request of the contract that reads.
const SUBJECT: &str = CheckToken::SUBJECT;

fn body() -> bytes::Bytes {
    json!({ "sid": Uuid::from_u128(1), "user": Uuid::from_u128(2), "uv": 1 }).to_string().into()
}

fn problem(message: &Message) -> Problem {
    serde_json::from_slice(&message.payload).expect("a problem document")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_a_full_worker_sheds_at_once_with_503() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let app = world.app("identity").await;
    let gate = Arc::new(Notify::new());
    let open = Arc::new(AtomicBool::new(false));
    let (held, opened) = (gate.clone(), open.clone());
    let service = Service::new("identity").on(move |_: App, _: Call, _: CheckToken| {
        let (held, opened) = (held.clone(), opened.clone());
        async move {
            if !opened.load(Ordering::SeqCst) {
                held.notified().await;
            }
            Ok(TokenState { active: true, reason: None })
        }
    });
    let running = world.run(&app, service).await;
    let caller = world.bus("gateway").await;
    let answers = Arc::new(AtomicUsize::new(0));
    let requests: Vec<_> = (0..500)
        .map(|_| {
            let (caller, answers) = (caller.clone(), answers.clone());
            tokio::spawn(async move {
                let sent = outgoing(Duration::from_secs(50));
                let answer = caller.request(SUBJECT, Effect::Unkeyed, &sent, body()).await;
                answers.fetch_add(1, Ordering::SeqCst);
                answer
            })
        })
        .collect();
    // 64 are held by the handlers, 256 wait; no handler has ended: whatever is answered now was shed
    eventually("the rest is answered", || async { answers.load(Ordering::SeqCst) >= 500 - 64 - 256 - 1 })
        .await;
    open.store(true, Ordering::SeqCst);
    while requests.iter().any(|request| !request.is_finished()) {
        gate.notify_waiters();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (mut served, mut shed) = (0, 0);
    for request in requests {
        let message = request.await.expect("no panic").expect("an answer");
        match refusal_status(&message) {
            None => served += 1,
            Some(status) => {
                assert_eq!(status, 503);
                let problem = problem(&message);
                assert_eq!(problem.error_code, "COMMON_0010");
                assert_eq!(problem.details, json!({ "reason": "overloaded" }));
                let headers = message.headers.as_ref().expect("headers");
                assert!(headers.get("Retry-After").is_some() && headers.get("Lectern-Shed").is_some());
                shed += 1;
            }
        }
    }
    assert!(shed >= 500 - 64 - 256 - 1, "{shed} shed");
    assert!(served >= 256, "{served} served");
    running.stop().await;
}

#[tokio::test]
async fn rel_l9_a_request_after_its_deadline_is_dropped() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let app = world.app("identity").await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let service = Service::new("identity").on(move |_: App, _: Call, _: CheckToken| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(TokenState { active: true, reason: None }) }
    });
    let running = world.run(&app, service).await;
    let client = world.client().await;
    let mut inbox = client.subscribe(client.new_inbox()).await.expect("an inbox");
    let reply = inbox_subject(&client, &mut inbox).await;
    for (deadline_s, expected) in [(-1, 0), (30, 1)] {
        let mut headers = HeaderMap::new();
        let deadline = app.now() + chrono::TimeDelta::seconds(deadline_s);
        headers.insert(DEADLINE, deadline.timestamp_millis().to_string().as_str());
        let sent = client.publish_with_reply_and_headers(SUBJECT, reply.clone(), headers, body()).await;
        sent.expect("sent");
        if expected == 1 {
            let answer = inbox.next().await.expect("an answer");
            assert_eq!(refusal_status(&answer), None, "the only answer is to the one in time");
        }
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    running.stop().await;
}

/// A fresh inbox and its name.
async fn inbox_subject(client: &async_nats::Client, inbox: &mut async_nats::Subscriber) -> String {
    let name = client.new_inbox();
    *inbox = client.subscribe(name.clone()).await.expect("an inbox");
    name
}

#[tokio::test]
async fn rel_b8_a_panicking_handler_answers_500_without_detail_and_the_service_lives() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let app = world.app("identity").await;
    let service = Service::new("identity").on(|_: App, _: Call, asked: CheckToken| async move {
        assert_ne!(asked.user.0, Uuid::nil(), "a secret detail");
        Ok(TokenState { active: true, reason: None })
    });
    let running = world.run(&app, service).await;
    let caller = world.bus("gateway").await;
    let sent = outgoing(Duration::from_secs(20));
    let nil = json!({ "sid": Uuid::nil(), "user": Uuid::nil(), "uv": 1 }).to_string();
    let answer = caller.request(SUBJECT, Effect::Unkeyed, &sent, nil.into()).await.expect("an answer");
    assert_eq!(refusal_status(&answer), Some(500));
    assert_eq!(problem(&answer).error_code, "COMMON_0014");
    assert!(!String::from_utf8_lossy(&answer.payload).contains("secret"));
    let answer = caller.request(SUBJECT, Effect::Unkeyed, &sent, body()).await.expect("an answer");
    assert_eq!(refusal_status(&answer), None);
    let answer = caller.request(SUBJECT, Effect::Unkeyed, &sent, "{".into()).await.expect("an answer");
    assert_eq!(problem(&answer).error_code, "COMMON_0002");
    running.stop().await;
}

#[tokio::test]
async fn rel_b3_nothing_is_committed_after_the_deadline() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let app = world.app("identity").await;
    let service = Service::new("identity").on(|app: App, call: Call, asked: CheckToken| async move {
        let mut tx = app.begin(&call).await?;
        tx.announce(&published(course(1), "of a request"), 1).await?;
        if asked.user.0.is_nil() {
            tokio::time::sleep(call.time_left(app.now()) + Duration::from_millis(300)).await;
        }
        Ok(tx.commit(TokenState { active: true, reason: None }).await?)
    });
    let running = world.run(&app, service).await;
    let caller = world.bus("gateway").await;
    let nil = json!({ "sid": Uuid::nil(), "user": Uuid::nil(), "uv": 1 }).to_string();
    let late = caller.request(SUBJECT, Effect::Unkeyed, &outgoing(Duration::from_secs(2)), nil.into()).await;
    match late {
        Err(CallError::Timeout) => {}
        Ok(answer) => assert_eq!(refusal_status(&answer), Some(504)),
        other => panic!("{other:?}"),
    }
    let answer = caller.request(SUBJECT, Effect::Unkeyed, &outgoing(Duration::from_secs(20)), body()).await;
    assert_eq!(refusal_status(&answer.expect("an answer")), None);
    // the late handler has ended by now or is refused at its commit
    tokio::time::sleep(Duration::from_secs(1)).await;
    let announced =
        "SELECT (SELECT count(*) FROM identity.outbox) + (SELECT count(*) FROM identity.outbox_archive)";
    assert_eq!(world.value(announced).await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_under_load_lose_no_request() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let service = || {
        Service::new("identity").on(|_: App, _: Call, _: CheckToken| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(TokenState { active: true, reason: None })
        })
    };
    let first = world.app("identity").await;
    let mut running = world.run(&first, service()).await;
    let caller = world.bus("gateway").await;
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..24)
        .map(|_| {
            let (caller, done) = (caller.clone(), done.clone());
            tokio::spawn(async move {
                let mut answered = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    // not repeatable: a lost request shows as a timeout
                    let sent = outgoing(Duration::from_secs(20));
                    let answer = caller.request(SUBJECT, Effect::Unkeyed, &sent, body()).await;
                    assert_eq!(refusal_status(&answer.expect("an answer")), None);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for _ in 0..6 {
        let next = world.app("identity").await;
        let replacement = world.run(&next, service()).await;
        std::mem::replace(&mut running, replacement).stop().await;
    }
    done.store(true, Ordering::Relaxed);
    let answered: u32 = join_all(callers).await.into_iter().map(|caller| caller.expect("nothing lost")).sum();
    assert!(answered > 500, "{answered} requests");
    running.stop().await;
}

#[tokio::test]
async fn a_role_that_loses_its_database_leaves_and_comes_back() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let address =
        world.db.url().split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host:port");
    let proxy =
        lectern_harness::servers::Proxy::to(address.parse().expect("an address")).await.expect("a proxy");
    let database = lectern_core::pg::Database {
        url: proxy.in_url(world.db.url()),
        schema: "identity",
        password: None,
        connections: 5,
    };
    let bus = world.bus("identity").await;
    let app = App::new("identity", database.pool().expect("a pool"), bus, lectern_core::Clock::default());
    let service = Service::new("identity")
        .on(|_: App, _: Call, _: CheckToken| async move { Ok(TokenState { active: true, reason: None }) });
    let running = world.run(&app, service).await;
    let caller = world.bus("gateway").await;
    let ask = || async {
        let sent = outgoing(Duration::from_secs(5));
        caller.request(SUBJECT, Effect::Unkeyed, &sent, body()).await
    };
    ask().await.expect("an answer");
    proxy.shut();
    eventually("nobody answers", || async { matches!(ask().await, Err(CallError::Unavailable(_))) }).await;
    proxy.open();
    eventually("it answers again", || async { ask().await.is_ok() }).await;
    running.stop().await;
}

/// Handlers that panicked.
fn panics() -> f64 {
    let text = metrics::render();
    let line = text.lines().find_map(|line| line.strip_prefix(r#"panics_total{service="identity"}"#));
    line.map_or(0.0, |count| count.trim().parse().expect("a number"))
}

#[tokio::test]
async fn rel_b8_a_handler_that_panics_after_its_deadline_is_heard_of() {
    // the counter is everybody's
    let _alone = with_faults().await;
    metrics::init("test", 1);
    let world = World::new(&["identity"]).await;
    let app = world.app("identity").await;
    let service = Service::new("identity").on(|_: App, _: Call, asked: CheckToken| async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(asked.user.0, Uuid::nil(), "too late, and broken");
        Ok(TokenState { active: true, reason: None })
    });
    let running = world.run(&app, service).await;
    let before = panics();
    let caller = world.bus("gateway").await;
    let sent = outgoing(Duration::from_millis(500));
    let answer = caller.request(SUBJECT, Effect::Unkeyed, &sent, body()).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| refusal_status(&answer) == Some(504)));
    eventually("it is counted", || async { panics() >= before + 1.0 }).await;
    running.stop().await;
}
