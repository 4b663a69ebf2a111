//! Facts that can't be handled: now, or ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use lectern_core::{App, Service, Tx, Unhandled, dead};
use lectern_harness::servers::Proxy;
use lectern_subjects::Envelope;
use lectern_subjects::courses::CoursePublished;

use crate::follow::{EFFECTS, follower, write_down};
use crate::world::{Running, World, announce, course, eventually, no_faults};

const HANDLED: &str = "SELECT count(*) FROM enrollment.effects";

async fn world() -> (World, App, App) {
    let world = World::new(&["courses", "enrollment"]).await;
    world.db.execute(EFFECTS).await.expect("a table for effects");
    world.consumer("EVENTS", "enrollment", "evt.courses.>", -1).await;
    let (app, other) = (world.app("courses").await, world.app("enrollment").await);
    (world, app, other)
}

/// Handles everything but what is titled `poison`, `again` or `panic`.
fn picky(tries: &Arc<AtomicUsize>) -> Service<App> {
    let tries = tries.clone();
    Service::new("enrollment").follow(move |_: App, mut tx: Tx, fact: Envelope<CoursePublished>| {
        let tries = tries.clone();
        async move {
            write_down(&mut tx, &fact).await?;
            match fact.data.title.as_str() {
                "poison" => return Err(Unhandled::Never(anyhow::anyhow!("no such\r\ncurrency"))),
                "again" => {
                    return Err(Unhandled::Again(anyhow::anyhow!(
                        "try {}",
                        tries.fetch_add(1, Ordering::SeqCst)
                    )));
                }
                "panic" if tries.fetch_add(1, Ordering::SeqCst) == 0 => panic!("out of cheese"),
                _ => {}
            }
            Ok(tx.commit_followed().await?)
        }
    })
}

/// Publishes one fact, and delivers it this often to nobody who says what became of it.
async fn delivered(world: &World, app: &App, title: &str, times: usize) -> Running {
    let relaying = world.run(app, Service::new("courses")).await;
    announce(app, course(1), title, 1).await;
    world.until("SELECT count(*) FROM courses.outbox_archive", 1).await;
    world.deliver("EVENTS", "enrollment", 1, times).await;
    relaying
}

async fn buried(world: &World, sequence: u64) -> StreamMessage {
    let stream = world.jetstream().await.get_stream("DEAD").await.expect("DEAD");
    stream.get_raw_message(sequence).await.expect("a dead letter")
}

