//! Timers ring once, not before they are due.

use std::time::Duration;

use async_nats::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::{App, Followed, Ring, Service, Tx, Unhandled, dead};
use lectern_subjects::subject;
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, eventually, no_faults};

const KIND: &str = "period_end";
/// What the handlers write.
const RINGS: &str =
    "CREATE TABLE enrollment.rings (kind text, entity uuid, due_at timestamptz, rang_at timestamptz)";

async fn write_down(tx: &mut Tx, ring: &Ring) -> Result<(), sqlx::Error> {
    let now = tx.now();
    let insert = sqlx::query("INSERT INTO enrollment.rings VALUES ($1, $2, $3, $4)");
    insert.bind(ring.kind).bind(ring.entity).bind(ring.due_at).bind(now).execute(&mut **tx).await?;
    Ok(())
}

async fn record(_: App, mut tx: Tx, ring: Ring) -> Followed {
    write_down(&mut tx, &ring).await?;
    Ok(tx.commit_followed().await?)
}

/// A worker that owns timers of one kind.
pub fn ringing() -> Service<App> {
    Service::new("enrollment").timer(KIND, record)
}

/// A broker with the timers stream, a database with a table of rings, an app.
pub async fn world() -> (World, App) {
    let world = World::new(&["enrollment"]).await;
    world.timers("enrollment").await;
    world.db.execute(RINGS).await.expect("a table for rings");
    let app = world.app("enrollment").await;
    (world, app)
}

pub fn entity(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub async fn arm(app: &App, number: u128, due_at: DateTime<Utc>) {
    let mut tx = app.begin_internal().await.expect("begun");
    tx.arm(KIND, entity(number), due_at).await.expect("armed");
    tx.commit_followed().await.expect("committed");
}

pub const RANG: &str = "SELECT count(*) FROM enrollment.rings";
const EARLY: &str = "SELECT count(*) FROM enrollment.rings WHERE rang_at < due_at";

#[tokio::test]
async fn rel_h1_timers_ring_once_and_never_early() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let running = world.run(&app, ringing()).await;
    for number in 0..50 {
        arm(&app, number, app.now() + TimeDelta::milliseconds(500 + 40 * number as i64)).await;
    }
    // one that was due before it was armed
    arm(&app, 50, app.now() - TimeDelta::hours(1)).await;
    world.until("SELECT count(DISTINCT entity) FROM enrollment.rings", 51).await;
    eventually("all are settled", || async { world.open_ends("TIMERS_ENROLLMENT", "due").await == 0 }).await;
    assert_eq!(world.value(RANG).await, 51);
    assert_eq!(world.value(EARLY).await, 0);
    assert_eq!(world.value("SELECT count(*) FROM enrollment.timers WHERE state = 'fired'").await, 51);
    assert_eq!(world.messages("TIMERS_ENROLLMENT").await, 0);
    assert_eq!(world.messages("DEAD").await, 0);
    running.stop().await;
}

#[tokio::test]
async fn arming_again_replaces_and_a_cancelled_timer_never_rings() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let running = world.run(&app, ringing()).await;
    let later = app.now() + TimeDelta::seconds(4);
    for number in 0..3 {
        arm(&app, number, app.now() + TimeDelta::seconds(2)).await;
    }
    arm(&app, 1, later).await;
    let mut tx = app.begin_internal().await.expect("begun");
    tx.disarm(KIND, entity(2)).await.expect("disarmed");
    tx.disarm(KIND, entity(77)).await.expect("one that never was is no error");
    tx.commit_followed().await.expect("committed");
    world.until(RANG, 2).await;
    eventually("nothing is left", || async { world.messages("TIMERS_ENROLLMENT").await == 0 }).await;
    // past every date of this test
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.value(RANG).await, 2);
    assert_eq!(world.value(EARLY).await, 0);
    let moved = "SELECT count(*) FROM enrollment.rings r JOIN enrollment.timers t USING (entity)
                 WHERE r.entity = '00000000-0000-0000-0000-000000000001' AND r.due_at = t.due_at AND t.generation = 2";
    assert_eq!(world.value(moved).await, 1);
    let cancelled = "SELECT count(*) FROM enrollment.timers WHERE state = 'cancelled' AND generation = 2";
    assert_eq!(world.value(cancelled).await, 1);
    // what was cancelled or has rung can be armed anew
    arm(&app, 2, app.now()).await;
    world.until(RANG, 3).await;
    running.stop().await;
}

