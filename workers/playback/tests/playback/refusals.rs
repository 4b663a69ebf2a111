//! Bad input and bad moments.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{World, beat, refused};

#[tokio::test]
async fn what_is_someone_elses_unknown_or_over_is_refused() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[60_000]);
    let (alice, mallory) = (world.someone(), world.someone());
    let id = alice.starts(&lessons[0]).await.ok().id();
    let events = json!([beat(&world, 1, "play", 0)]);
    refused(mallory.sends(&id, events.clone()).await, 404, "PLAY_2305");
    refused(alice.sends("not-an-id", events.clone()).await, 404, "PLAY_2305");
    for verb in ["get", "event_log", "stop"] {
        refused(mallory.asks(verb, json!({ "id": id })).await, 404, "PLAY_2305");
        refused(alice.asks(verb, json!({ "id": world.clock.new_id() })).await, 404, "PLAY_2305");
    }
    refused(alice.asks("stop", json!({ "id": id, "position_ms": 62_001 })).await, 400, "PLAY_2308");
    refused(alice.asks("event_log", json!({ "id": id, "cursor": "?" })).await, 400, "COMMON_0001");
    refused(alice.asks("mine", json!({ "cursor": "Mg" })).await, 400, "COMMON_0001");
    alice.sends(&id, events.clone()).await.ok();
    alice.asks("stop", json!({ "id": id })).await.ok();
    refused(alice.sends(&id, events).await, 409, "PLAY_2306");
}

#[tokio::test]
async fn an_event_out_of_range_refuses_the_batch_and_names_the_event() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    let with = |field: &str, value: Value| {
        let mut event = beat(&world, 2, "heartbeat", 0);
        event[field] = value;
        event
    };
    let ahead = world.clock.now() + TimeDelta::minutes(61);
    for wrong in [
        with("seq", json!(0)),
        with("seq", json!(1)),
        with("position_ms", json!(-1)),
        with("position_ms", json!(62_001)),
        with("rate", json!(0)),
        with("rate", json!(16)),
        with("kind", json!("dance")),
        with("kind", json!("seek")),
        with("client_at", json!(ahead)),
        with("data", json!("x".repeat(1025))),
        with("extra", json!(1)),
    ] {
        let answer =
            refused(alice.sends(&id, json!([beat(&world, 1, "play", 0), wrong])).await, 400, "PLAY_2308");
        let pointer = answer.at("/details/0/pointer").as_str().unwrap_or_default().to_owned();
        assert!(pointer.starts_with("/events/1"), "{wrong} gave {pointer}: {answer}");
    }
    let many: Vec<Value> = (1..=201).map(|seq| beat(&world, seq, "heartbeat", 0)).collect();
    refused(alice.sends(&id, json!(many)).await, 400, "PLAY_2308");
    refused(alice.sends(&id, json!([])).await, 400, "PLAY_2308");
    let accepted = alice.sends(&id, json!(many[..200])).await.ok();
    assert_eq!(accepted.number("/accepted_through_seq"), 200);
    world.folded(&id, 200).await;
    assert_eq!(alice.asks("event_log", json!({ "id": id })).await.ok().items().len(), 20);
}

#[tokio::test]
async fn an_event_sent_again_is_accepted_and_never_changes() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    let mut second = beat(&world, 2, "heartbeat", 1_000);
    second["data"] = json!({ "quality": "720p" });
    let batch = json!([beat(&world, 1, "play", 0), second]);
    alice.sends(&id, batch.clone()).await.ok();
    world.folded(&id, 2).await;
    world.wait_ms(1_000);
    assert_eq!(alice.sends(&id, batch.clone()).await.ok().number("/accepted_through_seq"), 2);
    assert_eq!(alice.sends(&id, json!([batch[1]])).await.ok().number("/accepted_through_seq"), 2);
    for (field, value) in
        [("kind", json!("pause")), ("position_ms", json!(1)), ("rate", json!(2.0)), ("data", json!(1))]
    {
        let mut changed = batch.clone();
        changed[1][field] = value;
        let conflict = refused(alice.sends(&id, changed).await, 409, "PLAY_2307");
        assert_eq!(conflict.at("/details/seq"), &json!([2]));
    }
    let log = alice.asks("event_log", json!({ "id": id })).await.ok();
    assert_eq!((log.items().len(), &log.items()[1]["kind"]), (2, &json!("heartbeat")));
}

#[tokio::test]
async fn nothing_is_accepted_that_was_not_stored() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    world.broker().delete_stream("PLAYBACK").await.expect("the stream is gone");
    let batch = json!([beat(&world, 1, "play", 0)]);
    let refused = refused(alice.sends(&id, batch.clone()).await, 503, "COMMON_0010");
    assert_eq!(refused.header("retry-after"), "1");
    world.make_stream("PLAYBACK", "").await;
    world.consumers().await;
    alice.sends(&id, batch).await.ok();
    world.folded(&id, 1).await;
}
