//! The relay: one per schema, in the order of each key, whatever is in its way.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt;
use lectern_core::bus::refusal_status;
use lectern_core::{App, Call, Service};
use lectern_subjects::courses::CoursePublished;
use lectern_subjects::identity::{CheckToken, TokenState};
use lectern_subjects::{Effect, Envelope, Request};

use crate::world::{World, announce, course, eventually, no_faults, outgoing, published};

const PENDING: &str = "SELECT count(*) FROM courses.outbox";
const ARCHIVED: &str = "SELECT count(*) FROM courses.outbox_archive";
/// Sessions that hold the relay's lock.
const LEADERS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Everything in EVENTS, in its order: (key, entity version, Nats-Msg-Id is the envelope's event id).
async fn events(world: &World, count: usize) -> Vec<(String, i64, bool)> {
    let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let stream = world.jetstream().await.get_stream("EVENTS").await.expect("EVENTS");
    let mut messages =
        stream.create_consumer(config).await.expect("a look").messages().await.expect("messages");
    let mut seen = Vec::new();
    while seen.len() < count {
        let message = messages.next().await.expect("a message").expect("readable");
        let fact: Envelope<CoursePublished> = serde_json::from_slice(&message.payload).expect("a fact");
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id");
        seen.push((
            fact.subject_id.to_string(),
            fact.entity_version,
            id.as_str() == fact.event_id.to_string(),
        ));
    }
    seen
}

#[tokio::test]
async fn rel_b4_facts_of_one_key_keep_their_order_under_concurrency() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    world
        .db
        .execute("CREATE TABLE courses.things (key uuid PRIMARY KEY, version bigint NOT NULL)")
        .await
        .expect("made");
    let app = world.app("courses").await;
    for key in 0..5 {
        let insert = sqlx::query("INSERT INTO courses.things VALUES ($1, 0)").bind(course(key));
        insert.execute(app.pool()).await.expect("a row");
    }
    let running = world.run(&app, Service::new("courses")).await;
    let writers = (0..100).map(|number| {
        let (app, key) = (app.clone(), course(number % 5));
        tokio::spawn(async move {
            // the entity's row lock orders its writers, as in every handler
            let mut tx = loop {
                match app.begin_internal().await {
                    Ok(tx) => break tx,
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            };
            let version: i64 = sqlx::query_scalar(
                "UPDATE courses.things SET version = version + 1 WHERE key = $1 RETURNING version",
            )
            .bind(key)
            .fetch_one(&mut *tx)
            .await?;
            tx.announce(&published(key, "ordered"), version).await?;
            tx.commit_followed().await
        })
    });
    let mut committed = 0;
    for writer in futures_util::future::join_all(writers).await {
        committed += i64::from(writer.expect("no panic").is_ok());
    }
    assert!(committed > 50, "only {committed} transactions found their lock in time");
    world.until(PENDING, 0).await;
    world.until(ARCHIVED, committed).await;
    let seen = events(&world, committed as usize).await;
    for key in 0..5 {
        let key = course(key).to_string();
        let versions: Vec<i64> =
            seen.iter().filter(|(of, _, _)| *of == key).map(|(_, version, _)| *version).collect();
        let expected: Vec<i64> = (1..=versions.len() as i64).collect();
        assert_eq!(versions, expected, "facts of {key}");
    }
    assert!(seen.iter().all(|(_, _, same)| *same), "the outbox row's id is Nats-Msg-Id and event id");
    running.stop().await;
}

#[tokio::test]
async fn a_late_commit_behind_a_gap_in_the_sequence_is_published_too() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let running = world.run(&app, Service::new("courses")).await;
    let mut slow = app.begin_internal().await.expect("begun");
    slow.announce(&published(course(1), "lower number, later commit"), 1).await.expect("announced");
    announce(&app, course(2), "higher number, first commit", 1).await;
    world.until(ARCHIVED, 1).await;
    slow.commit_followed().await.expect("committed");
    world.until(ARCHIVED, 2).await;
    let keys: Vec<String> = events(&world, 2).await.into_iter().map(|(key, _, _)| key).collect();
    assert_eq!(keys, [course(2).to_string(), course(1).to_string()]);
    running.stop().await;
}

