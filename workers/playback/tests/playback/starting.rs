//! Who may start, and how many at once.

use std::collections::BTreeSet;

use lectern_core::{Clock, Service};
use lectern_subjects::enrollment::AccessDecision;
use serde_json::json;

use crate::support::{World, beat, list_sessions, refused};
use lectern_workbench::eventually;

#[tokio::test]
async fn learning_e9_starts_at_the_same_time_over_two_processes_never_exceed_the_cap() {
    let world = World::at_a_standstill().await;
    world.playback(&[]).await;
    let (_, lessons) = world.course(&[60_000, 60_000]);
    let alice = world.someone();
    alice.asks("mine", json!({})).await.ok();
    let starts: Vec<_> = (0..24)
        .map(|index| {
            let (alice, lesson) = (alice.clone(), lessons[index % 2].clone());
            tokio::spawn(async move {
                loop {
                    let answer = alice.starts(&lesson).await;
                    // busy: a row lock or a connection was not free in time
                    if answer.status != 503 && answer.status != 504 {
                        return answer;
                    }
                }
            })
        })
        .collect();
    let mut started = BTreeSet::new();
    for start in starts {
        let answer = start.await.expect("no panic");
        if answer.status == 200 {
            started.insert(answer.id());
        } else {
            let refused = refused(answer, 409, "PLAY_2304");
            assert_eq!(refused.at("/details/active").as_array().map(Vec::len), Some(2));
        }
    }
    assert_eq!(started.len(), 2);
    let open = "SELECT count(*) FROM playback.playback_sessions WHERE ended_at IS NULL";
    assert_eq!(world.database.value(open).await.unwrap().as_deref(), Some("2"));

    // another user has their own, and a stop makes room
    world.someone().starts(&lessons[0]).await.ok();
    alice.asks("stop", json!({ "id": started.first() })).await.ok();
    alice.starts(&lessons[0]).await.ok();
    refused(alice.starts(&lessons[0]).await, 409, "PLAY_2304");
}

#[tokio::test]
async fn a_viewing_without_beats_for_30_s_does_not_count_and_0_is_no_cap() {
    let world = World::new(Clock::fixed(Clock::default().now())).await;
    world.academy_opens().await;
    let capped = world.playback(&[("MAX_CONCURRENT_STREAMS", "1")]).await;
    let (_, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let first = alice.starts(&lessons[0]).await.ok().id();
    world.wait_ms(20_000);
    alice.sends(&first, json!([beat(&world, 1, "play", 0)])).await.ok();
    world.wait_ms(29_999);
    refused(alice.starts(&lessons[0]).await, 409, "PLAY_2304");
    world.wait_ms(1);
    alice.starts(&lessons[0]).await.ok();
    capped.stop().await;
    world.playback(&[("MAX_CONCURRENT_STREAMS", "0")]).await;
    for _ in 0..5 {
        alice.starts(&lessons[0]).await.ok();
    }
}

#[tokio::test]
async fn access_is_what_enrolment_says_and_closed_when_it_says_nothing() {
    let world = World::new(Clock::default()).await;
    let courses = world.role(Service::new("courses").on(list_sessions)).await;
    world.playback(&[]).await;
    let (course, mut lessons) = world.course(&[60_000, 60_000]);
    lessons[1].preview = true;
    lessons[1].asset_id = None;
    lessons[1].video_url = Some("https://videos.example.com/2.mp4".to_owned());
    world.academy.answers().sessions = lessons.clone();
    let alice = world.someone();
    let unknown = refused(alice.starts(&lessons[0]).await, 503, "COMMON_0010");
    assert_eq!(unknown.header("retry-after"), "1");

    // courses hides the external URL; the fact that is late tells it
    let preview = tokio::spawn({
        let (alice, lesson) = (alice.clone(), lessons[1].clone());
        async move { alice.starts(&lesson).await }
    });
    courses.announces(&crate::support::added(&lessons[1])).await;
    let preview = preview.await.expect("no panic");
    if preview.status == 503 {
        // later than a start waits for it
        eventually("the fact is there", async || alice.starts(&lessons[1]).await.status == 200).await;
    }
    let url = alice.starts(&lessons[1]).await;
    assert!(url.status == 200 || url.json["error_code"] == "PLAY_2304", "a preview needs no access: {url}");

    let bob = world.someone();
    assert_eq!(bob.starts(&lessons[1]).await.ok().text("/media_url"), "https://videos.example.com/2.mp4");
    world.academy_opens().await;
    let denied = AccessDecision { allowed: false, source: None, until: None, subscription_expired: false };
    world.academy.answers().access.insert(course, denied.clone());
    eventually("enrolment answers", async || bob.starts(&lessons[0]).await.status != 503).await;
    refused(bob.starts(&lessons[0]).await, 403, "PLAY_2301");
    world.academy.answers().access.insert(course, AccessDecision { subscription_expired: true, ..denied });
    refused(bob.starts(&lessons[0]).await, 403, "PLAY_2302");
    world.academy.answers().access.clear();
    bob.starts(&lessons[0]).await.ok();
}
