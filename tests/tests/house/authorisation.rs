//! The authorisation matrix: every request of the contract × everyone, on both roads, against the access rule that the
//! contract states (reliability V8; API1, API5).

use std::collections::BTreeMap;

use lectern_harness::{Actor, Answer};
use serde_json::Value;

use crate::contract::{Access, Operation};
use crate::road::{Doors, Road};
use crate::shared::{House, house};

const LOGOUT: &str = "svc.identity.v1.auth.logout";
const ERASE: &str = "svc.identity.v1.privacy.erase";
const REFRESH: &str = "svc.identity.v1.auth.refresh";

/// What the access rule says about one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// 401 USER_1006.
    SignIn,
    /// 403 COMMON_0013, naming the roles.
    Forbidden,
    /// Anything but those two; the handler decides.
    Through,
}

fn rule(access: &Access, role: Option<&str>) -> Rule {
    match (access, role) {
        (Access::Public, _) => Rule::Through,
        (_, None) => Rule::SignIn,
        (Access::Roles(roles), Some(role)) if !roles.iter().any(|it| it == role) => Rule::Forbidden,
        (Access::Service, Some(role)) if role != "service" => Rule::Forbidden,
        _ => Rule::Through,
    }
}

/// The example, about a course that exists where the rule looks at the course.
fn input(operation: &Operation, course: &str) -> Value {
    let mut input = operation.example.clone();
    if operation.access == Access::CourseStaff {
        let field = if operation.subject.contains(".sessions.") { "course_id" } else { "id" };
        assert!(input[field].is_string(), "{} names no course", operation.subject);
        input[field] = course.into();
    }
    input
}

fn decided(operation: &Operation, answer: &Answer) -> Rule {
    match (answer.status, answer.json["error_code"].as_str()) {
        // what it refuses is the refresh token in the body
        (401, Some("USER_1006")) if operation.subject == REFRESH => Rule::Through,
        (401, Some("USER_1006")) => Rule::SignIn,
        (403, Some("COMMON_0013")) => Rule::Forbidden,
        _ => Rule::Through,
    }
}

struct Matrix<'a> {
    doors: Doors<'a>,
    course: String,
    wrong: Vec<String>,
    counted: BTreeMap<&'static str, usize>,
}

impl Matrix<'_> {
    async fn tries(&mut self, road: Road, operation: &Operation, role: Option<&str>, who: Option<&Actor>) {
        let input = input(operation, &self.course);
        let answer = self.doors.asks(road, who, &operation.subject, &input).await;
        let mut expected = rule(&operation.access, role);
        // the handler's part of the rule: neither operator nor admin, and no instructor of this course
        let staff = matches!(role, Some("operator" | "admin"));
        if operation.access == Access::CourseStaff && expected == Rule::Through && !staff {
            expected = Rule::Forbidden;
        }
        *self
            .counted
            .entry(match expected {
                Rule::SignIn => "sign in",
                Rule::Forbidden => "forbidden",
                Rule::Through => "through",
            })
            .or_default() += 1;
        if decided(operation, &answer) != expected || answer.status >= 500 {
            let role = role.unwrap_or("anonymous");
            self.wrong.push(format!(
                "{} as {role} over {road:?}: expected {expected:?}, got {answer}",
                operation.subject
            ));
        }
        // the example signs out everywhere: the next request needs a new sign-in
        if operation.subject == LOGOUT && answer.status == 200 {
            who.expect("signed in").logs_in().await.ok();
        }
    }
}

/// Everyone's own account, so that signing out disturbs nobody else.
async fn everyone(house: &House) -> Vec<(&'static str, Actor)> {
    let mut people = vec![("user", house.stack.learner("Una").await)];
    for role in ["moderator", "auditor", "operator", "admin"] {
        people.push((role, house.stack.staff(role).await));
    }
    let machine = house.stack.anonymous();
    let issue = ["token", "issue", "--name", "matrix", "--ttl", "1h"];
    machine.carries(&house.stack.lectern(&issue).await.done().expect("issued"));
    people.push(("service", machine));
    people
}

#[tokio::test]
async fn every_request_is_closed_to_whom_the_contract_closes_it_on_both_roads() {
    let house = house().await;
    let people = everyone(house).await;
    let operator = house.staff("operator");
    let course = house.stack.published_course(&operator, "Matrix").await.0;
    let mut matrix =
        Matrix { doors: house.doors().await, course, wrong: Vec::new(), counted: BTreeMap::new() };
    for operation in house.contract.operations.values() {
        for road in [Road::Http, Road::Bus] {
            matrix.tries(road, operation, None, None).await;
            // who is forgotten can ask nothing more
            let passing = if operation.subject == ERASE { Some(everyone(house).await) } else { None };
            for (role, who) in passing.as_ref().unwrap_or(&people) {
                // a machine has no session to sign out of
                if (*role, operation.subject.as_str()) != ("service", LOGOUT) {
                    matrix.tries(road, operation, Some(role), Some(who)).await;
                }
            }
        }
    }
    println!("authorisation matrix: {:?}", matrix.counted);
    assert!(matrix.wrong.is_empty(), "{} wrong:\n{}", matrix.wrong.len(), matrix.wrong.join("\n"));
}

#[tokio::test]
async fn a_role_given_in_vain_is_named_in_the_refusal_without_the_data() {
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let refused = alice.creates_course("Mine").await.refused(403, "COMMON_0013");
    assert_eq!(refused.at("/details/needs_role"), &serde_json::json!(["operator", "admin"]));
    let (course, _) = house.stack.published_course(&house.staff("operator"), "Hers").await;
    let refused = alice.publishes(&course).await.refused(403, "COMMON_0013");
    assert!(!refused.json.to_string().contains("Hers"), "the refusal tells about the course: {refused}");
}
