//! What is wrong in a request by itself is refused on every route with a stable code (issue: "Bad input").

use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::contract::{Access, Operation, Place, Route};
use crate::road::{documented, is_a_problem, over_http};
use crate::shared::{House, NOBODY, house};

/// The problem document, whole, with one of these codes; what is documented for the route, too.
#[track_caller]
pub fn is_refused(operation: &Operation, answer: Answer, status: u16, codes: &[&str]) -> Answer {
    let code = answer.json["error_code"].as_str().unwrap_or_default().to_owned();
    assert!(codes.is_empty() || codes.contains(&code.as_str()), "expected {codes:?}: {answer}");
    let answer = documented(operation, answer.refused(status, &code));
    is_a_problem(&answer);
    answer
}

/// Who gets past the access rule.
pub fn who(house: &House) -> Actor {
    house.staff("admin")
}

/// Routes that take a body.
fn with_body(house: &House) -> impl Iterator<Item = (&Operation, &Route)> {
    house.contract.routed().filter(|(_, route)| route.method != Method::GET)
}

/// The path with the example's ids.
pub fn path(operation: &Operation, route: &Route) -> String {
    let ids = route.fields.iter().filter(|field| field.place == Place::Path);
    ids.fold(route.path.clone(), |path, field| {
        let id = operation.example[&field.name].as_str().expect("an id");
        path.replace(&format!("{{{}}}", field.name), id)
    })
}

pub async fn broken_json(house: &House) {
    let admin = who(house);
    for (operation, route) in with_body(house) {
        for broken in ["{\"title\": ", "{} {}", "not json", "{\"a\": 1, \"a\": 2}", "\u{feff}{}"] {
            let ask = admin.asks(route.method.clone(), &path(operation, route));
            let answer = ask.bytes("application/json", broken.as_bytes().to_vec()).send().await;
            is_refused(operation, answer, 400, &["COMMON_0002"]);
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(40), "]".repeat(40));
        let ask = admin.asks(route.method.clone(), &path(operation, route)).bytes("application/json", deep);
        is_refused(operation, ask.send().await, 400, &["COMMON_0002"]);
    }
}

pub async fn unknown_fields(house: &House) {
    let admin = who(house);
    for (operation, route) in house.contract.routed().filter(|(_, route)| !route.ignores_others) {
        let mut input = operation.example.clone();
        input["no_such_field"] = json!(1);
        let answer = over_http(&admin, route, &input).send().await;
        let answer = is_refused(operation, answer, 400, &["COMMON_0001"]);
        assert!(names(&answer, "/no_such_field"), "the field is not named: {answer}");
    }
}

pub async fn wrong_types(house: &House) {
    let admin = who(house);
    for (operation, route) in house.contract.routed() {
        for field in route.fields.iter().filter(|field| field.place != Place::Path) {
            let wrong = match field.place {
                Place::Query if field.typed => json!("many"),
                Place::Body if !field.anything => json!([[1]]),
                _ => continue,
            };
            let mut input = operation.example.clone();
            input[&field.name] = wrong;
            let answer = is_refused(operation, over_http(&admin, route, &input).send().await, 400, &[]);
            assert!(names(&answer, &format!("/{}", field.name)), "{} is not named: {answer}", field.name);
        }
    }
}

fn names(answer: &Answer, pointer: &str) -> bool {
    let faults = answer.json["details"].as_array().into_iter().flatten();
    let mut pointers =
        faults.filter_map(|fault| fault["pointer"].as_str().filter(|_| fault["reason"].is_string()));
    pointers.any(|named| named.starts_with(pointer))
}

pub async fn over_long_bodies(house: &House) {
    let admin = who(house);
    for (operation, route) in with_body(house) {
        let mut input = operation.example.clone();
        input["padding"] = Value::String("x".repeat(64 * 1024));
        let answer = over_http(&admin, route, &input).send().await;
        is_refused(operation, answer, 413, &["COMMON_0004"]);
    }
}

