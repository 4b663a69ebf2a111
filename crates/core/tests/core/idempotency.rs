//! `Idempotency-Key`: one effect, one answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use futures_util::future::join_all;
use lectern_core::bus::{Bus, Outgoing, refusal_status};
use lectern_core::{App, Call, Error, Service, faults};
use lectern_subjects::courses::{Course, CourseStatus, CoursesRefusal, PublishCourse};
use lectern_subjects::{Effect, Problem, Request, Role, subject};
use serde_json::json;

use crate::tokens::{Key, claims, identity};
use crate::world::{World, course, eventually, no_faults, outgoing, published, with_faults};

const SUBJECT: &str = PublishCourse::SUBJECT;
const EFFECTS: &str = "SELECT count(*) FROM courses.effects";

/// A handler with an effect that is not idempotent by itself; every run gives another answer.
fn service(runs: &Arc<AtomicUsize>) -> Service<App> {
    let runs = runs.clone();
    Service::new("courses").on(move |app: App, call: Call, asked: PublishCourse| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut tx = app.begin(&call).await?;
            let title = format!("run {run}");
            sqlx::query("INSERT INTO courses.effects VALUES ($1)").bind(&title).execute(&mut *tx).await?;
            tx.announce(&published(asked.id, &title), 1).await?;
            if run == 0 && asked.id == course(13) {
                return Err(CoursesRefusal::NotFound.into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = call.now;
            let reply = Course {
                id: asked.id,
                title,
                description: String::new(),
                status: CourseStatus::Published,
                language: "en".to_owned(),
                instructor: None,
                instructor_ids: Vec::new(),
                price: None,
                price_minor: None,
                currency: None,
                session_count: 0,
                duration_ms: 0,
                created_at: now,
                updated_at: now,
                published_at: Some(now),
                version: 1,
            };
            Ok(tx.commit(reply).await?)
        }
    })
}

fn with_key(token: &str, key: &str) -> Outgoing {
    Outgoing {
        token: Some(token.into()),
        idempotency_key: Some(key.to_owned()),
        ..outgoing(Duration::from_secs(30))
    }
}

async fn ask(bus: &Bus, sent: &Outgoing, id: u128) -> Message {
    let body = json!({ "id": course(id) }).to_string();
    bus.request(SUBJECT, Effect::Unkeyed, sent, body.into()).await.expect("an answer")
}

