//! What the record says of a person, shown to the person (GDPR Art. 20).

use lectern_subjects::Role;
use lectern_subjects::audit::AuditEntry;
use serde_json::json;

use crate::House;

#[tokio::test]
async fn i108_the_record_shows_what_one_did_and_what_was_done_to_one_but_not_by_whom() {
    let house = House::start().await;
    let (alice, admin) = (house.someone(Role::User), house.someone(Role::Admin));
    house.publishes(&house.entry("identity", "user.updated", Some(alice.id))).await;
    let disabled = house.entry("identity", "user.disabled", Some(alice.id));
    house.publishes(&AuditEntry { actor_id: Some(admin.id), ..disabled }).await;
    house.publishes(&house.entry("identity", "user.logged_in", Some(admin.id))).await;
    house.has(3).await;
    let page = alice.asks("svc.audit.v1.privacy.export", json!({})).await.ok();
    let told = |n: usize| {
        let rows = page.at(&format!("/sections/{n}/rows")).as_array().expect("rows");
        rows.iter().map(|row| row["event_type"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((page.text("/sections/0/kind"), told(0)), ("acts".to_owned(), vec![json!("user.updated")]));
    assert_eq!(
        (page.text("/sections/1/kind"), told(1)),
        ("done_to_you".to_owned(), vec![json!("user.disabled")])
    );
    assert_eq!(page.at("/sections/1/rows/0/details"), &json!({ "why": "a test" }));
    assert!(!page.json.to_string().contains(&admin.id.to_string()), "{page}");
}
