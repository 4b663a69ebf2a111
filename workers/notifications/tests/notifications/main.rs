//! The worker `notifications` on a real bus and database: facts in, notices out.

use lectern_subjects::Role;
use lectern_subjects::enrollment::{
    EnrollmentCreated, RenewalUpcoming, SubscriptionActivated, SubscriptionCanceled, SubscriptionExpired,
    SubscriptionRenewed, SubscriptionStatus,
};
use lectern_subjects::id::UserId;
use lectern_subjects::notifications::NotificationSent;
use lectern_subjects::playback::{CourseCompleted, SessionCompleted};
use lectern_workbench::{Person, World, refused, until};
use serde_json::{Value, json};
use uuid::Uuid;

const LIST: &str = "svc.notifications.v1.inbox.list";
const READ: &str = "svc.notifications.v1.inbox.read";

async fn world() -> World {
    let world = World::with_schema_of("notifications").await;
    world.run(lectern_notifications::service(), |core| core).await;
    world
}

fn id<I: From<Uuid>>(number: u128) -> I {
    Uuid::from_u128(number).into()
}

fn at() -> chrono::DateTime<chrono::Utc> {
    "2027-03-05T09:05:07Z".parse().expect("a time")
}

fn renewed(user_id: UserId, period_index: i32) -> SubscriptionRenewed {
    let plan_name = "Everything".to_owned();
    SubscriptionRenewed { user_id, subscription_id: id(2), plan_name, period_index, period_end: at() }
}

/// Waits until the inbox holds that many, and reads them.
async fn notices(who: &Person, count: usize) -> Vec<Value> {
    until(&format!("there are {count} notices"), async || {
        let items = who.asks(LIST, json!({ "limit": 100 })).await.ok().items().to_vec();
        (items.len() >= count).then_some(items)
    })
    .await
}

#[tokio::test]
async fn r7_each_fact_that_concerns_a_user_becomes_one_notice_of_theirs() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let (user_id, plan_name, subscription_id) = (alice.id, "Everything".to_owned(), id(2));
    let expired =
        SubscriptionExpired { user_id, subscription_id, plan_name: plan_name.clone(), ended_at: at() };
    let upcoming = RenewalUpcoming {
        user_id,
        subscription_id,
        plan_name: plan_name.clone(),
        period_end: at(),
        auto_renew: false,
    };
    let activated = SubscriptionActivated {
        user_id,
        subscription_id,
        plan_id: id(3),
        plan_name: plan_name.clone(),
        status: SubscriptionStatus::Trialing,
        period_end: at(),
    };
    let reason = "not_paid".to_owned();
    let canceled = SubscriptionCanceled { user_id, subscription_id, plan_name, reason, ended_at: at() };
    let enrolled = EnrollmentCreated { user_id, enrollment_id: id(4), course_id: id(5), enrolled_at: at() };
    let session = SessionCompleted { user_id, course_id: id(5), session_id: id(6), completed_at: at() };
    let course = CourseCompleted { user_id, course_id: id(5), completed_at: at() };
    world.tells(&world.fact(enrolled, 1)).await;
    world.tells(&world.fact(activated, 1)).await;
    world.tells(&world.fact(upcoming, 1)).await;
    world.tells(&world.fact(renewed(user_id, 1), 2)).await;
    world.tells(&world.fact(expired, 3)).await;
    world.tells(&world.fact(canceled, 3)).await;
    world.tells(&world.fact(session, 1)).await;
    world.tells(&world.fact(course, 1)).await;

    let notices = notices(&alice, 8).await;
    let kinds: Vec<_> = notices.iter().rev().filter_map(|notice| notice["kind"].as_str()).collect();
    let expected = [
        "enrollment.created",
        "subscription.activated",
        "subscription.renewal_upcoming",
        "subscription.renewed",
        "subscription.expired",
        "subscription.canceled",
        "session.completed",
        "course.completed",
    ];
    assert_eq!(kinds, expected, "in the order of the facts, newest first");
    assert_eq!(notices[3]["title"], "Everything has expired");
    assert!(notices.iter().all(|notice| notice["read_at"].is_null() && notice["body"] != ""));
    assert!(bob.asks(LIST, json!({})).await.ok().items().is_empty(), "nobody else is told");

    let told = world.announced::<NotificationSent>("notifications").await;
    let mut told: Vec<_> = told.iter().map(|fact| (json!(fact.notification_id), json!(fact.kind))).collect();
    told.reverse();
    let shown: Vec<_> = notices.iter().map(|notice| (notice["id"].clone(), notice["kind"].clone())).collect();
    assert_eq!(told, shown, "each notice is announced once");
}

