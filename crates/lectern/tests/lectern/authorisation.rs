//! The authorisation matrix: every request of the contract with every kind of caller, by the rule that its row states.

use std::collections::BTreeMap;

use lectern_harness::actors::Bus;
use lectern_harness::{Answer, Stack, StackOptions};
use lectern_subjects::{Access, Effect, RequestInfo, Role};
use serde_json::Value;

/// Whether a caller with this role gets past the access rule of a request.
fn admitted(access: Access, role: Option<Role>) -> bool {
    match (access, role) {
        (Access::Public, _) => true,
        (_, None) => false,
        // for the last two the handler decides more: whose it is
        (Access::User | Access::Owner | Access::CourseStaff, Some(_)) => true,
        (Access::Roles(roles), Some(role)) => roles.contains(&role),
        (Access::May(permission), Some(role)) => permission.holders().contains(&role),
        (Access::Service, Some(role)) => role == Role::Service,
    }
}

/// What ends a caller.
const LAST: [&str; 2] = ["svc.identity.v1.privacy.erase", "svc.identity.v1.auth.logout"];

fn example(request: &RequestInfo) -> Value {
    let golden: Value = serde_json::from_str(request.golden).expect(request.subject);
    golden["request"].clone()
}

fn code(answer: &Answer) -> Option<&str> {
    answer.json.pointer("/error_code").and_then(Value::as_str)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_admits_whom_its_row_names_and_nobody_else() {
    let stack = Stack::start(StackOptions::default()).await;
    let bus = stack.bus().await;
    let service =
        stack.lectern(&["token", "issue", "--name", "matrix", "--ttl", "1h"]).await.done().expect("a token");
    let mut callers: BTreeMap<&str, (Option<Role>, Bus)> = BTreeMap::new();
    callers.insert("anonymous", (None, stack.bus().await));
    callers.insert("service", (Some(Role::Service), bus.with_token(service)));
    for (name, role, actor) in [
        ("learner", Role::User, stack.learner("alice").await),
        ("moderator", Role::Moderator, stack.moderator().await),
        ("auditor", Role::Auditor, stack.auditor().await),
        ("operator", Role::Operator, stack.operator().await),
        ("admin", Role::Admin, stack.admin().await),
    ] {
        callers.insert(name, (Some(role), bus.with_token(actor.access_token().expect("signed in"))));
    }
    // signing out ends the caller's tokens, being forgotten their account: last
    let (mut last, rest): (Vec<_>, Vec<_>) =
        lectern_subjects::requests().partition(|request| LAST.contains(&request.subject));
    last.sort_by_key(|request| LAST.iter().position(|subject| *subject == request.subject));
    let mut cases = 0;
    for request in rest.into_iter().chain(last) {
        for (name, (role, bus)) in &callers {
            let answer = bus.asks(request.subject, example(request)).await;
            let case = format!("{} as {name}: {} {:?}", request.subject, answer.status, code(&answer));
            // a refusal for want of a role names the roles or the permission; handlers refuse in other words
            let lacks_role = ["/details/needs_role", "/details/needs_permission"]
                .iter()
                .any(|pointer| answer.json.pointer(pointer).is_some());
            // sign-in and refresh refuse with 401 by themselves: the credential is in their body; so is a password or a
            // second factor of somebody who proves anew who they are
            let own_credential = request.effect == Effect::Unkeyed
                && (request.access == Access::Public
                    || matches!(code(&answer), Some("USER_1001" | "USER_1008")));
            match (admitted(request.access, *role), role) {
                // after the erasure the token is as void as can be
                (true, _) => assert!(
                    !lacks_role
                        && (own_credential || answer.status != 401 || code(&answer) == Some("USER_1011")),
                    "{case}"
                ),
                (false, None) => {
                    assert_eq!((answer.status, code(&answer)), (401, Some("USER_1006")), "{case}")
                }
                (false, Some(_)) => {
                    assert_eq!((answer.status, code(&answer)), (403, Some("COMMON_0013")), "{case}");
                    assert!(lacks_role, "{case}");
                }
            }
            cases += 1;
        }
    }
    assert_eq!(cases, lectern_subjects::requests().count() * callers.len());
}
