//! Plans that last seconds: everything here waits for real timers.

use std::time::Duration;

use lectern_harness::Answer;
use lectern_subjects::Role;
use lectern_subjects::courses::CourseStatus;
use lectern_subjects::enrollment::{
    AccessExpired, RenewalUpcoming, SubscriptionCanceled, SubscriptionExpired, SubscriptionRenewed,
};
use serde_json::{Value, json};

use super::*;
use lectern_workbench::{Person, World, until};

/// Waits until the subscription looks like this.
async fn becomes(who: &Person, id: &str, what: &str, looks: impl Fn(&Value) -> bool) -> Answer {
    until(&format!("the subscription {what}"), async || {
        let answer = who.asks(SUBSCRIPTION, json!({ "id": id })).await;
        (answer.status == 200 && looks(&answer.json)).then_some(answer)
    })
    .await
}

async fn ends(who: &Person, id: &str) -> Answer {
    becomes(who, id, "ends", |it| !it["ended_at"].is_null()).await
}

/// Invariant I14: periods are numbered without a hole, and each begins where the one before ended.
async fn periods_follow_each_other(world: &World, renewed: i64) {
    let gaps = "SELECT count(*) FROM enrollment.subscription_periods AS one
                LEFT JOIN enrollment.subscription_periods AS before
                  ON before.subscription_id = one.subscription_id AND before.period_index = one.period_index - 1
                WHERE one.period_index > 0 AND before.ends_at IS DISTINCT FROM one.starts_at";
    assert_eq!(world.count(gaps).await, 0, "a gap or an overlap");
    assert_eq!(world.count("SELECT max(period_index) FROM enrollment.subscription_periods").await, renewed);
    let told = world.announced::<SubscriptionRenewed>("enrollment").await;
    let indexes: Vec<i64> = told.iter().map(|fact| fact.period_index.into()).collect();
    assert_eq!(indexes, (1..=renewed).collect::<Vec<_>>(), "each renewal is told once, in order");
}

#[tokio::test]
async fn r6_r7_a_subscription_renews_and_after_renewal_is_switched_off_expires_once() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, Some(500))]).await;
    let alice = world.someone(Role::User);
    let id = subscribes(&alice, &free_plan(&world, "PT2S").await, true).await.ok().id();
    let enrolled = alice.asks(ENROL, json!({ "course_id": course })).await.ok().id();

    becomes(&alice, &id, "renews twice", |it| it["period_index"].as_i64() >= Some(2)).await;
    alice.asks(UPDATE, json!({ "id": id, "auto_renew": false })).await.ok();
    let ended = ends(&alice, &id).await;
    assert_eq!(ended.text("/status"), "expired");
    assert_eq!(ended.at("/ended_at"), ended.at("/period_end"), "it ended when its period did");
    tokio::time::sleep(Duration::from_secs(3)).await; // another period would have ended by now

    periods_follow_each_other(&world, ended.number("/period_index")).await;
    let expired = world.announced::<SubscriptionExpired>("enrollment").await;
    assert_eq!(expired.iter().map(|fact| json!(fact.subscription_id)).collect::<Vec<_>>(), [json!(id)]);
    assert_eq!(world.announced::<AccessExpired>("enrollment").await.len(), 1);
    let decision = access(&alice, course).await;
    assert_eq!((&decision["allowed"], &decision["subscription_expired"]), (&json!(false), &json!(true)));
    assert_eq!(alice.asks(ENROLMENT, json!({ "id": enrolled })).await.ok().text("/status"), "suspended");
    assert_eq!(world.count("SELECT count(*) FROM enrollment.timers WHERE state = 'armed'").await, 0);
}

