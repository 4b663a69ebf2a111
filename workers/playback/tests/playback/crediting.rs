//! What counts as watched, end to end: through the door, the stream and the fold.

use lectern_core::Clock;
use lectern_subjects::courses::CourseSession;
use serde_json::{Value, json};

use crate::support::{Person, World, beat};
use lectern_workbench::eventually;

/// Everything that a playback session came to, without ids and times of its own.
async fn outcome(world: &World, playback: &str) -> Value {
    world
        .rows(&format!(
            "SELECT s.last_seq, s.player, s.position_ms, s.media_ms, s.spent_ms, w.segments::text, w.unique_ms, w.resume_ms,
                    w.completed_at IS NOT NULL AS completed,
                    (SELECT json_agg((u.day, u.wall_ms) ORDER BY u.day) FROM playback.user_wall u
                     WHERE u.user_id = s.user_id) AS wall,
                    (SELECT json_agg((e.seq, e.kind, e.position_ms, e.position_to_ms, e.rate, e.client_at, e.server_at,
                                      e.occurred_at, e.data::text) ORDER BY e.seq)
                     FROM playback.playback_events e WHERE e.playback_session_id = s.id) AS events
             FROM playback.playback_sessions s
             JOIN playback.watched w ON w.user_id = s.user_id AND w.course_session_id = s.course_session_id
             WHERE s.id = '{playback}'"
        ))
        .await
}

/// Plays from one position to another, ten seconds a beat.
async fn plays(world: &World, viewer: &Person, id: &str, first_seq: i64, from_ms: i64, to_ms: i64) -> i64 {
    let mut seq = first_seq;
    viewer.sends(id, json!([beat(world, seq, "play", from_ms)])).await.ok();
    let mut position = from_ms;
    while position < to_ms {
        let step = (to_ms - position).min(10_000);
        world.wait_ms(step);
        position += step;
        seq += 1;
        viewer.sends(id, json!([beat(world, seq, "heartbeat", position)])).await.ok();
    }
    world.folded(id, seq).await;
    seq
}

async fn progress(viewer: &Person, lesson: &CourseSession) -> Value {
    viewer.asks("progress", json!({ "course_id": lesson.course_id })).await.ok().json
}

#[tokio::test]
async fn learning_e1_repeats_reordering_and_a_killed_consumer_change_nothing() {
    let world = World::new(Clock::fixed(Clock::default().now())).await;
    world.academy_opens().await;
    let running = world.playback(&[]).await;
    let (_, lessons) = world.course(&[120_000]);
    let (alice, bob) = (world.someone(), world.someone());
    let plain = alice.starts(&lessons[0]).await.ok().id();
    let mixed = bob.starts(&lessons[0]).await.ok().id();
    world.wait_ms(60_000);

    // six batches of two events, each five seconds after the one before, the last just now
    let mut batches = Vec::new();
    for batch in 0..6_i64 {
        let ago = (5 - batch) * 10_000;
        let at = |ms: i64| json!(world.clock.now() - chrono::TimeDelta::milliseconds(ms));
        let event = |seq: i64, kind: &str, position: i64, ms_ago: i64| json!({ "seq": seq, "kind": kind, "position_ms": position, "rate": 1.0, "client_at": at(ms_ago) });
        let seq = batch * 2 + 1;
        let mut events = [
            event(seq, if batch == 0 { "play" } else { "heartbeat" }, batch * 10_000, ago + 5_000),
            event(seq + 1, "heartbeat", batch * 10_000 + 5_000, ago),
        ];
        if batch == 3 {
            events[1]["kind"] = json!("seek");
            events[1]["position_to_ms"] = json!(90_000);
        }
        if batch > 3 {
            events
                .iter_mut()
                .for_each(|e| e["position_ms"] = json!(e["position_ms"].as_i64().unwrap() + 55_000));
        }
        batches.push((ago, json!(events)));
    }
    for (ago, events) in &batches {
        world.stores(alice.id, &plain, *ago, events).await;
    }
    world.folded(&plain, 12).await;
    for place in [2, 2, 5, 0, 3, 5, 2] {
        let (ago, events) = &batches[place];
        world.stores(bob.id, &mixed, *ago, events).await;
    }
    world.folded(&mixed, 2).await;
    // kill the consumer in the middle; another process goes on
    let (ago, events) = &batches[1];
    world.stores(bob.id, &mixed, *ago, events).await;
    running.kill().await;
    let second = world.playback(&[]).await;
    let (ago, events) = &batches[4];
    world.stores(bob.id, &mixed, *ago, events).await;
    world.folded(&mixed, 12).await;
    let expected = outcome(&world, &plain).await;
    assert_eq!(expected[0]["segments"], "{[0,35000),[90000,110000)}", "{expected}");
    assert_eq!(outcome(&world, &mixed).await, expected);

    // and once more everything, by a consumer that starts from the beginning of the stream
    second.stop().await;
    world.broker().delete_consumer_from_stream("fold", "PLAYBACK").await.expect("gone");
    world.consumers().await;
    world.playback(&[]).await;
    folded_out(&world).await;
    assert_eq!(outcome(&world, &mixed).await, expected);
    assert_eq!(outcome(&world, &plain).await, expected);
}