fn code(message: &Message) -> String {
    serde_json::from_slice::<Problem>(&message.payload).expect("a problem document").error_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rel_c1_one_key_is_one_effect_and_one_answer() {
    let _faults = no_faults().await;
    let world = World::new(&["courses", "identity"]).await;
    world.db.execute("CREATE TABLE courses.effects (run text)").await.expect("made");
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let app = world.app("courses").await;
    let runs = Arc::default();
    let running = world.run(&app, service(&runs)).await;
    let bus = world.bus("gateway").await;
    let token = key.sign(&claims(Role::Operator));

    let sent = with_key(&token, "the key");
    let mut bodies = Vec::new();
    for message in join_all((0..50).map(|_| ask(&bus, &sent, 1))).await {
        match refusal_status(&message) {
            None => bodies.push((message.payload, message.headers.and_then(|h| h.get("ETag").cloned()))),
            // the one that runs holds the key for longer than a lock may be waited for: come again
            Some(409) => assert_eq!(code(&message), "COMMON_0016"),
            Some(503) => {}
            Some(status) => panic!("{status}: {}", String::from_utf8_lossy(&message.payload)),
        }
    }
    assert!(!bodies.is_empty());
    assert!(bodies.iter().all(|body| *body == bodies[0]), "identical answers");
    assert_eq!(world.value(EFFECTS).await, 1);
    let again = ask(&bus, &sent, 1).await;
    assert_eq!(again.payload, bodies[0].0);
    world.until("SELECT count(*) FROM courses.outbox_archive", 1).await;

    let other = ask(&bus, &sent, 2).await;
    assert_eq!((refusal_status(&other), code(&other)), (Some(422), "COMMON_0007".to_owned()));
    assert_eq!(world.value(EFFECTS).await, 1);
    let somebody = key
        .sign(&lectern_core::jwt::Claims { sub: uuid::Uuid::from_u128(9).into(), ..claims(Role::Operator) });
    let fresh = ask(&bus, &with_key(&somebody, "the key"), 1).await;
    assert_eq!(refusal_status(&fresh), None);
    assert_ne!(fresh.payload, bodies[0].0, "a key is its owner's");
    assert_eq!(world.value(EFFECTS).await, 2);
    running.stop().await;
    identity.stop().await;
}

#[tokio::test]
async fn a_key_is_not_stuck_after_a_refusal_or_a_rollback() {
    let _faults = no_faults().await;
    let world = World::new(&["courses", "identity"]).await;
    world.db.execute("CREATE TABLE courses.effects (run text)").await.expect("made");
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let app = world.app("courses").await;
    let runs = Arc::default();
    let running = world.run(&app, service(&runs)).await;
    let bus = world.bus("gateway").await;
    let token = key.sign(&claims(Role::Operator));
    let sent = with_key(&token, "tried before");
    let refused = ask(&bus, &sent, 13).await;
    assert_eq!(refusal_status(&refused), Some(404));
    assert_eq!(world.value(EFFECTS).await, 0);
    assert_eq!(world.value("SELECT count(*) FROM courses.idempotency").await, 0);
    let answer = ask(&bus, &sent, 13).await;
    assert_eq!(refusal_status(&answer), None, "the same key is tried anew");
    assert_eq!(world.value(EFFECTS).await, 1);
    eventually("announced once", || async { world.messages("EVENTS").await == 1 }).await;
    // a key is honoured for 24 hours
    world
        .db
        .execute("UPDATE courses.idempotency SET created_at = now() - interval '25 hours'")
        .await
        .expect("aged");
    let anew = ask(&bus, &sent, 13).await;
    assert_ne!(anew.payload, answer.payload);
    assert_eq!(world.value(EFFECTS).await, 2);
    running.stop().await;
    identity.stop().await;
}

/// What the next ping tells the caches; none when none comes.
async fn told(pings: &mut async_nats::Subscriber) -> Option<String> {
    let ping = tokio::time::timeout(Duration::from_secs(2), pings.next()).await.ok()??;
    Some(String::from_utf8_lossy(&ping.payload).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_who_repeats_an_answer_tells_the_caches_before_whoever_did_it_has() {
    let _alone = with_faults().await;
    let world = World::new(&["courses", "identity"]).await;
    world.db.execute("CREATE TABLE courses.effects (run text)").await.expect("made");
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let app = world.app("courses").await;
    let running = world.run(&app, service(&Arc::default())).await;
    let bus = world.bus("gateway").await;
    let sent = with_key(&key.sign(&claims(Role::Operator)), "the key");
    let client = world.client().await;
    let mut pings = client.subscribe(subject::wake("courses")).await.expect("subscribed");
    client.flush().await.expect("flushed");
    // ten seconds between the commit and its ping
    faults::set("tx.after_commit", "pause@1");
    let first = tokio::spawn({
        let (bus, sent) = (bus.clone(), sent.clone());
        async move { ask(&bus, &sent, 1).await }
    });
    world.until("SELECT count(*) FROM courses.idempotency WHERE answer IS NOT NULL", 1).await;
    let answer = ask(&bus, &sent, 1).await;
    assert_eq!(refusal_status(&answer), None);
    let news = Some(format!("{} 1", course(1)));
    assert_eq!(told(&mut pings).await, news);
    assert!(!first.is_finished());
    assert_eq!(first.await.expect("no panic").payload, answer.payload);
    assert_eq!(told(&mut pings).await, news);
    // an older process did not note what it changed: anything may be stale
    world.db.execute("UPDATE courses.idempotency SET changed = NULL").await.expect("forgotten");
    assert_eq!(ask(&bus, &sent, 1).await.payload, answer.payload);
    assert_eq!(told(&mut pings).await.as_deref(), Some(""));
    running.stop().await;
    identity.stop().await;
}

#[tokio::test]
async fn p9_a_commit_that_may_have_happened_is_told_to_the_caches() {
    let _alone = with_faults().await;
    let world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let client = world.client().await;
    let mut pings = client.subscribe(subject::wake("courses")).await.expect("subscribed");
    client.flush().await.expect("flushed");
    faults::set("tx.commit_unheard", "error@1");
    let mut tx = app.begin_internal().await.expect("begun");
    tx.announce(&published(course(1), "committed, and nobody heard"), 1).await.expect("announced");
    assert!(matches!(tx.commit_followed().await, Err(Error::CommitUnknown(_))));
    assert_eq!(told(&mut pings).await, Some(format!("{} 1", course(1))));
    let mut tx = app.begin_internal().await.expect("begun");
    tx.audit("course.looked_at", None, json!({})).await.expect("noted");
    tx.commit_followed().await.expect("committed");
    assert_eq!(told(&mut pings).await.as_deref(), Some("-"), "nothing changed: nothing is forgotten");
}
