use lectern_subjects::Role;
use lectern_subjects::courses::CourseStatus;
use lectern_subjects::enrollment::{AccessExpired, SubscriptionActivated, SubscriptionCanceled};
use serde_json::json;

use super::*;
use lectern_workbench::refused;

#[tokio::test]
async fn r4_r5_a_subscription_opens_everything_in_its_scope_during_its_period() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let everything = free_plan(&world, "P1M").await;
    let two = json!({ "price": 0, "interval": "P1M", "scope": { "courses": [course_id(1), course_id(2)] } });
    let two = plan(&world, two).await;

    let subscribed = subscribes(&alice, &everything, true).await.ok();
    assert_eq!((subscribed.text("/status"), subscribed.number("/period_index")), ("active".to_owned(), 0));
    assert_eq!(subscribed.at("/auto_renew"), &json!(true));
    for number in 1..=4 {
        let decision = access(&alice, course_id(number)).await;
        assert_eq!(decision["source"], "subscription");
        assert_eq!(decision["until"], *subscribed.at("/period_end"), "unlimited, until the period ends");
    }
    subscribes(&bob, &two, false).await.ok();
    for (number, allowed) in [(1, true), (2, true), (3, false)] {
        assert_eq!(may_use(&bob, course_id(number)).await, allowed, "course {number}");
    }
    assert_eq!(world.announced::<SubscriptionActivated>("enrollment").await.len(), 2);
}

#[tokio::test]
async fn a_plan_that_costs_begins_with_its_trial_or_is_refused_with_a_quote() {
    let world = world().await;
    let alice = world.someone(Role::User);
    let paid = plan(&world, json!({ "price": "9.99", "interval": "P1M", "scope": "catalog" })).await;
    let quote = refused(&subscribes(&alice, &paid, true).await, 402, "SUB_2507");
    assert_eq!(
        (&quote["price"], &quote["price_minor"], &quote["currency"]),
        (&json!("9.99"), &json!(999), &json!("USD"))
    );
    assert_eq!(quote["plans"][0]["id"], json!(paid));
    assert!(!may_use(&alice, course_id(1)).await);

    let trial =
        plan(&world, json!({ "price": "9.99", "interval": "P1M", "trial": "P7D", "scope": "catalog" })).await;
    let begun = subscribes(&alice, &trial, true).await.ok();
    assert_eq!(begun.text("/status"), "trialing");
    let time = |pointer| begun.text(pointer).parse::<chrono::DateTime<chrono::Utc>>().expect("a time");
    assert_eq!(time("/period_end") - time("/period_start"), chrono::TimeDelta::days(7));
    assert!(may_use(&alice, course_id(1)).await);
    refused(&subscribes(&alice, &course_id(5).to_string(), true).await, 404, "SUB_2505");
}