#[tokio::test]
async fn r7_the_reminder_comes_before_the_end_and_says_whether_it_renews() {
    let world = world().await;
    let alice = world.someone(Role::User);
    let id = subscribes(&alice, &free_plan(&world, "PT8S").await, false).await.ok().id();
    let reminded =
        until("a reminder", async || world.announced::<RenewalUpcoming>("enrollment").await.pop()).await;
    assert_eq!((json!(reminded.subscription_id), reminded.auto_renew), (json!(id), false));
    assert_eq!(ends(&alice, &id).await.text("/status"), "expired");

    let facts = "SELECT string_agg(split_part(subject, '.', 5), ' ' ORDER BY seq) FROM (
                   SELECT seq, subject FROM enrollment.outbox UNION SELECT seq, subject FROM enrollment.outbox_archive
                 ) AS announced WHERE subject LIKE 'evt.%.subscription.%'";
    let order = world.database.value(facts).await.expect("read");
    assert_eq!(order.as_deref(), Some("activated renewal_upcoming expired"));
}

#[tokio::test]
async fn a_trial_that_nobody_paid_for_ends_and_so_does_what_its_user_cancelled() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let trial =
        plan(&world, json!({ "price": 9, "interval": "P1M", "trial": "PT2S", "scope": "catalog" })).await;
    let unpaid = subscribes(&alice, &trial, true).await.ok().id();
    let cancelled = subscribes(&bob, &free_plan(&world, "PT2S").await, true).await.ok().id();
    bob.asks(CANCEL, json!({ "id": cancelled, "at_period_end": true })).await.ok();

    assert_eq!(ends(&alice, &unpaid).await.text("/status"), "canceled");
    assert_eq!(ends(&bob, &cancelled).await.text("/status"), "canceled");
    let mut reasons: Vec<_> = world
        .announced::<SubscriptionCanceled>("enrollment")
        .await
        .into_iter()
        .map(|fact| (json!(fact.subscription_id), fact.reason))
        .collect();
    reasons.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(reasons, [(json!(unpaid), "not_paid".to_owned()), (json!(cancelled), "user".to_owned())]);
    assert!(world.announced::<SubscriptionRenewed>("enrollment").await.is_empty());
    assert!(!may_use(&alice, course_id(1)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn commerce_i14_no_period_begins_twice_under_duplicated_rings_and_two_processes() {
    let world = world().await;
    world.run(lectern_enrollment::service(), |core| core).await;
    let alice = world.someone(Role::User);
    let id = subscribes(&alice, &free_plan(&world, "PT1S").await, true).await.ok().id();
    let rows = "SELECT json_build_object('timer', id, 'entity', entity, 'generation', generation,
                  'due', to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))
                FROM enrollment.timers WHERE kind = 'period_end'";
    let mut published = 0;
    until("five periods have passed", async || {
        let ring = world.database.value(rows).await.expect("read").expect("a timer");
        for _ in 0..3 {
            let sent = world.broker().publish("timers.enrollment.due.period_end", ring.clone().into()).await;
            sent.expect("sent").await.expect("stored");
            published += 1;
        }
        let it = alice.asks(SUBSCRIPTION, json!({ "id": id })).await.ok();
        (it.number("/period_index") >= 5).then_some(())
    })
    .await;
    assert!(published >= 15);
    until("all rings are handled", async || {
        let consumer = world.consumer("TIMERS_ENROLLMENT", "due").await;
        (consumer.num_pending == 0).then_some(())
    })
    .await;
    alice.asks(UPDATE, json!({ "id": id, "auto_renew": false })).await.ok();
    let ended = ends(&alice, &id).await;
    periods_follow_each_other(&world, ended.number("/period_index")).await;
    assert_eq!(world.announced::<SubscriptionExpired>("enrollment").await.len(), 1);
    let dead = world.broker().get_stream("DEAD").await.expect("the stream DEAD");
    assert_eq!(dead.cached_info().state.messages, 0, "each of the rings was understood");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_in_the_moment_of_a_ring_ends_the_subscription_once() {
    let world = world().await;
    let plan = free_plan(&world, "PT2S").await;
    let mut at_once = Vec::new();
    for _ in 0..10 {
        let alice = world.someone(Role::User);
        let begun = subscribes(&alice, &plan, true).await.ok();
        let end: chrono::DateTime<chrono::Utc> = begun.text("/period_end").parse().expect("a time");
        let clock = world.clock.clone();
        at_once.push(tokio::spawn(async move {
            tokio::time::sleep((end - clock.now()).to_std().unwrap_or_default()).await;
            let cancel = json!({ "id": begun.id(), "at_period_end": false });
            loop {
                let answer = alice.asks(CANCEL, cancel.clone()).await;
                // a lock that was waited for too long is asked again; nothing was changed
                if answer.status != 503 {
                    return answer.ok();
                }
            }
        }));
    }
    for one in at_once {
        assert_eq!(one.await.expect("an answer").text("/status"), "canceled");
    }
    tokio::time::sleep(Duration::from_secs(3)).await; // another period would have ended by now
    assert_eq!(world.announced::<SubscriptionCanceled>("enrollment").await.len(), 10);
    assert_eq!(world.count("SELECT count(*) FROM enrollment.timers WHERE state = 'armed'").await, 0);
}

#[tokio::test]
async fn after_a_long_pause_each_period_is_caught_up_with_once() {
    let world = World::with_schema_of("enrollment").await;
    let first = world.run(lectern_enrollment::service(), |core| core).await;
    let alice = world.someone(Role::User);
    let id = subscribes(&alice, &free_plan(&world, "PT4S").await, true).await.ok().id();
    first.stop().await;
    // a pause of 1000 seconds, without the wait
    for (table, columns) in [
        ("subscriptions", &["period_start", "period_end", "anchor"][..]),
        ("subscription_periods", &["starts_at", "ends_at"]),
        ("access_grants", &["starts_at", "ends_at"]),
        ("timers", &["due_at"]),
    ] {
        let shifts: Vec<_> = columns.iter().map(|it| format!("{it} = {it} - interval '1000 s'")).collect();
        let sql = format!("UPDATE enrollment.{table} SET {}", shifts.join(", "));
        world.database.execute(&sql).await.expect("the past");
    }
    assert!(world.announced::<SubscriptionRenewed>("enrollment").await.is_empty());

    world.run(lectern_enrollment::service(), |core| core).await;
    becomes(&alice, &id, "has caught up", |it| it["period_index"].as_i64() >= Some(250)).await;
    assert!(may_use(&alice, course_id(1)).await);
    alice.asks(UPDATE, json!({ "id": id, "auto_renew": false })).await.ok();
    let ended = ends(&alice, &id).await;
    periods_follow_each_other(&world, ended.number("/period_index")).await;
}

#[tokio::test]
async fn without_its_timers_stream_access_ends_on_time_or_goes_on_and_the_subscription_ends_or_renews() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let plan = free_plan(&world, "PT3S").await;
    let renewing = subscribes(&bob, &plan, true).await.ok().id();
    let ending = subscribes(&alice, &plan, false).await.ok();
    world.delete_stream("TIMERS_ENROLLMENT").await;
    assert!(may_use(&alice, course_id(1)).await);
    let end: chrono::DateTime<chrono::Utc> = ending.text("/period_end").parse().expect("a time");
    let left = (end - world.clock.now()).to_std().unwrap_or_default();
    tokio::time::sleep(left + Duration::from_millis(1)).await;
    assert!(!may_use(&alice, course_id(1)).await, "access goes by the clock, whatever the timers do");
    assert!(may_use(&bob, course_id(1)).await, "a late timer takes nothing from who renews");

    assert_eq!(ends(&alice, &ending.id()).await.text("/status"), "expired");
    assert_eq!(world.announced::<SubscriptionExpired>("enrollment").await.len(), 1);
    becomes(&bob, &renewing, "renews", |it| it["period_index"].as_i64() >= Some(1)).await;
    assert!(may_use(&bob, course_id(1)).await);
}
