use lectern_subjects::Role;
use lectern_subjects::courses::{CoursePublished, CourseStatus, CourseUpdated};
use lectern_subjects::enrollment::EnrollmentCreated;
use lectern_subjects::id::CourseId;
use lectern_subjects::playback::CourseCompleted;
use serde_json::json;

use super::*;
use lectern_workbench::{World, refused, until};

fn published(course: CourseId, price_minor: Option<i64>) -> CoursePublished {
    let currency = price_minor.map(|_| "USD".to_owned());
    CoursePublished { course_id: course, title: "Rust".to_owned(), price_minor, currency }
}

async fn knows(world: &World, course: CourseId, title: &str) {
    let sql = format!("SELECT count(*) FROM enrollment.courses WHERE id = '{course}' AND title = '{title}'");
    until("the course is known", async || (world.count(&sql).await == 1).then_some(())).await;
}

#[tokio::test]
async fn r1_r2_r3_who_enrols_in_a_free_course_has_access_and_the_date_is_recorded() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, None)]).await;
    let alice = world.someone(Role::User);
    assert!(!may_use(&alice, course).await, "a free course needs an enrolment, too");

    let before = world.clock.now();
    let enrolled = alice.asks(ENROL, json!({ "course_id": course })).await.ok();
    assert_eq!((enrolled.text("/status"), enrolled.at("/user_id")), ("active".to_owned(), &json!(alice.id)));
    let at: chrono::DateTime<chrono::Utc> = enrolled.text("/enrolled_at").parse().expect("a time");
    assert!(before <= at && at <= world.clock.now(), "{at}");
    let decision = access(&alice, course).await;
    assert_eq!(
        decision,
        json!({ "allowed": true, "source": "free", "until": null, "subscription_expired": false })
    );
    assert!(!may_use(&alice, course_id(2)).await, "and to nothing else");
    assert!(!may_use(&world.someone(Role::User), course).await, "and nobody else");

    let read = alice.asks(ENROLMENT, json!({ "id": enrolled.id() })).await.ok();
    assert_eq!((read.json, read.headers.get("etag").map(String::as_str)), (enrolled.json, Some("\"1\"")));
}

