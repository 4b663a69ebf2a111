//! The steps of the way about one's own account.

use lectern_harness::Answer;
use serde_json::{Value, json};

use crate::shared::NOBODY;
use crate::way::Way;

/// Changes what she says of herself, looks where she is signed in, ends sessions, and moves to another address.
pub async fn minds_her_account(way: &mut Way<'_>) {
    let alice = way.alice.clone();
    let update = "svc.identity.v1.users.me_update";
    let change = json!({ "name": "Alice Kim-Lee", "phone": "+821012345678", "region": null, "locale": "ko-KR", "time_zone": "Asia/Seoul" });
    let updated = way.asks("change oneself", Some(&alice), update, change).await;
    assert!(updated.json["name"] == "Alice Kim-Lee", "not changed: {updated}");
    for (step, nonsense) in [
        ("change nothing", json!({})),
        ("no name", json!({ "name": null })),
        ("no such zone", json!({ "time_zone": "Asia/Atlantis" })),
        ("make oneself admin", json!({ "role": "admin" })),
    ] {
        way.asks(step, Some(&alice), update, nonsense).await;
    }
    let me = way.asks("me in full", Some(&alice), "svc.identity.v2.users.me_get", json!({})).await;
    assert!(me.json["time_zone"] == "Asia/Seoul" && me.json["phone"] == "+821012345678", "{me}");
    ends_sessions(way).await;
    moves(way).await;
}

async fn ends_sessions(way: &mut Way<'_>) {
    let alice = way.alice.clone();
    let account = json!({ "email": alice.email, "password": alice.password });
    for step in ["another device", "a third device"] {
        way.asks(step, None, "svc.identity.v1.auth.login", account.clone()).await;
    }
    let (list, revoke) = ("svc.identity.v1.sessions.list", "svc.identity.v1.sessions.revoke");
    let sessions = way.looks(Some(&alice), list, &json!({})).await;
    assert!(sessions.items().len() == 3 && sessions.items()[2]["current"] == true, "{sessions}");
    way.keeps("sessions", list, &without_clients(&sessions), false);
    let newest = json!({ "sid": sessions.items()[0]["sid"] });
    way.asks("end one", Some(&alice), revoke, newest.clone()).await;
    way.asks("end it again", Some(&alice), revoke, newest).await;
    way.asks("end nobody's", Some(&alice), revoke, json!({ "sid": NOBODY })).await;
    way.asks("end the others", Some(&alice), "svc.identity.v1.sessions.revoke_others", json!({})).await;
    let history = "svc.identity.v1.users.login_history";
    let rows = way.looks(Some(&alice), history, &json!({ "limit": 2 })).await;
    assert!(rows.items().len() == 2 && rows.json["next_cursor"].is_string(), "{rows}");
    way.keeps("sign-ins", history, &without_clients(&rows), false);
}

/// From where a request came is known on one road only.
pub fn without_clients(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    for row in answer.json["items"].as_array_mut().into_iter().flatten() {
        for field in ["ip", "ip_address", "user_agent", "device_name"] {
            if let Some(value) = row.get_mut(field) {
                *value = Value::Null;
            }
        }
    }
    answer
}

async fn moves(way: &mut Way<'_>) {
    let alice = way.alice.clone();
    let new = format!("new.{}", alice.email);
    let (change, confirm) = ("svc.identity.v1.users.email_change", "svc.identity.v1.users.email_confirm");
    way.asks("no code yet", Some(&alice), confirm, json!({ "code": "123456" })).await;
    way.asks("no address", Some(&alice), change, json!({ "email": "nowhere" })).await;
    way.asks("another address", Some(&alice), change, json!({ "email": new })).await;
    let letter = way.house.stack.mailbox().nth(&new, 0).await.expect("a letter");
    let code = letter.code(6).expect("a code").to_owned();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    way.asks("a wrong code", Some(&alice), confirm, json!({ "code": wrong })).await;
    let moved = way.asks("the code", Some(&alice), confirm, json!({ "code": code })).await;
    assert!(moved.json["email"] == new.as_str(), "still at the old address: {moved}");
}