#[tokio::test]
async fn of_twenty_subscribers_at_once_one_lives_and_the_others_are_told_which() {
    let world = world().await;
    let alice = world.someone(Role::User);
    let plan = free_plan(&world, "P1M").await;
    let at_once: Vec<_> = (0..20)
        .map(|_| {
            let (alice, plan) = (alice.clone(), plan.clone());
            tokio::spawn(async move { subscribes(&alice, &plan, true).await })
        })
        .collect();
    let (mut won, mut named) = (Vec::new(), Vec::new());
    for one in at_once {
        let answer = one.await.expect("an answer");
        match answer.status {
            200 => won.push(answer.id()),
            409 => named.push(refused(&answer, 409, "SUB_2501")["subscription_id"].clone()),
            // a machine under load may shed; it never makes a second one
            other => assert_eq!(other, 503, "{answer}"),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    assert!(named.iter().all(|id| *id == json!(won[0])), "{named:?}");
    assert_eq!(world.count("SELECT count(*) FROM enrollment.subscriptions").await, 1);
    assert_eq!(world.announced::<SubscriptionActivated>("enrollment").await.len(), 1);
    let again = subscribes(&alice, &plan, true).await;
    assert_eq!(refused(&again, 409, "SUB_2501")["subscription_id"], json!(won[0]));
}

#[tokio::test]
async fn the_same_idempotency_key_has_one_effect_and_one_answer() {
    let world = world().await;
    let alice = world.someone(Role::User);
    let (one, two) = (free_plan(&world, "P1M").await, free_plan(&world, "P1M").await);
    let body = json!({ "plan_id": one, "auto_renew": true });
    let first = alice.asks_with(SUBSCRIBE, body.clone(), &[("Idempotency-Key", "k")]).await.ok();
    let again = alice.asks_with(SUBSCRIBE, body, &[("Idempotency-Key", "k")]).await.ok();
    assert_eq!(again.json, first.json);
    let other = json!({ "plan_id": two, "auto_renew": true });
    refused(&alice.asks_with(SUBSCRIBE, other, &[("Idempotency-Key", "k")]).await, 422, "COMMON_0007");
    assert_eq!(world.count("SELECT count(*) FROM enrollment.subscriptions").await, 1);
}

#[tokio::test]
async fn renewal_is_switched_and_a_cancellation_at_the_end_is_taken_back() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let plan = free_plan(&world, "P1M").await;
    let id = subscribes(&alice, &plan, true).await.ok().id();

    let off = alice.asks(UPDATE, json!({ "id": id, "autoRenew": false })).await.ok();
    assert_eq!((off.at("/auto_renew"), off.number("/version")), (&json!(false), 2));
    let same = alice.asks(UPDATE, json!({ "id": id, "auto_renew": false })).await.ok();
    assert_eq!(same.json, off.json, "what is so already stays as it is");
    let stale =
        alice.asks_with(UPDATE, json!({ "id": id, "auto_renew": true }), &[("If-Match", "\"1\"")]).await;
    refused(&stale, 412, "COMMON_0011");
    let on =
        alice.asks_with(UPDATE, json!({ "id": id, "auto_renew": true }), &[("If-Match", "\"2\"")]).await.ok();
    assert_eq!(on.at("/auto_renew"), &json!(true));

    let ending = alice.asks(CANCEL, json!({ "id": id })).await.ok();
    assert_eq!((ending.text("/status"), ending.at("/auto_renew")), ("active".to_owned(), &json!(false)));
    assert!(may_use(&alice, course_id(1)).await, "until the period ends");
    let back = alice.asks(UPDATE, json!({ "id": id, "auto_renew": true })).await.ok();
    assert_eq!(back.at("/auto_renew"), &json!(true));

    for (subject, body) in [
        (SUBSCRIPTION, json!({ "id": id })),
        (UPDATE, json!({ "id": id, "auto_renew": false })),
        (CANCEL, json!({ "id": id })),
        (CANCEL, json!({ "id": id, "at_period_end": false })),
    ] {
        refused(&bob.asks(subject, body).await, 404, "SUB_2506");
    }
    assert_eq!(alice.asks(SUBSCRIPTION, json!({ "id": id })).await.ok().json, back.json);
    assert!(bob.asks(SUBSCRIPTIONS, json!({})).await.ok().items().is_empty());
    assert_eq!(alice.asks(SUBSCRIPTIONS, json!({})).await.ok().items(), [back.json]);
}

#[tokio::test]
async fn a_cancellation_now_ends_access_and_timers_and_the_way_back_is_a_new_subscription() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, Some(500))]).await;
    let alice = world.someone(Role::User);
    let plan = free_plan(&world, "P1M").await;
    let id = subscribes(&alice, &plan, true).await.ok().id();
    let enrolled = alice.asks(ENROL, json!({ "course_id": course })).await.ok();
    assert_eq!(world.count("SELECT count(*) FROM enrollment.timers WHERE state = 'armed'").await, 3);

    let ended = alice.asks(CANCEL, json!({ "id": id, "at_period_end": false })).await.ok();
    assert_eq!(ended.text("/status"), "canceled");
    assert!(!ended.at("/ended_at").is_null());
    let decision = access(&alice, course).await;
    assert_eq!((&decision["allowed"], &decision["subscription_expired"]), (&json!(false), &json!(true)));
    assert_eq!(world.count("SELECT count(*) FROM enrollment.timers WHERE state = 'armed'").await, 0);
    let suspended = alice.asks(ENROLMENT, json!({ "id": enrolled.id() })).await.ok();
    assert_eq!(suspended.text("/status"), "suspended");
    let canceled = world.announced::<SubscriptionCanceled>("enrollment").await;
    assert_eq!(canceled.iter().map(|fact| fact.reason.as_str()).collect::<Vec<_>>(), ["user"]);
    assert_eq!(world.announced::<AccessExpired>("enrollment").await.len(), 1);
    refused(&alice.asks(CANCEL, json!({ "id": id })).await, 409, "SUB_2502");
    refused(&alice.asks(UPDATE, json!({ "id": id, "auto_renew": true })).await, 409, "SUB_2502");
    refused(&alice.asks(ENROL, json!({ "course_id": course })).await, 402, "ENROLL_2402");

    let next = subscribes(&alice, &plan, true).await.ok();
    assert_ne!(next.id(), id);
    let back = alice.asks(ENROLMENT, json!({ "id": enrolled.id() })).await.ok();
    assert_eq!(
        (back.text("/status"), back.text("/enrolled_at")),
        ("active".to_owned(), enrolled.text("/enrolled_at"))
    );
}

#[tokio::test]
async fn commerce_i17_losing_one_of_two_sources_keeps_access() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, Some(500))]).await;
    let alice = world.someone(Role::User);
    let everything = subscribes(&alice, &free_plan(&world, "P1M").await, true).await.ok().id();
    let one = plan(&world, json!({ "price": 0, "interval": "P1D", "scope": { "courses": [course] } })).await;
    let one = subscribes(&alice, &one, true).await.ok().id();
    let enrolled = alice.asks(ENROL, json!({ "course_id": course })).await.ok().id();

    alice.asks(CANCEL, json!({ "id": one, "at_period_end": false })).await.ok();
    let decision = access(&alice, course).await;
    assert_eq!((&decision["allowed"], &decision["subscription_expired"]), (&json!(true), &json!(false)));
    assert_eq!(alice.asks(ENROLMENT, json!({ "id": enrolled })).await.ok().text("/status"), "active");
    assert!(world.announced::<AccessExpired>("enrollment").await.is_empty());

    alice.asks(CANCEL, json!({ "id": everything, "at_period_end": false })).await.ok();
    assert!(!may_use(&alice, course).await);
    assert_eq!(alice.asks(ENROLMENT, json!({ "id": enrolled })).await.ok().text("/status"), "suspended");
    assert_eq!(world.announced::<AccessExpired>("enrollment").await.len(), 1);
}
