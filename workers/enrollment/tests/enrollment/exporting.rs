//! What enrolment shows of a person to the person (GDPR Art. 20).

use lectern_subjects::Role;
use lectern_subjects::courses::CourseStatus;
use serde_json::{Value, json};

use crate::{ENROL, course_id, free_plan, subscribes, world_with};

const EXPORT: &str = "svc.enrollment.v1.privacy.export";

#[tokio::test]
async fn i108_a_learner_gets_their_enrolments_grants_and_subscriptions_and_nobody_elses() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, None)]).await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let plan = free_plan(&world, "P1M").await;
    for who in [&alice, &bob] {
        who.asks(ENROL, json!({ "course_id": course })).await.ok();
        subscribes(who, &plan, true).await.ok();
    }
    let page = alice.asks(EXPORT, json!({})).await.ok();
    assert_eq!(page.at("/next_cursor"), &Value::Null);
    let sections = page.at("/sections").as_array().expect("sections");
    let held: Vec<(&str, usize)> = sections
        .iter()
        .map(|section| {
            (section["kind"].as_str().expect("a kind"), section["rows"].as_array().expect("rows").len())
        })
        .collect();
    assert_eq!(
        held,
        [
            ("enrollments", 1),
            ("access_grants", 2),
            ("subscriptions", 1),
            ("subscription_periods", 1),
            ("acted_from", 0)
        ]
    );
    assert_eq!(sections[0]["rows"][0]["course_id"], json!(course));
    assert_eq!(sections[2]["rows"][0]["plan_id"], plan);
    assert!(sections[3]["rows"][0]["subscription_id"] == sections[2]["rows"][0]["id"], "{page}");
    let stranger = world.someone(Role::User).asks(EXPORT, json!({})).await.ok();
    let rows = |section: &Value| section["rows"].as_array().expect("rows").len();
    assert!(stranger.at("/sections").as_array().expect("sections").iter().all(|it| rows(it) == 0));
}