pub async fn ids_that_are_none(house: &House) {
    let admin = who(house);
    for (operation, route) in house.contract.routed() {
        for field in route.fields.iter().filter(|field| field.place == Place::Path && !field.word) {
            for wrong in [
                "1",
                "not-an-id",
                "0192f0c1-2345-7abc-8def-0123456789a",
                "%27%3B--",
                "0192f0c1-2345-7abc-8def-0123456789ab%00",
            ] {
                let mut input = operation.example.clone();
                input[&field.name] = json!(wrong);
                let answer = is_refused(
                    operation,
                    over_http(&admin, route, &input).send().await,
                    400,
                    &["COMMON_0001"],
                );
                assert!(names(&answer, &format!("/{}", field.name)), "not named: {answer}");
            }
        }
    }
}

pub async fn what_is_said_twice(house: &House) {
    let admin = who(house);
    for (operation, route) in house.contract.routed() {
        if let Some(field) = route.fields.iter().find(|field| field.place == Place::Query) {
            let (path, name) = (path(operation, route), &field.name);
            let twice = format!("{path}?{name}=1&{name}=2");
            let answer = admin.asks(route.method.clone(), &twice).send().await;
            is_refused(operation, answer, 400, &["COMMON_0002"]);
        }
        let in_path = route.fields.iter().find(|field| field.place == Place::Path);
        if let (Some(field), true) = (in_path, route.method != Method::GET) {
            let mut body = operation.example.clone();
            body[&field.name] = json!(NOBODY);
            let answer = admin.asks(route.method.clone(), &path(operation, route)).json(body).send().await;
            is_refused(operation, answer, 400, &["COMMON_0002"]);
        }
    }
}

pub async fn idempotency_keys_that_are_none(house: &House) {
    let admin = who(house);
    for (operation, route) in house.contract.routed().filter(|(operation, _)| operation.effect == "Write") {
        let answer = over_http(&admin, route, &operation.example).key("k".repeat(256)).send().await;
        is_refused(operation, answer, 400, &["COMMON_0001"]);
    }
}

pub async fn addresses_that_are_taken(house: &House) {
    let alice = house.stack.stranger("Alice");
    alice.registers().await.created();
    alice.registers().await.refused(409, "USER_1102");
    let shouting =
        Actor::with_account(&house.stack.http_url(), "Al", &alice.email.to_uppercase(), &alice.password);
    shouting.registers().await.refused(409, "USER_1102");
    let body = json!({ "email": format!(" {} ", alice.email), "password": alice.password, "name": "Al" });
    who(house).posts("/admin/users", body).await.refused(409, "USER_1102");
}

pub async fn access_is_closed_before_anything_is_read(house: &House) {
    let anyone = house.stack.anonymous();
    for (operation, route) in with_body(house).filter(|(operation, _)| operation.access != Access::Public) {
        let ask = anyone.asks(route.method.clone(), &path(operation, route)).bytes("text/plain", "{");
        is_refused(operation, ask.send().await, 401, &["USER_1006"]);
    }
}

#[tokio::test]
async fn broken_json_is_refused_on_every_route() {
    broken_json(house().await).await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_and_named_on_every_route() {
    unknown_fields(house().await).await;
}

#[tokio::test]
async fn a_wrong_type_is_refused_and_named_in_every_field_of_every_route() {
    wrong_types(house().await).await;
}

#[tokio::test]
async fn an_over_long_body_is_refused_on_every_route() {
    over_long_bodies(house().await).await;
}

#[tokio::test]
async fn an_id_in_the_path_that_is_none_is_refused_and_named_on_every_route() {
    ids_that_are_none(house().await).await;
}

#[tokio::test]
async fn a_parameter_given_twice_or_in_path_and_body_is_refused_on_every_route() {
    what_is_said_twice(house().await).await;
}

#[tokio::test]
async fn an_idempotency_key_that_is_none_is_refused_on_every_write() {
    idempotency_keys_that_are_none(house().await).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_however_it_is_written() {
    addresses_that_are_taken(house().await).await;
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_looked_at() {
    access_is_closed_before_anything_is_read(house().await).await;
}
