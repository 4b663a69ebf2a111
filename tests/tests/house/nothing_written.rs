//! A refusal leaves nothing behind: every row of every schema is counted before and after (issue: "Nothing is
//! half-written").

use std::collections::BTreeMap;
use std::time::Duration;

use lectern_harness::{Stack, StackOptions};
use serde_json::json;

use crate::shared::{House, NOBODY};
use crate::{bad_input, bad_route};

/// Rows per table, and the number of facts in the stream.
async fn rows(stack: &Stack) -> BTreeMap<String, i64> {
    // the count of each table, by way of XML: the one way to count tables by name in one statement
    let sql = "SELECT jsonb_object_agg(schemaname || '.' || tablename, (xpath('/row/c/text()',
                   query_to_xml(format('SELECT count(*) AS c FROM %I.%I', schemaname, tablename), false, true, '')))[1]::text::bigint)
               FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let text = stack.database().value(sql).await.expect("counted").expect("tables");
    serde_json::from_str(&text).expect("counts")
}

/// Waits until two looks are the same: what was under way has arrived.
async fn settled(stack: &Stack) -> BTreeMap<String, i64> {
    let mut before = rows(stack).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = rows(stack).await;
        if now == before {
            return now;
        }
        before = now;
    }
    panic!("the tables don't come to rest: {before:?}")
}

#[tokio::test]
async fn nothing_is_half_written_by_what_is_refused() {
    let house = House::over(Stack::start(StackOptions::default()).await).await;
    let operator = house.staff("operator");
    let (course, session) = house.stack.published_course(&operator, "Counted").await;
    let alice = house.stack.learner("Alice").await;
    let mallory = house.stack.learner("Mallory").await;
    let enrolment = alice.enrols(&course).await.created().id();
    let player = alice.watches(&course, &session).await;
    // a viewing that goes on would be given up after half a minute, which writes rows of its own
    player.stops(0).await.ok();
    let plan = operator.creates_free_plan("Monthly", "P1M").await.created().id();
    let subscription = alice.subscribes(&plan, true).await.created().id();
    let before = settled(&house.stack).await;

    bad_input::broken_json(&house).await;
    bad_input::unknown_fields(&house).await;
    bad_input::wrong_types(&house).await;
    bad_input::over_long_bodies(&house).await;
    bad_route::wrong_methods(&house).await;
    bad_route::wrong_media_types(&house).await;
    bad_input::ids_that_are_none(&house).await;
    bad_input::what_is_said_twice(&house).await;
    bad_input::idempotency_keys_that_are_none(&house).await;
    bad_input::access_is_closed_before_anything_is_read(&house).await;
    alice.registers().await.refused(409, "USER_1102");
    mallory.gets(&format!("/enrollments/{enrolment}")).await.refused(404, "ENROLL_2401");
    mallory.looks_at_subscription(&subscription).await.refused(404, "SUB_2506");
    mallory.sets_auto_renew(&subscription, false).await.refused(404, "SUB_2506");
    mallory.cancels(&subscription, false).await.refused(404, "SUB_2506");
    mallory.gets(&format!("/playback/sessions/{}", player.id)).await.refused(404, "PLAY_2305");
    let events = json!({ "events": crate::way::beats() });
    mallory
        .posts(&format!("/playback/sessions/{}/events", player.id), events)
        .await
        .refused(404, "PLAY_2305");
    mallory
        .posts(&format!("/playback/sessions/{}/stop", player.id), json!({}))
        .await
        .refused(404, "PLAY_2305");
    mallory.starts_playback(&course, &session).await.refused(403, "PLAY_2301");
    mallory.enrols(NOBODY).await.refused(404, "COURSE_2001");
    mallory.subscribes(NOBODY, true).await.refused(404, "SUB_2505");
    mallory.creates_course("Mine").await.refused(403, "COMMON_0013");
    mallory
        .adds_session(&course, "Mine", 1000, "https://videos.example.com/a.mp4")
        .await
        .refused(403, "COMMON_0013");
    mallory.publishes(NOBODY).await.refused(404, "COURSE_2001");

    let after = settled(&house.stack).await;
    let changed: Vec<_> = after.iter().filter(|(table, count)| before.get(*table) != Some(*count)).collect();
    assert!(changed.is_empty(), "refusals left rows behind: {changed:?}; before: {before:?}");
    // the count sees what a success writes
    operator.creates_course("Seen").await.created();
    let wrote = rows(&house.stack).await;
    assert_eq!(wrote["courses.courses"], before["courses.courses"] + 1);
}