/// Waits until nothing of the stream is left to fold.
async fn folded_out(world: &World) {
    eventually("the stream is folded", async || {
        let stream = world.broker().get_stream("PLAYBACK").await.expect("PLAYBACK");
        let fold = stream.consumer_info("fold").await.expect("the fold");
        fold.num_pending == 0 && fold.num_ack_pending == 0
    })
    .await;
}

#[tokio::test]
async fn learning_e5_the_stream_alone_gives_the_same_again() {
    let world = World::new(Clock::fixed(Clock::default().now())).await;
    world.academy_opens().await;
    let running = world.playback(&[]).await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    let seq = plays(&world, &alice, &id, 1, 0, 25_000).await;
    let seq = plays(&world, &alice, &id, seq + 1, 40_000, 60_000).await;
    let once = outcome(&world, &id).await;
    assert_eq!(once[0]["segments"], "{[0,25000),[40000,60000)}", "{once}");

    running.stop().await;
    world.broker().delete_consumer_from_stream("fold", "PLAYBACK").await.expect("gone");
    let forget =
        "DELETE FROM playback.watched; DELETE FROM playback.user_wall; DELETE FROM playback.playback_events;
        UPDATE playback.playback_sessions SET last_seq = 0, player = 'initialized', position_ms = 0, rate = 1,
            last_client_at = NULL, last_server_at = started_at, spent_ms = 0, media_ms = 0, gap_since = NULL";
    world.database.execute(forget).await.expect("forgotten");
    world.consumers().await;
    world.playback(&[]).await;
    world.folded(&id, seq).await;
    assert_eq!(outcome(&world, &id).await, once);
}

#[tokio::test]
async fn learning_e2_ten_tabs_do_not_multiply_time() {
    let world = World::new(Clock::fixed(Clock::default().now())).await;
    world.academy_opens().await;
    world.playback(&[("MAX_CONCURRENT_STREAMS", "0")]).await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let mut tabs = Vec::new();
    for _ in 0..10 {
        tabs.push(alice.starts(&lessons[0]).await.ok().id());
    }
    for second in [0_i64, 10, 20, 30] {
        for tab in &tabs {
            let kind = if second == 0 { "play" } else { "heartbeat" };
            let event = beat(&world, second / 10 + 1, kind, second * 1_000);
            alice.sends(tab, json!([event])).await.ok();
        }
        world.wait_ms(10_000);
    }
    for tab in &tabs {
        world.folded(tab, 4).await;
    }
    let wall = "SELECT sum(wall_ms)::bigint AS ms FROM playback.user_wall";
    assert_eq!(world.rows(wall).await[0]["ms"], 30_000);
    let unique = progress(&alice, &lessons[0]).await;
    assert_eq!((&unique["sessions"][0]["unique_ms"], &unique["progress"]), (&json!(30_000), &json!(0.5)));
}