#[tokio::test]
async fn a_fact_that_comes_again_is_told_once() {
    let world = world().await;
    world.run(lectern_notifications::service(), |core| core).await;
    let alice = world.someone(Role::User);
    let fact = world.fact(renewed(alice.id, 1), 2);
    for _ in 0..5 {
        world.tells(&fact).await;
    }
    world.tells(&world.fact(renewed(alice.id, 2), 3)).await;
    let notices = notices(&alice, 2).await;
    assert_eq!(notices.len(), 2);
    assert!(notices.iter().any(|notice| notice["causation_id"] == json!(fact.event_id)));
    // the last of the repetitions has been seen when nothing is left to acknowledge
    until("all facts are handled", async || {
        let consumer = world.consumer("EVENTS", "notifications").await;
        (consumer.num_pending == 0 && consumer.num_ack_pending == 0).then_some(())
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM notifications.notices").await, 2);
    assert_eq!(world.announced::<NotificationSent>("notifications").await.len(), 2);
}

#[tokio::test]
async fn a_notice_is_read_by_its_owner_and_the_first_time_counts() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    for index in 1..=3 {
        world.tells(&world.fact(renewed(alice.id, index), 1)).await;
    }
    let all = notices(&alice, 3).await;
    let first = all[0]["id"].clone();
    refused(&bob.asks(READ, json!({ "id": first })).await, 404, "NOTI_6003");
    refused(&alice.asks(READ, json!({ "id": "nonsense" })).await, 404, "NOTI_6003");
    let unread = async || alice.asks(LIST, json!({ "unread": true })).await.ok().items().len();
    assert_eq!(unread().await, 3);

    let read = alice.asks(READ, json!({ "id": first })).await.ok();
    assert!(!read.at("/read_at").is_null());
    let again = alice.asks(READ, json!({ "id": first })).await.ok();
    assert_eq!(again.json, read.json);
    assert_eq!(unread().await, 2);
    assert_eq!(alice.asks(LIST, json!({})).await.ok().items().len(), 3);
}

#[tokio::test]
async fn an_inbox_comes_in_pages_newest_first() {
    let world = world().await;
    let alice = world.someone(Role::User);
    for index in 1..=5 {
        world.tells(&world.fact(renewed(alice.id, index), 1)).await;
    }
    let all: Vec<_> = notices(&alice, 5).await.into_iter().map(|notice| notice["id"].clone()).collect();
    let (mut seen, mut cursor) = (Vec::new(), json!(null));
    loop {
        let page = alice.asks(LIST, json!({ "limit": 2, "cursor": cursor })).await.ok();
        assert!(page.items().len() <= 2);
        seen.extend(page.items().iter().map(|notice| notice["id"].clone()));
        cursor = page.at("/next_cursor").clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen, all);
    refused(&alice.asks(LIST, json!({ "cursor": "nonsense" })).await, 400, "COMMON_0001");
    refused(&alice.asks(LIST, json!({ "unseen": true })).await, 400, "COMMON_0001");
}

#[tokio::test]
async fn i108_an_inbox_of_any_length_is_exported_page_by_page_each_notice_once() {
    let world = world().await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    for (who, count) in [(&alice, 2500), (&bob, 10)] {
        // one is as long as three pages are rows of others
        let rows = format!(
            "INSERT INTO notifications.notices (id, user_id, kind, title, body, causation_id, dedupe_key, created_at)
             SELECT gen_random_uuid(), '{}', 'k', 't', repeat('x', CASE n WHEN 7 THEN 60000 ELSE 300 END), gen_random_uuid(), n, now()
             FROM generate_series(1, {count}) n",
            who.id
        );
        world.database.execute(&rows).await.expect("notices");
    }
    let (mut seen, mut cursor, mut pages) = (std::collections::BTreeSet::new(), Value::Null, 0);
    loop {
        let asked = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let page = alice.asks("svc.notifications.v1.privacy.export", asked).await.ok();
        assert!(page.body.len() <= 512 * 1024, "{} bytes", page.body.len());
        pages += 1;
        for row in page.json.pointer("/sections/0/rows").and_then(Value::as_array).into_iter().flatten() {
            if row["title"] == "t" {
                assert!(seen.insert(row["id"].to_string()), "{row} comes twice");
            }
        }
        cursor = page.at("/next_cursor").clone();
        if cursor.is_null() {
            break;
        }
    }
    assert!(pages >= 3 && seen.len() == 2500, "{} notices in {pages} pages", seen.len());
    let made_up = json!({ "cursor": "eyJraW5kIjoibm90aWNlcyIsImFmdGVyIjp7ImlkIjoieCJ9fQ" });
    let answer = alice.asks("svc.notifications.v1.privacy.export", made_up).await;
    assert_eq!(refused(&answer, 400, "COMMON_0001")[0]["pointer"], "/cursor");
}
