//! A viewing from start to stop, and one that nobody stops.

use lectern_core::Clock;
use lectern_core::signed_url::SigningKeys;
use serde_json::json;

use crate::support::{MEDIA_KEYS, World, beat, refused};
use lectern_workbench::eventually;

#[tokio::test]
async fn l17_l18_l21_a_viewing_has_a_start_an_end_and_every_event() {
    let world = World::at_a_standstill().await;
    let (course, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let started_at = world.clock.now();
    let id = alice.starts(&lessons[0]).await.ok().id();

    let kinds = ["play", "heartbeat", "buffer", "resume", "rate", "caption", "fullscreen", "error"];
    for (index, kind) in kinds.iter().enumerate() {
        let (seq, position) = (index as i64 + 1, index as i64 * 1_000);
        let accepted = alice.sends(&id, json!([beat(&world, seq, kind, position)])).await.ok();
        assert_eq!(accepted.number("/accepted_through_seq"), seq);
        world.wait_ms(1_000);
    }
    let mut seek = beat(&world, 9, "seek", 8_000);
    seek["position_to_ms"] = json!(30_000);
    seek["data"] = json!({ "why": "curious" });
    let last = [
        seek,
        beat(&world, 10, "ended", 30_000),
        beat(&world, 11, "pause", 30_000),
        beat(&world, 12, "stop", 30_000),
    ];
    assert_eq!(alice.sends(&id, json!(last)).await.ok().number("/accepted_through_seq"), 12);

    let stopped = alice.asks("stop", json!({ "id": id, "position_ms": 30_500 })).await.ok();
    assert_eq!(stopped.at("/started_at"), &json!(started_at));
    assert_eq!(stopped.at("/ended_at"), &json!(world.clock.now()));
    assert_eq!(stopped.text("/state"), "terminated");
    assert_eq!((stopped.number("/last_seq"), stopped.number("/position_ms")), (12, 30_500));
    let again = alice.asks("stop", json!({ "id": id })).await.ok();
    assert_eq!(again.json, stopped.json, "stopping again answers as it ended");
    assert_eq!(alice.asks("get", json!({ "id": id })).await.ok().json, stopped.json);

    let first = alice.asks("event_log", json!({ "id": id, "limit": 8 })).await.ok();
    let logged: Vec<&str> = first.items().iter().filter_map(|row| row["kind"].as_str()).collect();
    assert_eq!(logged, kinds);
    assert_eq!(first.items()[3]["client_at"], first.items()[3]["server_at"]);
    let rest = alice.asks("event_log", json!({ "id": id, "cursor": first.text("/next_cursor") })).await.ok();
    assert_eq!(rest.items().len(), 4);
    assert_eq!(rest.items()[0]["position_to_ms"], 30_000);
    assert!(rest.at("/next_cursor").is_null());

    let facts = world.facts("playback.terminated").await;
    assert_eq!(
        facts,
        [json!({ "user_id": alice.id, "playback_session_id": id, "media_ms": stopped.at("/media_ms") })]
    );
    let initialized = world.facts("playback.initialized").await;
    assert_eq!(initialized[0]["course_id"], json!(course));
    assert_eq!(initialized.len(), 1);

    // the next viewing goes on where this one ended
    let next = alice.starts(&lessons[0]).await.ok();
    assert_eq!(next.number("/resume_position_ms"), 30_500);
    let mine = alice.asks("mine", json!({ "limit": 1 })).await.ok();
    assert_eq!(mine.items()[0]["id"], json!(next.id()));
    let older = alice.asks("mine", json!({ "cursor": mine.text("/next_cursor") })).await.ok();
    assert_eq!(older.items().to_vec(), [stopped.json]);
}

#[tokio::test]
async fn the_media_url_is_bound_to_viewing_user_and_sign_in_and_renewed_at_half_its_life() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[3_600_000]);
    let alice = world.someone();
    let started = alice.starts(&lessons[0]).await.ok();
    let (id, url) = (started.id(), started.text("/media_url"));
    let keys: SigningKeys = MEDIA_KEYS.parse().unwrap();
    let asset = lessons[0].asset_id.unwrap();
    let path = format!("/media/{asset}/lesson 1.mp4");
    let check = |url: &str, now| {
        let (encoded, query) = url.split_once('?').unwrap();
        assert_eq!(encoded, path.replace(' ', "%20"));
        keys.verify(&path, query, ["psid", "uid", "sid"], now)
    };
    let owner = [id.clone(), alice.id.to_string(), alice.sid.to_string()];
    assert_eq!(check(&url, world.clock.now()).as_ref(), Ok(&owner));

    let mut seq = 0;
    let mut renewed = Vec::new();
    for _ in 0..46 {
        // a heartbeat every 20 s
        world.wait_ms(20_000);
        seq += 1;
        let accepted = alice.sends(&id, json!([beat(&world, seq, "heartbeat", 0)])).await.ok();
        if let Some(url) = accepted.json["media_url"].as_str() {
            assert_eq!(check(url, world.clock.now()).as_ref(), Ok(&owner));
            renewed.push(seq);
        }
    }
    assert_eq!(renewed, [23, 46], "past 450 s of 900 s, each time");
    assert!(check(&url, world.clock.now()).is_err(), "the first one has expired");
}

#[tokio::test]
async fn beats_that_were_accepted_before_a_stop_are_folded_after_it_too() {
    let world = World::new(Clock::fixed(Clock::default().now())).await;
    world.academy_opens().await;
    let running = world.playback(&[]).await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    world.broker().delete_consumer_from_stream("fold", "PLAYBACK").await.expect("no fold for now");
    alice.sends(&id, json!([beat(&world, 1, "play", 0)])).await.ok();
    world.wait_ms(10_000);
    alice.sends(&id, json!([beat(&world, 2, "pause", 10_000)])).await.ok();
    let stopped = alice.asks("stop", json!({ "id": id })).await.ok();
    assert_eq!((stopped.number("/last_seq"), stopped.text("/state").as_str()), (0, "terminated"));

    world.consumers().await;
    running.stop().await;
    world.playback(&[]).await;
    world.folded(&id, 2).await;
    let session = alice.asks("get", json!({ "id": id })).await.ok();
    assert_eq!((session.number("/media_ms"), session.text("/state").as_str()), (10_000, "terminated"));
    assert_eq!(session.at("/ended_at"), stopped.at("/ended_at"));
}

#[tokio::test]
async fn a_silent_viewing_is_abandoned_at_its_last_sign_of_life_and_leaves_its_place() {
    let world = World::new(Clock::default()).await;
    world.academy_opens().await;
    world.playback(&[("PLAYBACK_TTL_SECONDS", "1"), ("MAX_CONCURRENT_STREAMS", "1")]).await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    let before = world.clock.now();
    alice.sends(&id, json!([beat(&world, 1, "play", 0)])).await.ok();
    let after = world.clock.now();
    eventually("abandoned", async || {
        alice.asks("get", json!({ "id": id })).await.ok().text("/state") == "abandoned"
    })
    .await;
    let session = alice.asks("get", json!({ "id": id })).await.ok();
    let ended_at: chrono::DateTime<chrono::Utc> = session.text("/ended_at").parse().unwrap();
    assert!(before <= ended_at && ended_at <= after, "{ended_at} is not when the last event came");
    let fact = json!({ "user_id": alice.id, "playback_session_id": id, "media_ms": 0 });
    assert_eq!(world.facts("playback.abandoned").await, [fact]);
    refused(alice.sends(&id, json!([beat(&world, 2, "heartbeat", 0)])).await, 409, "PLAY_2306");
    alice.starts(&lessons[0]).await.ok();
}