/// A ring as the broker would send it.
async fn forge(app: &App, timer: Uuid, number: u128, generation: i64, due: DateTime<Utc>) {
    let body = json!({ "timer": timer, "entity": entity(number), "generation": generation, "due": due });
    let id = app.clock().new_id().to_string();
    let due = subject::timer_due("enrollment", KIND);
    app.bus().publish(due, &id, HeaderMap::new(), body.to_string().into()).await.expect("stored");
}

async fn timer_id(world: &World, number: u128) -> Uuid {
    let sql = format!("SELECT id FROM enrollment.timers WHERE entity = '{}'", entity(number));
    world.db.value(&sql).await.expect("read").expect("a row").parse().expect("an id")
}

#[tokio::test]
async fn a_ring_of_an_older_generation_is_ignored_and_an_early_one_comes_again() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let running = world.run(&app, ringing()).await;
    let hour = app.now() + TimeDelta::hours(1);
    arm(&app, 1, hour).await;
    arm(&app, 1, hour).await;
    let timer = timer_id(&world, 1).await;
    forge(&app, timer, 1, 1, app.now()).await;
    forge(&app, entity(4711), 1, 1, app.now()).await;
    eventually("both are forgotten", || async { world.open_ends("TIMERS_ENROLLMENT", "due").await == 0 })
        .await;
    assert_eq!(world.value(RANG).await, 0);

    let soon = app.now() + TimeDelta::seconds(3);
    let mut tx = app.begin_internal().await.expect("begun");
    // the broker still believes in an hour: only the early ring and its return can be what rings
    sqlx::query("UPDATE timers SET due_at = $1").bind(soon).execute(&mut *tx).await.expect("moved");
    tx.commit_followed().await.expect("committed");
    forge(&app, timer, 1, 2, soon).await;
    world.until(RANG, 1).await;
    assert_eq!(world.value(EARLY).await, 0);
    forge(&app, timer, 1, 2, soon).await;
    eventually("a second ring is forgotten", || async {
        world.open_ends("TIMERS_ENROLLMENT", "due").await == 0
    })
    .await;
    assert_eq!(world.value(RANG).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_timer_whose_handler_fails_rings_again_and_one_that_never_can_is_buried() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let service = Service::new("enrollment").timer(KIND, |app: App, mut tx: Tx, ring: Ring| async move {
        write_down(&mut tx, &ring).await?;
        let tried: i32 = sqlx::query_scalar("SELECT attempts FROM timers WHERE entity = $1")
            .bind(ring.entity)
            .fetch_one(app.pool())
            .await?;
        match ring.entity {
            number if number == entity(1) && tried == 0 => Err(Unhandled::Again(anyhow::anyhow!("not yet"))),
            number if number == entity(2) && tried == 0 => panic!("out of cheese"),
            number if number == entity(3) => Err(Unhandled::Never(anyhow::anyhow!("no such plan"))),
            _ => Ok(tx.commit_followed().await?),
        }
    });
    let running = world.run(&app, service).await;
    for number in 0..4 {
        arm(&app, number, app.now()).await;
    }
    let garbage = subject::timer_due("enrollment", KIND);
    app.bus().publish(garbage, "garbage", HeaderMap::new(), "{}".into()).await.expect("stored");
    world.until(RANG, 3).await;
    eventually("two are buried", || async { world.messages("DEAD").await == 2 }).await;
    eventually("all are settled", || async { world.open_ends("TIMERS_ENROLLMENT", "due").await == 0 }).await;
    assert_eq!(world.value("SELECT count(*) FROM enrollment.timers WHERE state = 'fired'").await, 3);
    assert_eq!(world.value("SELECT count(*) FROM enrollment.timers WHERE state = 'dead'").await, 1);
    let stream = world.jetstream().await.get_stream("DEAD").await.expect("DEAD");
    let mut reasons = Vec::new();
    for sequence in 1..=2 {
        let letter = stream.get_raw_message(sequence).await.expect("a dead letter");
        assert_eq!(letter.subject.as_str(), "dead.TIMERS_ENROLLMENT.due");
        reasons.push(letter.headers.get(dead::ERROR).map(|v| v.as_str().to_owned()).unwrap_or_default());
    }
    reasons.sort();
    assert_eq!(reasons[0], "no such plan");
    assert!(reasons[1].starts_with("no timer: "), "{reasons:?}");
    running.stop().await;
}
