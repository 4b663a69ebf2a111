//! A process that dies between commit and publish: the fact still comes, once in effect (issue: fault point; B-tests of
//! reliability §2).

use std::time::Duration;

use lectern_harness::{Actor, Stack, StackOptions};
use reqwest::Method;
use serde_json::json;

use crate::shared::until;

const PATIENCE: Duration = Duration::from_secs(60);

/// Everything but enrolment; its process comes and goes.
async fn stack() -> (Stack, Actor, String) {
    let others = "gateway,identity,courses,content,playback,notifications";
    let stack = Stack::start(StackOptions::default().processes([others])).await;
    let operator = stack.operator().await;
    let mut enrollment = stack.start_roles("enrollment", &[]).await;
    let plan = operator.creates_free_plan("Monthly", "P1M").await.created().id();
    let alice = stack.learner("Alice").await;
    enrollment.terminate().await.expect("an orderly end");
    (stack, alice, plan)
}

async fn count(stack: &Stack, sql: &str) -> String {
    stack.database().value(sql).await.expect("read").unwrap_or_default()
}

/// Subscribes while `fault` is set, sees the process die, starts a sound one, retries with the same key: one
/// subscription, one fact, one notice.
async fn dies_at(fault: &str) {
    let (stack, alice, plan) = stack().await;
    let mut doomed = stack.start_roles("enrollment", &[("LECTERN_FAULTS", fault)]).await;
    let subscribe = || {
        let body = json!({ "plan_id": plan, "auto_renew": true });
        alice.asks(Method::POST, "/subscriptions").key("once").json(body).send()
    };
    let (first, died) = tokio::join!(subscribe(), doomed.ends_within(Duration::from_secs(30)));
    assert!(died.is_some(), "it did not die at {fault}: {first}");
    // an answer that came before the end is one; else nobody knows, and the answer says so
    match first.status {
        201 => assert!(fault.starts_with("relay"), "{fault}: answered by a dead process: {first}"),
        _ => assert_eq!(first.refused(504, "COMMON_0009").at("/details/outcome"), "unknown"),
    }
    assert_eq!(
        count(&stack, "SELECT count(*) FROM enrollment.subscriptions").await,
        "1",
        "{fault}: not committed"
    );

    let _sound = stack.start_roles("enrollment", &[]).await;
    let answer = until(PATIENCE, subscribe, |it| it.status < 500).await.created();
    assert_eq!(subscribe().await.created().body, answer.body);
    let notices =
        until(PATIENCE, async || alice.reads_notices().await.ok(), |it| !it.items().is_empty()).await;
    assert_eq!(notices.at("/items/0/kind"), "subscription.activated");
    // a second one would have come by the same way: once another fact has passed it, there is none
    alice.cancels(answer.id(), false).await.ok();
    let told =
        |it: &lectern_harness::Answer| it.items().iter().any(|item| item["kind"] == "subscription.canceled");
    let notices = until(PATIENCE, async || alice.reads_notices().await.ok(), told).await;
    let activated = notices.items().iter().filter(|item| item["kind"] == "subscription.activated").count();
    assert_eq!(activated, 1, "{fault}: not exactly once: {notices}");
    assert_eq!(count(&stack, "SELECT count(*) FROM enrollment.subscriptions").await, "1");
}

#[tokio::test]
async fn a_process_killed_after_commit_and_before_publish_loses_no_fact() {
    dies_at("tx.after_commit=abort@1").await;
}

#[tokio::test]
async fn a_process_killed_before_the_relay_publishes_loses_no_fact() {
    dies_at("relay.before_publish=abort@1").await;
}

#[tokio::test]
async fn a_process_killed_after_the_relay_published_tells_it_once() {
    dies_at("relay.after_publish=abort@1").await;
}

/// The process that writes the audit record dies there; another one goes on. Every entry is in the chain once.
async fn the_record_survives(fault: &str) {
    let others = "gateway,identity,courses,content,playback,enrollment,notifications";
    let stack = Stack::start(StackOptions::default().processes([others])).await;
    let mut doomed = stack.start_roles("audit", &[("LECTERN_FAULTS", fault)]).await;
    let auditor = stack.auditor().await;
    for name in ["Alice", "Bob"] {
        stack.learner(name).await;
    }
    assert!(doomed.ends_within(PATIENCE).await.is_some(), "it did not die at {fault}");
    let _sound = stack.start_roles("audit", &[]).await;
    stack.learner("Carol").await;
    let written = "SELECT count(*) FROM (SELECT id, stream FROM identity.outbox UNION ALL
        SELECT id, stream FROM identity.outbox_archive) AS written WHERE stream = 'AUDIT'";
    let written = count(&stack, written).await;
    // what was not acknowledged comes again when its 30 s are over
    let admin = async_nats::jetstream::new(stack.bus_as("admin").await.expect("admin"));
    let stream = admin.get_stream("AUDIT").await.expect("AUDIT");
    for tries in 0.. {
        let info = stream.consumer_info("chain").await.expect("the consumer");
        let stored = admin.get_stream("AUDIT").await.expect("AUDIT").cached_info().state.messages.to_string();
        if stored == written && info.num_pending == 0 && info.num_ack_pending == 0 {
            break;
        }
        assert!(tries < 240, "{fault}: not settled: {stored} of {written} stored, {info:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let recorded = count(&stack, "SELECT count(*) FROM audit.entries").await;
    assert_eq!(recorded, written, "{fault}: not exactly once");
    let verified = auditor.gets("/admin/audit/verify").await.ok();
    assert_eq!(verified.at("/ok"), true, "{fault}: {verified}");
    assert_eq!(verified.at("/checked").to_string(), written, "{fault}: {verified}");
}

#[tokio::test]
async fn identity_i11_a_process_killed_before_it_commits_to_the_record_loses_no_entry() {
    the_record_survives("tx.before_commit=abort@1").await;
}

#[tokio::test]
async fn identity_i11_a_process_killed_between_commit_and_ack_records_no_entry_twice() {
    the_record_survives("drain.before_ack=abort@1").await;
}

#[tokio::test]
async fn a_follower_killed_between_commit_and_ack_tells_it_once() {
    let others = "gateway,identity,courses,content,playback,enrollment";
    let stack = Stack::start(StackOptions::default().processes([others])).await;
    let operator = stack.operator().await;
    let plan = operator.creates_free_plan("Monthly", "P1M").await.created().id();
    let alice = stack.learner("Alice").await;
    let faults = [("LECTERN_FAULTS", "follow.before_ack=abort@1")];
    let mut doomed = stack.start_roles("notifications", &faults).await;
    let subscription = alice.subscribes(&plan, true).await.created().id();
    assert!(doomed.ends_within(PATIENCE).await.is_some(), "it did not die");
    assert_eq!(count(&stack, "SELECT count(*) FROM notifications.notices").await, "1", "not committed");
    let _sound = stack.start_roles("notifications", &[]).await;
    alice.cancels(&subscription, false).await.ok();
    let told = |it: &lectern_harness::Answer| it.items().len() >= 2;
    until(PATIENCE, async || alice.reads_notices().await.ok(), told).await;
    // the unacknowledged one comes again when its 30 s are over
    let again = "SELECT count(*) FROM notifications.inbox";
    tokio::time::sleep(Duration::from_secs(33)).await;
    let notices = alice.reads_notices().await.ok();
    assert_eq!(notices.items().len(), 2, "told twice; {} facts in: {notices}", count(&stack, again).await);
}
