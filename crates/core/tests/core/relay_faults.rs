//! The commit, the relay and the follower, stopped at the worst moments (`spec/reliability.md` B4, B5, B6).

use std::time::Duration;

use lectern_core::{App, Service, faults};

use crate::follow::{EFFECTS, follower};
use crate::world::{World, announce, course, eventually, published, with_faults};

const PENDING: &str = "SELECT count(*) FROM courses.outbox";
const ARCHIVED: &str = "SELECT count(*) FROM courses.outbox_archive";

async fn world() -> (World, App) {
    let world = World::new(&["courses", "enrollment"]).await;
    world.db.execute(EFFECTS).await.expect("a table for effects");
    world.consumer("EVENTS", "enrollment", "evt.courses.>", -1).await;
    let app = world.app("courses").await;
    (world, app)
}

#[tokio::test]
async fn rel_b4_killed_between_commit_and_publish_the_fact_still_comes_once_in_effect() {
    let _alone = with_faults().await;
    let (world, app) = world().await;
    faults::set("tx.after_commit", "error@1");
    let mut tx = app.begin_internal().await.expect("begun");
    tx.announce(&published(course(1), "committed, never published"), 1).await.expect("announced");
    tx.commit_followed().await.expect_err("the process is gone after COMMIT");
    faults::set("tx.before_commit", "error@1");
    let mut tx = app.begin_internal().await.expect("begun");
    tx.announce(&published(course(2), "never committed"), 1).await.expect("announced");
    tx.commit_followed().await.expect_err("the process is gone before COMMIT");
    assert_eq!(world.value(PENDING).await, 1);
    drop(app);

    let (app, other) = (world.app("courses").await, world.app("enrollment").await);
    let relaying = world.run(&app, Service::new("courses")).await;
    let following = world.run(&other, follower("enrollment")).await;
    world.until("SELECT count(*) FROM enrollment.effects", 1).await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.effects WHERE title LIKE 'committed%'").await, 1);
    world.until(ARCHIVED, 1).await;
    assert_eq!(world.value(PENDING).await, 0);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn rel_b5_killed_after_publish_before_marking_the_duplicate_is_absorbed() {
    let _alone = with_faults().await;
    let (world, app) = world().await;
    // a broker that has forgotten the id by the time it comes again: the inbox is the guarantee, not the window
    world.jetstream().await.delete_stream("EVENTS").await.expect("gone");
    world.stream("EVENTS", &["evt.>"], Duration::from_millis(100)).await;
    world.consumer("EVENTS", "enrollment", "evt.courses.>", -1).await;
    announce(&app, course(1), "published twice", 1).await;
    faults::set("relay.after_publish", "error@1");
    let relaying = world.run(&app, Service::new("courses")).await;
    world.until(ARCHIVED, 1).await;
    assert_eq!(world.messages("EVENTS").await, 2, "the relay published again what it had not marked");
    let other = world.app("enrollment").await;
    let following = world.run(&other, follower("enrollment")).await;
    eventually("all is acknowledged", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.effects").await, 1);
    assert_eq!(world.value("SELECT count(*) FROM enrollment.inbox").await, 1);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn rel_b5_within_the_window_the_broker_drops_the_duplicate_itself() {
    let _alone = with_faults().await;
    let (world, app) = world().await;
    announce(&app, course(1), "published twice, stored once", 1).await;
    faults::set("relay.after_publish", "error@1");
    let relaying = world.run(&app, Service::new("courses")).await;
    world.until(ARCHIVED, 1).await;
    assert_eq!(world.messages("EVENTS").await, 1);
    faults::set("relay.before_publish", "error@1");
    announce(&app, course(2), "not published at first", 1).await;
    world.until(ARCHIVED, 2).await;
    faults::set("relay.after_mark", "error@1");
    announce(&app, course(3), "marked, then the relay fell", 1).await;
    announce(&app, course(3), "the next one of its key", 2).await;
    world.until(ARCHIVED, 4).await;
    assert_eq!(world.messages("EVENTS").await, 4);
    relaying.stop().await;
}

#[tokio::test]
async fn rel_b6_killed_between_commit_and_ack_the_effect_is_there_once() {
    let _alone = with_faults().await;
    let (world, app) = world().await;
    let relaying = world.run(&app, Service::new("courses")).await;
    announce(&app, course(1), "handled, never acknowledged", 1).await;
    world.until(ARCHIVED, 1).await;
    faults::set("follow.before_ack", "error@1");
    let other = world.app("enrollment").await;
    let following = world.run(&other, follower("enrollment")).await;
    world.until("SELECT count(*) FROM enrollment.effects", 1).await;
    eventually("the second delivery is acknowledged", || async {
        world.open_ends("EVENTS", "enrollment").await == 0
    })
    .await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.effects").await, 1);

    faults::set("follow.before_commit", "error@1");
    announce(&app, course(2), "fell before its commit", 1).await;
    world.until("SELECT count(*) FROM enrollment.effects", 2).await;
    eventually("that one is acknowledged, too", || async {
        world.open_ends("EVENTS", "enrollment").await == 0
    })
    .await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.effects").await, 2);
    relaying.stop().await;
    following.stop().await;
}