#[tokio::test]
async fn rel_g2_poison_goes_to_the_dead_letters_at_once_and_the_others_flow() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    let relaying = world.run(&app, Service::new("courses")).await;
    let following = world.run(&other, picky(&Arc::default())).await;
    for number in 0..60 {
        let title = if number % 20 == 7 { "poison" } else { "fine" };
        announce(&app, course(number), title, 1).await;
    }
    let garbage = format!("evt.courses.v1.course.published.{}", course(99));
    app.bus().publish(garbage, "garbage", Default::default(), "not json".into()).await.expect("stored");
    world.until(HANDLED, 57).await;
    eventually("all are settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(world.messages("DEAD").await, 4);
    assert_eq!(
        world.value("SELECT count(*) FROM enrollment.inbox").await,
        57,
        "a rolled back effect has no inbox row"
    );
    for sequence in 1..=4 {
        let letter = buried(&world, sequence).await;
        let header =
            |name: &str| letter.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        assert_eq!(letter.subject.as_str(), "dead.EVENTS.enrollment");
        assert_eq!(header(dead::ATTEMPTS), "1");
        assert!(header(dead::SUBJECT).starts_with("evt.courses.v1.course.published."));
        assert!(header(dead::SEQUENCE).parse::<u64>().is_ok_and(|sequence| sequence > 0));
        if &letter.payload[..] == b"not json" {
            assert!(header(dead::ERROR).contains("no fact"), "{}", header(dead::ERROR));
        } else {
            assert_eq!(header(dead::ERROR), "no such  currency", "control characters are scrubbed");
            let fact: Envelope<CoursePublished> =
                serde_json::from_slice(&letter.payload).expect("the payload");
            assert_eq!(header(dead::FACT), fact.event_id.to_string());
            assert_eq!(header(&format!("{}ce-id", dead::ORIGINAL)), fact.event_id.to_string());
        }
    }
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn rel_b8_a_panicking_handler_is_tried_again_and_the_process_lives() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    let relaying = world.run(&app, Service::new("courses")).await;
    let tries = Arc::default();
    let following = world.run(&other, picky(&tries)).await;
    announce(&app, course(1), "panic", 1).await;
    announce(&app, course(2), "fine", 1).await;
    world.until(HANDLED, 2).await;
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    eventually("both are settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(world.messages("DEAD").await, 0);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn rel_g2_after_the_last_delivery_a_fact_lies_in_the_dead_letters() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    let relaying = delivered(&world, &app, "again", 5).await;
    let tries = Arc::default();
    let following = world.run(&other, picky(&tries)).await;
    eventually("it is buried", || async { world.messages("DEAD").await == 1 }).await;
    let letter = buried(&world, 1).await;
    assert_eq!(letter.headers.get(dead::ATTEMPTS).map(|v| v.as_str()), Some("6"));
    assert_eq!(letter.headers.get(dead::ERROR).map(|v| v.as_str()), Some("try 0"));
    eventually("it is settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn rel_g2_a_fact_that_only_waited_beside_a_deadly_one_is_handled() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    let relaying = delivered(&world, &app, "innocent", 17).await;
    let following = world.run(&other, picky(&Arc::default())).await;
    world.until(HANDLED, 1).await;
    eventually("it is settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(world.messages("DEAD").await, 0);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn rel_g2_a_fact_that_processes_died_with_again_and_again_is_buried_untried() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    let relaying = delivered(&world, &app, "again", 18).await;
    let tries = Arc::default();
    let following = world.run(&other, picky(&tries)).await;
    eventually("it is buried", || async { world.messages("DEAD").await == 1 }).await;
    let letter = buried(&world, 1).await;
    let error = letter.headers.get(dead::ERROR).map(|v| v.as_str());
    assert_eq!(error, Some("given up at delivery 19: those before ended without a result"));
    eventually("it is settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(tries.load(Ordering::SeqCst), 0);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn while_the_dead_letters_take_nothing_nothing_is_given_up() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    world.jetstream().await.delete_stream("DEAD").await.expect("gone");
    let relaying = delivered(&world, &app, "poison", 5).await;
    let following = world.run(&other, picky(&Arc::default())).await;
    announce(&app, course(2), "fine", 1).await;
    world.until(HANDLED, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.open_ends("EVENTS", "enrollment").await > 0, "longer than ack_wait, and it is still held");
    world.stream("DEAD", &["dead.>"], Duration::from_secs(120)).await;
    eventually("it is buried", || async { world.messages("DEAD").await == 1 }).await;
    eventually("it is settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn while_its_database_is_away_a_follower_waits_and_no_delivery_is_counted() {
    let _faults = no_faults().await;
    let (world, app, _) = world().await;
    let relaying = world.run(&app, Service::new("courses")).await;
    let address =
        world.db.url().split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host:port");
    let proxy = Proxy::to(address.parse().expect("an address")).await.expect("a proxy");
    let database = lectern_core::pg::Database {
        url: proxy.in_url(world.db.url()),
        schema: "enrollment",
        password: None,
        connections: 5,
    };
    let bus = world.bus("enrollment").await;
    let other = App::new("enrollment", database.pool().expect("a pool"), bus, lectern_core::Clock::default());
    let following = world.run(&other, follower("enrollment")).await;
    proxy.shut();
    for number in 0..10 {
        announce(&app, course(number), "while it is away", 1).await;
    }
    world.until("SELECT count(*) FROM courses.outbox_archive", 10).await;
    // several times as long as six deliveries one second apart would take
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.messages("DEAD").await, 0);
    proxy.open();
    world.until(HANDLED, 10).await;
    eventually("all are settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(world.messages("DEAD").await, 0);
    relaying.stop().await;
    following.stop().await;
}

#[tokio::test]
async fn a_handler_that_takes_longer_than_ack_wait_keeps_its_fact() {
    let _faults = no_faults().await;
    let (world, app, other) = world().await;
    let relaying = world.run(&app, Service::new("courses")).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let slow =
        Service::new("enrollment").follow(move |_: App, mut tx: Tx, fact: Envelope<CoursePublished>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                write_down(&mut tx, &fact).await?;
                // twice the consumer's ack_wait, within the transaction's own limits
                tokio::time::sleep(Duration::from_millis(4200)).await;
                Ok(tx.commit_followed().await?)
            }
        });
    let following = world.run(&other, slow).await;
    announce(&app, course(1), "slow", 1).await;
    world.until(HANDLED, 1).await;
    eventually("it is settled", || async { world.open_ends("EVENTS", "enrollment").await == 0 }).await;
    assert_eq!(tries.load(Ordering::SeqCst), 1, "signs of life kept the broker from delivering it again");
    relaying.stop().await;
    following.stop().await;
}
