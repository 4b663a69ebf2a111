//! Every request of the contract, refused for the same reason on both roads with the same document.

use lectern_harness::Actor;
use serde_json::{Value, json};

use crate::contract::{Access, Field, Operation, Place, Route};
use crate::road::Doors;
use crate::shared::house;

/// Inputs that change nothing wherever they are sent: each is bad by itself, or names what does not exist.
fn bad_inputs(operation: &Operation, route: &Route) -> Vec<Value> {
    let example = &operation.example;
    let mut inputs = vec![with(example, "no_such_field", json!(true))];
    let in_path = |field: &&Field| field.place == Place::Path;
    let mut bare = json!({});
    for field in route.fields.iter().filter(in_path) {
        bare[&field.name] = example[&field.name].clone();
    }
    for field in route.fields.iter().filter(|field| !in_path(field)) {
        match field.place {
            Place::Query if field.typed => inputs.push(with(example, &field.name, json!("many"))),
            Place::Body if !field.anything => {
                inputs.push(with(example, &field.name, json!([[1]])));
                inputs.push(with(example, &field.name, json!("\u{0}")));
            }
            _ => {}
        }
        if field.required {
            inputs.push(bare.clone());
            inputs.push(without(example, &field.name));
        }
    }
    inputs
}

fn with(example: &Value, field: &str, value: Value) -> Value {
    let mut input = example.clone();
    input[field] = value;
    input
}

fn without(example: &Value, field: &str) -> Value {
    let mut input = example.clone();
    input.as_object_mut().expect("an object").remove(field);
    input
}

/// Whoever the request is for.
fn fitting(operation: &Operation, admin: &Actor) -> Option<Actor> {
    (operation.access != Access::Public).then(|| admin.clone())
}

#[tokio::test]
async fn bad_input_is_refused_alike_on_both_roads() {
    let house = house().await;
    let doors = house.doors().await;
    let admin = house.staff("admin");
    // what a provider's redirect brings has its other half in cookies, which the bus has not: oidc.rs shows both roads
    for (operation, route) in house.contract.routed().filter(|(_, route)| !route.ignores_others) {
        let who = fitting(operation, &admin);
        for input in bad_inputs(operation, route) {
            let answer = doors.both(who.as_ref(), &operation.subject, &input).await;
            assert!(answer.status == 400, "not refused: {answer}");
        }
    }
}

#[tokio::test]
async fn who_may_not_is_refused_alike_on_both_roads() {
    let house = house().await;
    let doors = house.doors().await;
    let learner = house.stack.learner("Larry").await;
    let forged = house.stack.anonymous();
    forged.carries("eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.e30.AAAA");
    for (operation, _) in house.contract.routed() {
        let example = &operation.example;
        if operation.access == Access::Public {
            continue;
        }
        doors.both(None, &operation.subject, example).await.refused(401, "USER_1006");
        doors.both(Some(&forged), &operation.subject, example).await.refused(401, "USER_1006");
        if let Access::Roles(_) = operation.access {
            doors.both(Some(&learner), &operation.subject, example).await.refused(403, "COMMON_0013");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_theirs_is_not_found_alike_on_both_roads() {
    let house = house().await;
    let doors = house.doors().await;
    let learner = house.stack.learner("Lily").await;
    let mut asked = 0;
    for (operation, route) in house.contract.routed() {
        let unknown = route.fields.iter().any(|field| field.place == Place::Path);
        // a provider's redirect: as above
        if !unknown || route.ignores_others || matches!(operation.access, Access::Roles(_)) {
            continue;
        }
        let answer = doors.both(Some(&learner), &operation.subject, &operation.example).await;
        // a question about one's own access or progress has an answer for any course
        let about_oneself = route.path.ends_with("/me");
        assert!(answer.status == 404 || about_oneself, "found what is not there: {answer}");
        asked += 1;
    }
    assert!(asked > 10, "only {asked} requests name something");
    unknown_body_ids(&doors, &learner).await;
}

/// Ids that travel in the body.
async fn unknown_body_ids(doors: &Doors<'_>, learner: &Actor) {
    for (subject, code) in [
        ("svc.enrollment.v1.enrollments.create", "COURSE_2001"),
        ("svc.enrollment.v1.subscriptions.create", "SUB_2505"),
        ("svc.playback.v1.sessions.start", "COURSE_2006"),
    ] {
        let example = &doors.contract.of(subject).example;
        doors.both(Some(learner), subject, example).await.refused(404, code);
    }
}

#[tokio::test]
async fn reads_are_answered_alike_on_both_roads() {
    let house = house().await;
    let doors = house.doors().await;
    let operator = house.staff("operator");
    let (course, session) = house.stack.published_course(&operator, "Both roads").await;
    let learner = house.stack.learner("Lou").await;
    let enrolment = learner.enrols(&course).await.created().id();
    for (subject, input) in [
        ("svc.courses.v1.courses.get", json!({ "id": course })),
        ("svc.courses.v1.courses.list", json!({ "q": "Both roads", "limit": 1 })),
        ("svc.courses.v1.sessions.list", json!({ "course_id": course })),
        ("svc.courses.v1.sessions.get", json!({ "course_id": course, "session_id": session })),
        ("svc.enrollment.v1.enrollments.get", json!({ "id": enrolment })),
        ("svc.enrollment.v1.enrollments.list", json!({})),
        ("svc.enrollment.v1.access.check", json!({ "course_id": course })),
        ("svc.playback.v1.sessions.progress", json!({ "course_id": course })),
        ("svc.identity.v1.users.me_get", json!({})),
        ("svc.identity.v1.token.jwks", json!({})),
    ] {
        let http = doors.both(Some(&learner), subject, &input).await.ok();
        let bus = house.bus_of(&learner).await.asks(subject, input).await;
        assert!(http.body == bus.body, "not byte for byte the same: {http}\n{bus}");
    }
}
