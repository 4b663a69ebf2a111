//! A whole Lectern per test, and people in it.

use std::time::Duration;

use lectern_harness::servers::Proxy;
use lectern_harness::{Stack, StackOptions};
use serde_json::json;

#[tokio::test]
async fn people_use_the_public_doors_of_a_stack_of_their_own() {
    let stack = Stack::start(StackOptions::default()).await;
    let operator = stack.operator().await;
    let (course, session) = stack.published_course(&operator, "Rust from the ground up").await;

    let anonymous = stack.anonymous();
    assert_eq!(anonymous.browses_courses().await.ok().items().len(), 1);
    anonymous.enrols(&course).await.refused(401, "USER_1006");

    let alice = stack.learner("Alice").await;
    alice.enrols(&course).await.created();
    assert_eq!(alice.enrols(&course).await.ok().text("/course_id"), course);
    let mut player = alice.watches(&course, &session).await;
    player.does("play", 0).does("pause", 5_000);
    assert_eq!(player.sends().await.accepted().number("/accepted_through_seq"), player.last_seq());
    player.stops(5_000).await.ok();

    // the same answer on the bus, and the same refusal
    let bus = stack.bus().await;
    let asked = bus.asks("svc.courses.v1.courses.get", json!({ "id": course })).await.ok();
    assert_eq!(asked.json, anonymous.reads_course(&course).await.ok().json);
    let refused = bus.asks("svc.enrollment.v1.enrollments.create", json!({ "course_id": course })).await;
    refused.refused(401, "USER_1006");
    let services = bus.asks_all("$SRV.PING", Duration::from_secs(1)).await.expect("asked");
    assert!(services.iter().any(|service| service["name"] == "courses"), "{services:?}");
}

#[tokio::test]
async fn two_stacks_share_nothing() {
    let (one, two) =
        tokio::join!(Stack::start(StackOptions::default()), Stack::start(StackOptions::default()));
    one.published_course(&one.operator().await, "Only here").await;
    assert_eq!(one.anonymous().browses_courses().await.ok().items().len(), 1);
    assert_eq!(two.anonymous().browses_courses().await.ok().items().len(), 0);
    let visitor = one.learner("Visitor").await.at(&two.http_url());
    visitor.looks_at_self().await.is(401);
}

#[tokio::test]
async fn processes_are_killed_frozen_ended_and_lose_their_database_alone() {
    let roles = ["gateway", "identity", "courses", "content,playback,enrollment,notifications"];
    let mut stack = Stack::start(StackOptions::default().processes(roles)).await;
    let anonymous = stack.anonymous();

    stack.processes()[2].kill9();
    anonymous.browses_courses().await.is(503);
    let mut courses = stack.start_roles("courses", &[]).await;
    anonymous.browses_courses().await.ok();

    courses.freeze();
    assert_eq!(courses.readiness().await, None);
    courses.thaw();
    courses.wait_ready().await.expect("it goes on where it was");

    let port =
        stack.database().url().split(['@', '/']).find_map(|part| part.parse().ok()).expect("an address");
    let door = Proxy::to(port).await.expect("a door");
    let url = door.in_url(stack.database().url());
    let mut apart = stack.start_roles("courses", &[("DATABASE_URL", &url)]).await;
    door.shut();
    while apart.readiness().await == Some(200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(courses.readiness().await, Some(200));
    door.open();
    apart.wait_ready().await.expect("its database is back");
    assert!(apart.terminate().await.expect("in order").success());
    assert!(apart.log().contains("stopped"), "{}", apart.log());
}

#[tokio::test]
async fn an_upload_becomes_an_asset_and_a_command_answers() {
    let stack = Stack::start(StackOptions::default()).await;
    let operator = stack.operator().await;
    let mut video = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41".to_vec();
    video.resize(100_000, 7);
    let upload = operator.uploads("lesson.mp4", video).await;
    assert_eq!(upload.number("/offset"), 100_000);
    operator.gets(&format!("/files/{}", upload.text("/asset_id"))).await.ok();

    let answered =
        stack.lectern(&["call", "svc.courses.v1.courses.list", "{}"]).await.done().expect("an answer");
    assert!(answered.contains("items"), "{answered}");
    assert!(!stack.lectern(&["call", "svc.nobody.v1.x.y", "{}"]).await.success);
}
