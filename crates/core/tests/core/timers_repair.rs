//! The broker is only the clock that rings: what it loses is repaired from the rows.

use chrono::TimeDelta;
use lectern_core::Service;

use crate::timers::{RANG, arm, ringing, world};
use crate::world::{eventually, no_faults};

#[tokio::test]
async fn rel_h1_a_timer_survives_the_loss_of_its_stream() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let running = world.run(&app, ringing()).await;
    let due = app.now() + TimeDelta::seconds(4);
    arm(&app, 1, due).await;
    eventually("the broker has it", || async { world.messages("TIMERS_ENROLLMENT").await == 1 }).await;
    world.jetstream().await.delete_stream("TIMERS_ENROLLMENT").await.expect("deleted");
    world.until(RANG, 1).await;
    let late =
        world.value("SELECT ceil(extract(epoch FROM rang_at - due_at))::bigint FROM enrollment.rings").await;
    assert!((0..=30).contains(&late), "{late} s late");
    running.stop().await;
}

#[tokio::test]
async fn a_stream_that_was_made_anew_is_armed_again_and_nothing_rings_twice() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let running = world.run(&app, ringing()).await;
    let hour = app.now() + TimeDelta::hours(1);
    for number in 0..450 {
        arm(&app, number, hour).await;
    }
    eventually("the broker has them", || async { world.messages("TIMERS_ENROLLMENT").await == 450 }).await;
    world.until("SELECT count(*) FROM enrollment.stream_epochs", 1).await;
    world.jetstream().await.delete_stream("TIMERS_ENROLLMENT").await.expect("deleted");
    world.timers("enrollment").await;
    eventually("they are armed again", || async { world.messages("TIMERS_ENROLLMENT").await == 450 }).await;
    let soon = app.now() + TimeDelta::seconds(1);
    arm(&app, 1, soon).await;
    world.until(RANG, 1).await;
    eventually("one less", || async { world.messages("TIMERS_ENROLLMENT").await == 449 }).await;
    assert_eq!(world.value(RANG).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn overdue_timers_ring_once_although_two_processes_repair() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    // nobody has published these: the relay has not run, and the stream is lost on top
    let rows = "INSERT INTO enrollment.timers (id, kind, entity, due_at, generation, state, armed_at)
        SELECT gen_random_uuid(), 'period_end', gen_random_uuid(), now() - interval '1 minute', 1, 'armed', now()
        FROM generate_series(1, 200)";
    world.db.execute(rows).await.expect("rows");
    world.jetstream().await.delete_stream("TIMERS_ENROLLMENT").await.expect("deleted");
    let other = world.app("enrollment").await;
    let (first, second) = tokio::join!(world.run(&app, ringing()), world.run(&other, ringing()));
    world.until("SELECT count(*) FROM enrollment.timers WHERE state = 'fired'", 200).await;
    assert_eq!(world.value("SELECT count(DISTINCT entity) FROM enrollment.rings").await, 200);
    assert_eq!(world.value(RANG).await, 200);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_kind_that_no_release_here_knows_is_left_to_one_that_does() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let rows = "INSERT INTO enrollment.timers (id, kind, entity, due_at, generation, state, armed_at)
        VALUES (gen_random_uuid(), 'of_a_newer_release', gen_random_uuid(), now() - interval '1 day', 1, 'armed', now())";
    world.db.execute(rows).await.expect("a row");
    let running = world.run(&app, ringing()).await;
    arm(&app, 1, app.now() - TimeDelta::hours(1)).await;
    world.until(RANG, 1).await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.timers WHERE state = 'armed'").await, 1);
    running.stop().await;
    let newer =
        Service::new("enrollment").timer("of_a_newer_release", |_, tx: lectern_core::Tx, _| async move {
            Ok(tx.commit_followed().await?)
        });
    let app = world.app("enrollment").await;
    let running = world.run(&app, newer).await;
    world.until("SELECT count(*) FROM enrollment.timers WHERE state = 'armed'", 0).await;
    running.stop().await;
}