#[tokio::test]
async fn learning_e3_seek_to_the_end_completes_nothing() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    let seq = plays(&world, &alice, &id, 1, 0, 6_000).await;
    let mut jump = beat(&world, seq + 1, "seek", 6_000);
    jump["position_to_ms"] = json!(59_000);
    world.wait_ms(1_000);
    alice.sends(&id, json!([jump, beat(&world, seq + 2, "ended", 60_000)])).await.ok();
    world.folded(&id, seq + 2).await;
    let shown = progress(&alice, &lessons[0]).await;
    assert_eq!(shown["sessions"][0]["unique_ms"], 7_000);
    assert!(shown["sessions"][0]["completed_at"].is_null() && shown["sessions"][0]["resume_ms"] == 60_000);
    assert_eq!(alice.asks("get", json!({ "id": id })).await.ok().text("/state"), "ended");
    assert!(world.facts("session.completed").await.is_empty());
}

#[tokio::test]
async fn learning_e4_completions_are_announced_once() {
    let world = World::at_a_standstill().await;
    let (course, mut lessons) = world.course(&[20_000, 40_000, 600_000]);
    lessons[2].required = false;
    world.academy.answers().sessions = lessons.clone();
    let alice = world.someone();
    let first = alice.starts(&lessons[0]).await.ok().id();
    // 19 of 20 s are 0.95; what comes after it, and the same again, announces nothing more
    let seq = plays(&world, &alice, &first, 1, 0, 19_000).await;
    assert_eq!(world.facts("session.completed").await.len(), 1);
    plays(&world, &alice, &first, seq + 1, 0, 20_000).await;
    alice.asks("stop", json!({ "id": first })).await.ok();
    assert!(world.facts("course.completed").await.is_empty());

    let second = alice.starts(&lessons[1]).await.ok().id();
    let seq = plays(&world, &alice, &second, 1, 0, 40_000).await;
    plays(&world, &alice, &second, seq + 1, 0, 40_000).await;
    let sessions: Vec<Value> =
        world.facts("session.completed").await.iter().map(|f| f["session_id"].clone()).collect();
    assert_eq!(sessions, [json!(lessons[0].id), json!(lessons[1].id)]);
    let courses = world.facts("course.completed").await;
    assert_eq!((courses.len(), &courses[0]["course_id"]), (1, &json!(course)));
    let shown = progress(&alice, &lessons[0]).await;
    assert_eq!(shown["progress"], 1.0, "{shown}");
    assert!(
        shown["sessions"][1]["completed_at"].is_string() && shown["sessions"][2]["completed_at"].is_null()
    );
}

#[tokio::test]
async fn a_missing_event_is_waited_for_then_skipped_and_recorded() {
    let world = World::at_a_standstill().await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let id = alice.starts(&lessons[0]).await.ok().id();
    alice.sends(&id, json!([beat(&world, 1, "play", 0)])).await.ok();
    world.wait_ms(10_000);
    let third = alice.sends(&id, json!([beat(&world, 3, "heartbeat", 10_000)])).await.ok();
    assert_eq!(third.number("/accepted_through_seq"), 3);
    eventually("the gap is noticed", async || {
        let waiting = "SELECT id FROM playback.playback_sessions WHERE gap_since IS NOT NULL";
        world.rows(waiting).await[0]["id"] == json!(id)
    })
    .await;
    assert_eq!(alice.asks("get", json!({ "id": id })).await.ok().number("/last_seq"), 1);
    world.wait_ms(300_000);
    alice.sends(&id, json!([beat(&world, 4, "heartbeat", 10_000)])).await.ok();
    world.folded(&id, 4).await;
    let session = alice.asks("get", json!({ "id": id })).await.ok();
    assert_eq!(session.number("/media_ms"), 0, "nothing is credited across a gap");
    let gaps = world.rows("SELECT from_seq, through_seq FROM playback.playback_gaps").await;
    assert_eq!(gaps, json!([{ "from_seq": 2, "through_seq": 2 }]));
}
