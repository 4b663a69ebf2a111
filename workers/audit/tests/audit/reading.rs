//! Reading the record: filters, pages, rights.

use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use serde_json::{Value, json};

use crate::{House, QUERY, VERIFY};
use lectern_workbench::refused;

fn seqs(answer: &lectern_harness::Answer) -> Vec<i64> {
    answer.items().iter().map(|item| item["seq"].as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn i106_entries_are_found_by_user_actor_service_kind_and_time_newest_first() {
    let house = House::start().await;
    let (alice, bob) = (UserId(house.clock.new_id()), UserId(house.clock.new_id()));
    let mut published = Vec::new();
    for (number, (service, kind, user, actor)) in [
        ("identity", "user.created", Some(alice), Some(alice)),
        ("identity", "user.created", Some(bob), Some(bob)),
        ("identity", "user.role_changed", Some(bob), Some(alice)),
        ("courses", "course.published", None, Some(alice)),
        ("identity", "user.deleted", Some(bob), None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut entry = house.entry(service, kind, user);
        entry.actor_id = actor;
        house.publishes(&entry).await;
        house.has(i64::try_from(number).unwrap() + 1).await;
        published.push(entry);
    }
    let found = async |filter: Value| seqs(&house.asks(QUERY, filter).await.ok());
    assert_eq!(found(json!({})).await, [5, 4, 3, 2, 1]);
    assert_eq!(found(json!({ "user_id": bob })).await, [5, 3, 2]);
    assert_eq!(found(json!({ "actor_id": alice })).await, [4, 3, 1]);
    assert_eq!(found(json!({ "user_id": bob, "actor_id": alice })).await, [3]);
    assert_eq!(found(json!({ "service": "courses" })).await, [4]);
    assert_eq!(found(json!({ "event_type": "user.created" })).await, [2, 1]);
    let (from, to) = (published[1].timestamp, published[3].timestamp);
    assert_eq!(found(json!({ "from": from, "to": to })).await, [3, 2]);
    assert_eq!(found(json!({ "event_type": "user.no_such" })).await, [0_i64; 0]);

    let first = house.asks(QUERY, json!({ "limit": 2 })).await.ok();
    assert_eq!(first.at("/items/0/entry"), &serde_json::to_value(&published[4]).unwrap(), "word for word");
    assert_eq!(first.at("/items/0/personal_part"), "absent");
    let second = house.asks(QUERY, json!({ "limit": 2, "cursor": first.text("/next_cursor") })).await.ok();
    assert_eq!((seqs(&first), seqs(&second)), (vec![5, 4], vec![3, 2]));
    let last = house.asks(QUERY, json!({ "limit": 2, "cursor": second.text("/next_cursor") })).await.ok();
    assert_eq!((seqs(&last), last.at("/next_cursor")), (vec![1], &Value::Null));
}

#[tokio::test]
async fn auditors_and_admins_read_the_record_and_nobody_else() {
    let house = House::start().await;
    for subject in [QUERY, VERIFY] {
        for role in [Role::Auditor, Role::Admin] {
            house.someone(role).asks(subject, json!({})).await.ok();
        }
        for role in [Role::User, Role::Moderator, Role::Operator, Role::Service] {
            let answer = house.someone(role).asks(subject, json!({})).await;
            assert_eq!(refused(&answer, 403, "COMMON_0013")["needs_permission"], "audit:read");
        }
    }
}

#[tokio::test]
async fn bad_filters_cursors_and_places_are_refused_and_named() {
    let house = House::start().await;
    for (subject, body, pointer) in [
        (QUERY, json!({ "cursor": "x" }), "/cursor"),
        (QUERY, json!({ "cursor": "-1" }), "/cursor"),
        (QUERY, json!({ "limit": 0 }), "/limit"),
        (QUERY, json!({ "limit": 101 }), "/limit"),
        (QUERY, json!({ "service": "" }), "/service"),
        (QUERY, json!({ "from": "yesterday" }), "/from"),
        (QUERY, json!({ "order": "asc" }), "/order"),
        (VERIFY, json!({ "from_seq": 0 }), "/from_seq"),
        (VERIFY, json!({ "to_seq": -5 }), "/to_seq"),
    ] {
        let answer = house.asks(subject, body).await;
        assert_eq!(refused(&answer, 400, "COMMON_0001")[0]["pointer"], pointer, "{answer}");
    }
    let empty = house.asks(VERIFY, json!({ "from_seq": i64::MAX })).await.ok();
    assert_eq!((empty.at("/ok"), empty.number("/checked"), empty.number("/head_seq")), (&json!(true), 0, 0));
}

#[tokio::test]
async fn the_record_is_read_without_personal_parts_while_identity_does_not_say() {
    let house = House::start().await;
    // this world's identity checks tokens and knows nothing of personal parts
    let mut entry = house.entry("identity", "user.logged_in", None);
    entry.private_hash = Some("0".repeat(64));
    house.publishes(&entry).await;
    house.has(1).await;
    let page = house.asks(QUERY, json!({})).await.ok();
    assert_eq!(page.at("/items/0/personal_part"), "unavailable");
    assert_eq!(
        (page.at("/items/0/ip_address"), page.at("/items/0/user_agent")),
        (&Value::Null, &Value::Null)
    );
}