#[tokio::test]
async fn enrolling_twice_gives_the_same_enrolment_and_says_so() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, None)]).await;
    let alice = world.someone(Role::User);
    let first = alice.asks(ENROL, json!({ "courseId": course })).await.ok();
    assert_eq!(first.headers.get("lectern-existing"), None);
    let second = alice.asks(ENROL, json!({ "course_id": course })).await.ok();
    assert_eq!(second.json, first.json);
    assert_eq!(second.header("lectern-existing"), "true");

    let bob = world.someone(Role::User);
    let body = json!({ "course_id": course });
    let at_once: Vec<_> = (0..8)
        .map(|_| {
            let (bob, body) = (bob.clone(), body.clone());
            tokio::spawn(async move { bob.asks(ENROL, body).await })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for one in at_once {
        let answer = one.await.expect("an answer");
        // a machine under load may shed; it never answers with a second enrolment
        if answer.status == 200 {
            ids.insert(answer.id());
        } else {
            assert_eq!(answer.status, 503, "{answer}");
        }
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM enrollment.enrollments").await, 2);
    assert_eq!(world.announced::<EnrollmentCreated>("enrollment").await.len(), 2);
}

#[tokio::test]
async fn a_priced_course_must_be_bought_and_the_quote_names_the_plans_that_open_it() {
    let (course, other) = (course_id(1), course_id(2));
    let world = world_with([(course, CourseStatus::Published, Some(2999))]).await;
    let alice = world.someone(Role::User);
    let everything = free_plan(&world, "P1M").await;
    let this =
        plan(&world, json!({ "price": "5", "interval": "P1M", "scope": { "courses": [course, other] } }))
            .await;
    plan(&world, json!({ "price": 1, "interval": "P1M", "scope": { "courses": [other] } })).await;

    let answer = alice.asks(ENROL, json!({ "course_id": course })).await;
    let quote = refused(&answer, 402, "ENROLL_2402");
    assert_eq!(
        (&quote["price"], &quote["price_minor"], &quote["currency"]),
        (&json!("29.99"), &json!(2999), &json!("USD"))
    );
    let plans: Vec<_> =
        quote["plans"].as_array().expect("plans").iter().map(|plan| plan["id"].clone()).collect();
    assert_eq!(plans, [json!(this), json!(everything)]);
    assert_eq!(
        world.count("SELECT count(*) FROM enrollment.enrollments").await,
        0,
        "nothing is half-written"
    );

    subscribes(&alice, &everything, true).await.ok();
    alice.asks(ENROL, json!({ "course_id": course })).await.ok();
    assert_eq!(access(&alice, course).await["source"], "subscription");
}

#[tokio::test]
async fn a_course_that_is_no_course_or_a_draft_is_not_found() {
    let (draft, archived) = (course_id(1), course_id(2));
    let world =
        world_with([(draft, CourseStatus::Draft, None), (archived, CourseStatus::Archived, None)]).await;
    let alice = world.someone(Role::User);
    for course in [json!(draft), json!(archived), json!(course_id(3)), json!("no id at all")] {
        let answer = alice.asks(ENROL, json!({ "course_id": course })).await;
        refused(&answer, 404, "COURSE_2001");
    }
    refused(&alice.asks(ENROL, json!({})).await, 400, "COMMON_0001");
    refused(&alice.asks(ENROL, json!({ "course_id": draft, "free": true })).await, 400, "COMMON_0001");
}

#[tokio::test]
async fn a_followed_course_needs_no_question_and_a_late_fact_never_overwrites_a_newer_one() {
    let world = world().await; // nobody answers for courses
    let (course, free, unknown) = (course_id(1), course_id(2), course_id(3));
    world.tells(&world.fact(published(course, Some(100)), 5)).await;
    world.tells(&world.fact(published(course, None), 3)).await;
    let renamed = CourseUpdated { course_id: course, title: "Rust, again".to_owned() };
    world.tells(&world.fact(renamed, 6)).await;
    world.tells(&world.fact(published(free, None), 1)).await;
    knows(&world, course, "Rust, again").await;
    knows(&world, free, "Rust").await;
    let alice = world.someone(Role::User);
    let quote = refused(&alice.asks(ENROL, json!({ "course_id": course })).await, 402, "ENROLL_2402");
    assert_eq!((&quote["price"], &quote["title"]), (&json!("1.00"), &json!("Rust, again")));
    alice.asks(ENROL, json!({ "course_id": free })).await.ok();
    refused(&alice.asks(ENROL, json!({ "course_id": unknown })).await, 503, "COMMON_0010");
}

#[tokio::test]
async fn enrolments_are_their_owners_and_come_in_pages() {
    let courses: Vec<_> = (1..=5).map(|number| (course_id(number), CourseStatus::Published, None)).collect();
    let world = world_with(courses.clone()).await;
    let (alice, bob) = (world.someone(Role::User), world.someone(Role::User));
    let mut made = Vec::new();
    for (course, ..) in courses {
        made.push(alice.asks(ENROL, json!({ "course_id": course })).await.ok().id());
    }
    refused(&bob.asks(ENROLMENT, json!({ "id": made[0] })).await, 404, "ENROLL_2401");
    refused(&alice.asks(ENROLMENT, json!({ "id": "nonsense" })).await, 404, "ENROLL_2401");
    assert!(bob.asks(ENROLMENTS, json!({})).await.ok().items().is_empty());

    let (mut seen, mut cursor) = (Vec::new(), json!(null));
    loop {
        let page = alice.asks(ENROLMENTS, json!({ "limit": 2, "cursor": cursor })).await.ok();
        assert!(page.items().len() <= 2);
        seen.extend(page.items().iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        cursor = page.at("/next_cursor").clone();
        if cursor.is_null() {
            break;
        }
    }
    made.reverse();
    assert_eq!(seen, made, "newest first, none twice, none left out");
    refused(&alice.asks(ENROLMENTS, json!({ "cursor": "nonsense" })).await, 400, "COMMON_0001");
    refused(&alice.asks(ENROLMENTS, json!({ "limit": 101 })).await, 400, "COMMON_0001");
}

#[tokio::test]
async fn who_completes_a_course_has_completed_the_enrolment() {
    let course = course_id(1);
    let world = world_with([(course, CourseStatus::Published, None)]).await;
    let alice = world.someone(Role::User);
    let id = alice.asks(ENROL, json!({ "course_id": course })).await.ok().id();
    let completed = CourseCompleted { user_id: alice.id, course_id: course, completed_at: world.clock.now() };
    world.tells(&world.fact(completed, 1)).await;
    until("the enrolment is completed", async || {
        let answer = alice.asks(ENROLMENT, json!({ "id": id })).await.ok();
        (answer.text("/status") == "completed").then_some(())
    })
    .await;
    assert!(may_use(&alice, course).await, "and the course stays open");
    let again = alice.asks(ENROL, json!({ "course_id": course })).await.ok();
    assert_eq!((again.id(), again.text("/status")), (id, "completed".to_owned()));
}

#[tokio::test]
async fn staff_may_use_every_course() {
    let world = world().await;
    for role in [Role::Operator, Role::Admin] {
        let decision = access(&world.someone(role), course_id(1)).await;
        assert_eq!((&decision["allowed"], &decision["source"]), (&json!(true), &json!("admin")), "{role}");
    }
    for role in [Role::User, Role::Moderator, Role::Auditor] {
        assert!(!may_use(&world.someone(role), course_id(1)).await, "{role}");
    }
}