#[tokio::test]
async fn what_was_not_committed_is_not_announced() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let running = world.run(&app, Service::new("courses")).await;
    let mut tx = app.begin_internal().await.expect("begun");
    tx.announce(&published(course(1), "never happened"), 1).await.expect("announced");
    drop(tx);
    announce(&app, course(2), "happened", 1).await;
    world.until(ARCHIVED, 1).await;
    assert_eq!(events(&world, 1).await[0].0, course(2).to_string());
    assert_eq!(world.messages("EVENTS").await, 1);
    running.stop().await;
}

#[tokio::test]
async fn two_processes_share_one_relay_and_the_other_takes_over() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let (one, two) = (world.app("courses").await, world.app("courses").await);
    let first = world.run(&one, Service::new("courses")).await;
    world.until(LEADERS, 1).await;
    let second = world.run(&two, Service::new("courses")).await;
    for number in 0..20 {
        // the one that stands by commits; the one that relays publishes
        announce(&two, course(number), "from the other process", 1).await;
    }
    world.until(ARCHIVED, 20).await;
    assert_eq!(world.value(LEADERS).await, 1);
    first.kill().await;
    for number in 20..40 {
        announce(&two, course(number), "after the first was killed", 1).await;
    }
    world.until(ARCHIVED, 40).await;
    world.until(LEADERS, 1).await;
    assert_eq!(world.messages("EVENTS").await, 40);
    second.stop().await;
    world.until(LEADERS, 0).await;
}

#[tokio::test]
async fn a_missing_stream_holds_up_nobody_else_and_is_served_when_it_comes() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let running = world.run(&app, Service::new("courses")).await;
    let due = app.now() + chrono::TimeDelta::hours(1);
    for number in 0..300 {
        // more than one window of rows that nobody takes
        let mut tx = app.begin_internal().await.expect("begun");
        tx.arm("period_end", course(number).into(), due).await.expect("armed");
        tx.commit_followed().await.expect("committed");
    }
    for number in 0..50 {
        announce(&app, course(number), "flows", 1).await;
    }
    world.until(ARCHIVED, 50).await;
    world.until(PENDING, 300).await;
    world.timers("courses").await;
    world.until(PENDING, 0).await;
    assert_eq!(world.messages("TIMERS_COURSES").await, 300);
    running.stop().await;
}

#[tokio::test]
async fn a_refused_row_holds_up_its_key_only() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let insert = |subject: &'static str, key: &'static str, size: i32| {
        sqlx::query(
            "INSERT INTO courses.outbox (id, stream, subject, key, payload, created_at)
             VALUES (gen_random_uuid(), 'EVENTS', $1, $2, convert_to(repeat('x', $3), 'UTF8'), now())",
        )
        .bind(subject)
        .bind(key)
        .bind(size)
    };
    // a subject that no stream has, one that another stream has, a body that is too large
    insert("nobody.takes.this", "a", 1).execute(app.pool()).await.expect("a row");
    insert("dead.wrong.stream", "b", 1).execute(app.pool()).await.expect("a row");
    insert("evt.too.large", "c", 2_000_000).execute(app.pool()).await.expect("a row");
    insert("evt.behind.it", "c", 1).execute(app.pool()).await.expect("a row");
    let running = world.run(&app, Service::new("courses")).await;
    for number in 0..50 {
        announce(&app, course(number), "flows", 1).await;
    }
    world.until("SELECT count(*) FROM courses.outbox_archive WHERE key NOT IN ('a', 'b', 'c')", 50).await;
    let left = "SELECT string_agg(key, '' ORDER BY seq) FROM courses.outbox";
    assert_eq!(world.db.value(left).await.expect("read").as_deref(), Some("abcc"));
    assert_eq!(world.messages("DEAD").await, 0, "Nats-Expected-Stream refuses the wrong stream");
    // once the reason is gone the row goes, and the one behind it
    world
        .db
        .execute("UPDATE courses.outbox SET payload = 'small' WHERE subject = 'evt.too.large'")
        .await
        .expect("set");
    world.until("SELECT count(*) FROM courses.outbox WHERE key = 'c'", 0).await;
    running.stop().await;
}

