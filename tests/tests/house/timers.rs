//! The stream of timers is deleted while a subscription runs: it still expires, at most 30 s late, once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lectern_harness::{Answer, Stack, StackOptions};

use crate::shared::until;

#[expect(clippy::disallowed_methods, reason = "an onlooker has a clock of their own")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn time(answer: &Answer, pointer: &str) -> DateTime<Utc> {
    answer.text(pointer).parse().unwrap_or_else(|error| panic!("{pointer}: {error} in {answer}"))
}

#[tokio::test]
async fn a_subscription_expires_in_time_and_once_though_the_timers_stream_is_deleted() {
    let stack = Stack::start(StackOptions::default()).await;
    let operator = stack.operator().await;
    let plan = operator.creates_free_plan("Seconds", "PT10S").await.created().id();
    let alice = stack.learner("Alice").await;
    let subscription = alice.subscribes(&plan, false).await.created().id();

    let admin = async_nats::jetstream::new(stack.bus_as("admin").await.expect("connected"));
    let deleted = admin.delete_stream("TIMERS_ENROLLMENT").await.expect("deleted");
    assert!(deleted.success);
    let before = alice.looks_at_subscription(&subscription).await.ok();
    assert!(before.json["status"] == "active", "it ended before its timer could be lost: {before}");

    let expired = |it: &Answer| it.json["status"] == "expired";
    let look = async || alice.looks_at_subscription(&subscription).await.ok();
    let ended = until(Duration::from_secs(90), look, expired).await;
    let late = now() - time(&ended, "/period_end");
    println!("without its stream the timer rang {} ms late", late.num_milliseconds());
    assert!(late.num_seconds() <= 30, "more than 30 s late: {ended}");
    assert!(time(&ended, "/ended_at") >= time(&ended, "/period_end"), "early: {ended}");

    // the stream comes back, the timer does not ring again
    stack.lectern(&["provision"]).await.done().expect("provisioned");
    let told = |it: &Answer| it.items().iter().any(|item| item["kind"] == "subscription.expired");
    until(Duration::from_secs(30), async || alice.reads_notices().await.ok(), told).await;
    let next = alice.subscribes(&plan, false).await.created().id();
    let look = async || alice.looks_at_subscription(&next).await.ok();
    until(Duration::from_secs(60), look, expired).await;
    let twice =
        |it: &Answer| it.items().iter().filter(|item| item["kind"] == "subscription.expired").count() >= 2;
    let notices = until(Duration::from_secs(30), async || alice.reads_notices().await.ok(), twice).await;
    let expired = notices.items().iter().filter(|item| item["kind"] == "subscription.expired").count();
    assert_eq!(expired, 2, "not exactly once each: {notices}");
    let facts = "SELECT count(*) FROM (SELECT subject FROM enrollment.outbox UNION ALL
                     SELECT subject FROM enrollment.outbox_archive) AS every
                 WHERE subject LIKE 'evt.enrollment.v1.subscription.expired.%'";
    assert_eq!(stack.database().value(facts).await.expect("read").as_deref(), Some("2"));
}
