//! Followers: every fact has its effect once, in the order of its key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lectern_core::{App, Error, Followed, Service, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::courses::{CoursePublished, SessionAdded};
use uuid::Uuid;

use crate::world::{World, announce, course, eventually, no_faults, published};

/// What followers write: `place` tells the order of the effects.
pub const EFFECTS: &str = "CREATE TABLE enrollment.effects (
    place bigint GENERATED ALWAYS AS IDENTITY, fact uuid NOT NULL, key uuid NOT NULL, version bigint NOT NULL,
    title text NOT NULL, causation uuid)";

/// Writes down a fact, without looking whether it was there before: the inbox has to.
pub async fn write_down(tx: &mut Tx, fact: &Envelope<CoursePublished>) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO enrollment.effects (fact, key, version, title, causation) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(fact.event_id)
    .bind(fact.subject_id)
    .bind(fact.entity_version)
    .bind(&fact.data.title)
    .bind(fact.causation_id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn record(_: App, mut tx: Tx, fact: Envelope<CoursePublished>) -> Followed {
    write_down(&mut tx, &fact).await?;
    Ok(tx.commit_followed().await?)
}

/// A worker that follows `CoursePublished`.
pub fn follower(service: &'static str) -> Service<App> {
    Service::new(service).follow(record)
}

async fn world() -> World {
    let world = World::new(&["courses", "enrollment"]).await;
    world.db.execute(EFFECTS).await.expect("a table for effects");
    world.consumer("EVENTS", "enrollment", "evt.courses.>", -1).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rel_b4_a_follower_sees_each_key_in_order_while_keys_overlap() {
    let _faults = no_faults().await;
    let world = world().await;
    let (app, other) = (world.app("courses").await, world.app("enrollment").await);
    let relaying = world.run(&app, Service::new("courses")).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, highest) = (now.clone(), most.clone());
    let service =
        Service::new("enrollment").follow(move |_: App, mut tx: Tx, fact: Envelope<CoursePublished>| {
            let (now, most) = (counting.clone(), highest.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // one slow key among quick ones: a lane is always free in which its later versions would overtake
                let slow = fact.data.course_id == course(0) && fact.entity_version % 5 == 1;
                tokio::time::sleep(Duration::from_millis(if slow { 200 } else { 1 })).await;
                write_down(&mut tx, &fact).await?;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(tx.commit_followed().await?)
            }
        });
    for version in 1..=20 {
        for key in 0..5 {
            announce(&app, course(key), "ordered", version).await;
        }
    }
    let following = world.run(&other, service).await;
    world.until("SELECT count(*) FROM enrollment.effects", 100).await;
    let disordered =
        "SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY key ORDER BY place) AS before
        FROM enrollment.effects) AS pairs WHERE version <> coalesce(before, 0) + 1";
    assert_eq!(world.value(disordered).await, 0);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=5).contains(&most), "at most five keys, and not one after the other: {most}");
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn two_processes_of_a_follower_share_the_work_and_double_nothing() {
    let _faults = no_faults().await;
    let world = world().await;
    let (app, one, two) =
        (world.app("courses").await, world.app("enrollment").await, world.app("enrollment").await);
    let relaying = world.run(&app, Service::new("courses")).await;
    let first = world.run(&one, follower("enrollment")).await;
    let second = world.run(&two, follower("enrollment")).await;
    for number in 0..150 {
        announce(&app, course(number), "shared", 1).await;
    }
    first.kill().await;
    for number in 150..300 {
        announce(&app, course(number), "shared", 1).await;
    }
    world.until("SELECT count(DISTINCT fact) FROM enrollment.effects", 300).await;
    eventually("all is acknowledged", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.effects").await, 300);
    relaying.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_fact_carries_what_led_to_it() {
    let _faults = no_faults().await;
    let world = world().await;
    world.consumer("EVENTS", "courses", "evt.courses.v1.session.added.*", -1).await;
    let (app, other) = (world.app("courses").await, world.app("enrollment").await);
    // courses follows one fact and announces another one because of it
    let service =
        Service::new("courses").follow(|_: App, mut tx: Tx, fact: Envelope<SessionAdded>| async move {
            tx.announce(&published(fact.data.course_id, "because of it"), 2).await?;
            Ok(tx.commit_followed().await?)
        });
    let relaying = world.run(&app, service).await;
    let following = world.run(&other, follower("enrollment")).await;
    let mut tx = app.begin_internal().await.expect("begun");
    let added = SessionAdded {
        course_id: course(1),
        session_id: Uuid::from_u128(2).into(),
        position: 1,
        duration_ms: 1000,
        asset_id: None,
        video_url: None,
        required: true,
        preview: false,
        completion_threshold: 0.9,
    };
    tx.announce(&added, 1).await.expect("announced");
    tx.commit_followed().await.expect("committed");
    world.until("SELECT count(*) FROM enrollment.effects", 1).await;
    let cause =
        "SELECT count(*) FROM enrollment.effects e JOIN courses.outbox_archive o ON o.id = e.causation
                 WHERE o.subject LIKE 'evt.courses.v1.session.added.%'";
    assert_eq!(world.value(cause).await, 1);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn a_fact_without_a_handler_is_acknowledged() {
    let _faults = no_faults().await;
    let world = world().await;
    let (app, other) = (world.app("courses").await, world.app("enrollment").await);
    let relaying = world.run(&app, Service::new("courses")).await;
    let following = world.run(&other, follower("enrollment")).await;
    let stray = format!("evt.courses.v1.course.created.{}", Uuid::from_u128(1));
    app.bus().publish(stray, "stray", Default::default(), "{}".into()).await.expect("stored");
    announce(&app, course(1), "followed", 1).await;
    world.until("SELECT count(*) FROM enrollment.effects", 1).await;
    eventually("both are acknowledged", || async { world.open_ends("EVENTS", "enrollment").await == 0 })
        .await;
    assert_eq!(world.messages("DEAD").await, 0);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn a_consumer_that_is_deleted_and_made_again_is_opened_again() {
    let _faults = no_faults().await;
    let mut world = world().await;
    let (app, other) = (world.app("courses").await, world.app("enrollment").await);
    let relaying = world.run(&app, Service::new("courses")).await;
    let following = world.run(&other, follower("enrollment")).await;
    announce(&app, course(1), "first", 1).await;
    world.until("SELECT count(*) FROM enrollment.effects", 1).await;
    world.jetstream().await.delete_consumer_from_stream("enrollment", "EVENTS").await.expect("deleted");
    announce(&app, course(2), "while it is gone", 1).await;
    world.consumer("EVENTS", "enrollment", "evt.courses.>", -1).await;
    world.until("SELECT count(*) FROM enrollment.effects", 2).await;
    world.nats.kill9();
    announce(&app, course(3), "while the broker is gone", 1).await;
    world.nats.restart().await.expect("back");
    world.until("SELECT count(*) FROM enrollment.effects", 3).await;
    assert_eq!(world.value("SELECT count(DISTINCT fact) FROM enrollment.effects").await, 3);
    relaying.stop().await;
    following.stop().await;
}
