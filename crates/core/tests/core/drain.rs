//! Drains: batches with a verdict on each message.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use lectern_core::service::Drain;
use lectern_core::{App, Drained, Service, Verdict, dead, faults};

use tokio::sync::Notify;

use crate::world::{World, eventually, no_faults, with_faults};

const FOLD: Drain = Drain { stream: "PLAYBACK", consumer: "fold", filter: "play.>", batch: 50 };

async fn world() -> (World, App) {
    let world = World::new(&["playback"]).await;
    world.stream("PLAYBACK", &["play.>"], Duration::from_secs(120)).await;
    world.consumer("PLAYBACK", "fold", "play.>", -1).await;
    world
        .db
        .execute("CREATE TABLE playback.beats (body text PRIMARY KEY, seen int NOT NULL)")
        .await
        .expect("made");
    let app = world.app("playback").await;
    (world, app)
}

async fn publish(app: &App, number: usize, body: &str) {
    let subject = format!("play.v1.0.a.{number}");
    app.bus()
        .publish(subject, &number.to_string(), HeaderMap::new(), body.to_owned().into())
        .await
        .expect("stored");
}

async fn keep(app: &App, body: &str) -> Result<(), sqlx::Error> {
    let upsert =
        "INSERT INTO playback.beats VALUES ($1, 1) ON CONFLICT (body) DO UPDATE SET seen = beats.seen + 1";
    sqlx::query(upsert).bind(body).execute(app.pool()).await.map(drop)
}

fn text(message: &Drained) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

#[tokio::test]
async fn batches_are_acknowledged_by_verdict() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = largest.clone();
    let service = Service::new("playback").drain(FOLD, move |app: App, batch: Vec<Drained>| {
        seen.fetch_max(batch.len(), Ordering::SeqCst);
        async move {
            let mut verdicts = Vec::new();
            for message in &batch {
                assert!(message.stream_sequence > 0 && message.subject.starts_with("play.v1."));
                let verdict = match text(message).as_str() {
                    "never" => Verdict::Never("no beat".to_owned()),
                    "again" if message.delivered == 1 => Verdict::Again("not yet".to_owned()),
                    body => {
                        keep(&app, body).await?;
                        Verdict::Done
                    }
                };
                verdicts.push(verdict);
            }
            Ok(verdicts)
        }
    });
    for number in 0..200 {
        publish(&app, number, &format!("beat {number}")).await;
    }
    publish(&app, 200, "never").await;
    publish(&app, 201, "again").await;
    let running = world.run(&app, service).await;
    world.until("SELECT count(*) FROM playback.beats", 201).await;
    eventually("all are settled", || async { world.open_ends("PLAYBACK", "fold").await == 0 }).await;
    assert_eq!(world.value("SELECT max(seen) FROM playback.beats").await, 1);
    let largest = largest.load(Ordering::SeqCst);
    assert!((2..=50).contains(&largest), "real batches, none too large: {largest}");
    let stream = world.jetstream().await.get_stream("DEAD").await.expect("DEAD");
    assert_eq!(stream.cached_info().state.messages, 1);
    let letter = stream.get_raw_message(1).await.expect("a dead letter");
    assert_eq!(letter.subject.as_str(), "dead.PLAYBACK.fold");
    assert_eq!(letter.headers.get(dead::ERROR).map(|v| v.as_str()), Some("no beat"));
    running.stop().await;
}

#[tokio::test]
async fn one_bad_message_does_not_take_its_batch_with_it() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let panicked = Arc::new(Mutex::new(HashSet::new()));
    let service = Service::new("playback").drain(FOLD, move |app: App, batch: Vec<Drained>| {
        let panicked = panicked.clone();
        async move {
            for message in &batch {
                match text(message).as_str() {
                    "broken" if message.delivered < 2 => anyhow::bail!("broken"),
                    "panics" if panicked.lock().expect("whole").insert(message.delivered) => {
                        panic!("out of cheese")
                    }
                    _ => {}
                }
            }
            for message in &batch {
                keep(&app, &text(message)).await?;
            }
            Ok(batch.iter().map(|_| Verdict::Done).collect())
        }
    });
    publish(&app, 0, "broken").await;
    publish(&app, 1, "panics").await;
    for number in 2..40 {
        publish(&app, number, &format!("beat {number}")).await;
    }
    let running = world.run(&app, service).await;
    world.until("SELECT count(*) FROM playback.beats", 40).await;
    eventually("all are settled", || async { world.open_ends("PLAYBACK", "fold").await == 0 }).await;
    assert_eq!(world.messages("DEAD").await, 0);
    running.stop().await;
}

#[tokio::test]
async fn rel_b6_a_batch_that_was_not_acknowledged_comes_again() {
    let _alone = with_faults().await;
    let (world, app) = world().await;
    faults::set("drain.before_ack", "error@1");
    let service = Service::new("playback").drain(FOLD, |app: App, batch: Vec<Drained>| async move {
        for message in &batch {
            keep(&app, &text(message)).await?;
        }
        Ok(batch.iter().map(|_| Verdict::Done).collect())
    });
    publish(&app, 0, "once").await;
    let running = world.run(&app, service).await;
    world.until("SELECT seen FROM playback.beats", 2).await;
    eventually("it is settled", || async { world.open_ends("PLAYBACK", "fold").await == 0 }).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rel_g2_of_a_batch_that_kills_only_those_that_do_are_buried() {
    let _faults = no_faults().await;
    let (world, app) = world().await;
    let deadly = Arc::new(Notify::new());
    let service = || {
        let deadly = deadly.clone();
        Service::new("playback").drain(FOLD, move |app: App, batch: Vec<Drained>| {
            let deadly = deadly.clone();
            async move {
                for message in &batch {
                    if text(message).starts_with("deadly") {
                        deadly.notify_one();
                        std::future::pending::<()>().await;
                    }
                    keep(&app, &text(message)).await?;
                }
                Ok(batch.iter().map(|_| Verdict::Done).collect())
            }
        })
    };
    for (number, body) in ["before", "deadly 1", "between", "deadly 2", "behind"].into_iter().enumerate() {
        publish(&app, number, body).await;
    }
    world.deliver("PLAYBACK", "fold", 5, 6).await;
    // a process dies of the first and has done what stands before it, another of the last and has done what stands behind
    for left in [4, 3] {
        dies(&world, &app, service(), &deadly, left).await;
    }
    world.deliver("PLAYBACK", "fold", 3, 4).await;
    // what came since does not change the order
    publish(&app, 5, "new").await;
    // the first is buried, and what stands between is done; then it is the other's turn
    dies(&world, &app, service(), &deadly, 2).await;
    dies(&world, &app, service(), &deadly, 1).await;
    let running = world.run(&app, service()).await;
    eventually("all are settled", || async { world.open_ends("PLAYBACK", "fold").await == 0 }).await;
    assert_eq!(world.messages("DEAD").await, 2);
    assert_eq!(world.value("SELECT count(*) FROM playback.beats").await, 4);
    running.stop().await;
}

/// Runs until it dies, and looks at what is left to do.
async fn dies(world: &World, app: &App, service: Service<App>, deadly: &Notify, left: u64) {
    let running = world.run(app, service).await;
    deadly.notified().await;
    running.kill().await;
    eventually("what it did is settled", || async { world.open_ends("PLAYBACK", "fold").await == left })
        .await;
}