#[tokio::test]
async fn the_relay_survives_its_broker_and_its_database_session() {
    let _faults = no_faults().await;
    let mut world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let running = world.run(&app, Service::new("courses")).await;
    announce(&app, course(1), "before", 1).await;
    world.until(ARCHIVED, 1).await;
    world.nats.kill9();
    eventually("disconnected", || async { !app.bus().is_connected() }).await;
    announce(&app, course(2), "while the broker is away", 1).await;
    world.until(PENDING, 1).await;
    world.nats.restart().await.expect("the broker is back");
    world.until(PENDING, 0).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    world.db.execute(end).await.expect("the relay's session ended");
    announce(&app, course(3), "after its session was ended", 1).await;
    world.until(ARCHIVED, 3).await;
    assert_eq!(world.messages("EVENTS").await, 3);
    running.stop().await;
}

#[tokio::test]
async fn what_is_too_old_is_deleted_and_nothing_else() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let rows = "
        INSERT INTO courses.outbox_archive (seq, id, stream, subject, key, headers, payload, created_at, published_at)
        SELECT n, gen_random_uuid(), 'EVENTS', 'evt.x', 'k', '{}', '', now(), now() - n * interval '1 day'
        FROM generate_series(1, 3000) n;
        INSERT INTO courses.inbox SELECT 'x', gen_random_uuid(), now() - n * interval '1 day' FROM generate_series(1, 40) n;
        INSERT INTO courses.idempotency (actor, request, key, fingerprint, created_at)
        SELECT gen_random_uuid(), 'r', 'k', sha256(''), now() - n * interval '1 hour' FROM generate_series(1, 30) n";
    world.db.execute(rows).await.expect("old rows");
    let app = world.app("courses").await;
    let running = world.run(&app, Service::new("courses")).await;
    world.until("SELECT count(*) FROM courses.outbox_archive", 34).await;
    world.until("SELECT count(*) FROM courses.inbox", 34).await;
    world.until("SELECT count(*) FROM courses.idempotency", 23).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_committed_while_the_role_stops_is_published_before_it_ends() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let app = world.app("identity").await;
    let began = std::sync::Arc::new(tokio::sync::Notify::new());
    let begun = began.clone();
    let service = Service::new("identity").on(move |app: App, call: Call, _: CheckToken| {
        let begun = begun.clone();
        async move {
            begun.notify_one();
            tokio::time::sleep(Duration::from_millis(2500)).await;
            let mut tx = app.begin(&call).await?;
            tx.announce(&published(course(1), "the last words"), 1).await?;
            Ok(tx.commit(TokenState { active: true, reason: None }).await?)
        }
    });
    let running = world.run(&app, service).await;
    let caller = world.bus("gateway").await;
    let asked = tokio::spawn(async move {
        let body = serde_json::json!({ "sid": course(1), "user": course(2), "uv": 1 }).to_string();
        let sent = outgoing(Duration::from_secs(30));
        caller.request(CheckToken::SUBJECT, Effect::Unkeyed, &sent, body.into()).await
    });
    began.notified().await;
    running.stop().await;
    let answer = asked.await.expect("no panic").expect("answered");
    assert_eq!(refusal_status(&answer), None);
    assert_eq!(world.value("SELECT count(*) FROM identity.outbox").await, 0);
    assert_eq!(world.messages("EVENTS").await, 1);
}
