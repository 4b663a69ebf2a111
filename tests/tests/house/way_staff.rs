//! What staff do with an account, tokens as others look at them, the record, and being forgotten: the rest of the way.

use std::time::Duration;

use serde_json::json;

use crate::shared::until;
use crate::way::Way;
use crate::way_account::without_clients;

/// Requests that the way leaves out, and where they are shown instead.
pub const ELSEWHERE: [&str; 9] = [
    // ends everybody's sessions, and the house is shared: workers/identity/tests/identity/staff_sessions.rs
    "svc.identity.v1.admin.sessions_revoke_all",
    // changes the keys of all other tests: workers/identity/tests/identity/key_rotation.rs
    "svc.identity.v1.admin.keys_rotate",
    // its token comes in a letter about an address, and the bus has none: abuse.rs
    "svc.identity.v1.auth.revoke_by_link",
    // need a provider, and a browser for its redirects: oidc.rs
    "svc.identity.v1.auth.oidc_providers",
    "svc.identity.v1.auth.oidc_start",
    "svc.identity.v1.auth.oidc_callback",
    "svc.identity.v1.identities.link",
    "svc.identity.v1.identities.list",
    "svc.identity.v1.identities.unlink",
];

/// An account is looked at, changed, switched off and on, and deleted.
pub async fn minds_an_account(way: &mut Way<'_>) {
    let (admin, auditor) = (way.admin.clone(), way.house.staff("auditor"));
    let email = format!("dora.{}", way.alice.email);
    let dora = json!({ "email": email, "password": "Blue-Kettle-42!", "name": "Dora" });
    let id = way.asks("for staff", Some(&admin), "svc.identity.v1.admin.user_create", dora).await.id();
    let signs_in = json!({ "email": email, "password": "Blue-Kettle-42!" });
    way.asks("she signs in", None, "svc.identity.v1.auth.login", signs_in).await;
    let one = json!({ "id": id });
    for (step, subject, input) in [
        ("found", "users.list", json!({ "q": email })),
        ("looked at", "users.get", one.clone()),
        ("changed", "users.update", json!({ "id": id, "name": "Dora Kim" })),
        ("no such role", "users.set_role", json!({ "id": id, "role": "service" })),
        ("another role", "users.set_role", json!({ "id": id, "role": "moderator" })),
        ("her sessions", "admin.sessions_list", one.clone()),
        ("ended", "admin.sessions_revoke", one.clone()),
        ("unlocked", "admin.user_unlock", one.clone()),
        ("off", "admin.user_disable", one.clone()),
        ("on", "admin.user_enable", one.clone()),
        ("deleted", "users.delete", one.clone()),
        ("gone", "users.get", one),
    ] {
        let subject = format!("svc.identity.v1.{subject}");
        let answer = way.looks(Some(&admin), &subject, &input).await;
        way.keeps(step, &subject, &without_clients(&answer), true);
    }
    let written = json!({ "user_id": id, "event_type": "user.role_changed" });
    let query = "svc.audit.v1.entries.query";
    let there = |it: &lectern_harness::Answer| !it.items().is_empty();
    let ask = async || way.looks(Some(&auditor), query, &written).await;
    let found = until(Duration::from_secs(20), ask, there).await;
    // from where it was done is known on one road only
    way.succeeds(query);
    let entries = json!({ "entry_ids": [found.items()[0]["entry"]["entry_id"]] });
    way.looks(Some(&auditor), "svc.identity.v1.audit.private", &entries).await.ok();
    way.succeeds("svc.identity.v1.audit.private");
    // how much was checked depends on what else was written meanwhile
    let verified = way.looks(Some(&auditor), "svc.audit.v1.entries.verify", &json!({})).await.ok();
    way.keeps("the record verifies", "svc.audit.v1.entries.verify", &verified, true);
}

/// Her token as others see it; then it is ended, and she is forgotten.
pub async fn is_forgotten(way: &mut Way<'_>) {
    let (admin, alice) = (way.admin.clone(), way.alice.clone());
    let email = format!("eve.{}", alice.email);
    let eve = json!({ "email": email, "password": "Blue-Kettle-42!", "name": "Eve Kim" });
    way.asks("one more", None, "svc.identity.v1.auth.register", eve).await;
    let eve = way.house.stack.stranger("Eve");
    let signs_in = json!({ "email": email, "password": "Blue-Kettle-42!" });
    let pair = way.asks("signs in", None, "svc.identity.v1.auth.login", signs_in.clone()).await;
    eve.carries(&pair.text("/access_token"));
    let token = json!({ "token": pair.text("/access_token") });
    for (step, who, subject, input) in [
        ("her token", Some(&admin), "svc.identity.v1.token.introspect", token.clone()),
        ("her claims", Some(&eve), "svc.identity.v1.token.userinfo", json!({})),
        ("it is ended", None, "svc.identity.v1.token.revoke", token.clone()),
        ("and good for nothing", Some(&admin), "svc.identity.v1.token.introspect", token),
    ] {
        let answer = way.looks(who, subject, &input).await;
        way.keeps(step, subject, &answer, true);
    }
    let pair = way.asks("signs in again", None, "svc.identity.v1.auth.login", signs_in).await;
    eve.carries(&pair.text("/access_token"));
    let erasure = way.looks(Some(&eve), "svc.identity.v1.privacy.erase", &json!({})).await;
    // what there is to forget differs: over HTTP it is known from where she came
    assert_eq!(erasure.at("/receipts/0/service"), "identity", "{erasure}");
    way.succeeds("svc.identity.v1.privacy.erase");
    let (get, one) = ("svc.identity.v1.privacy.erasure_get", json!({ "id": erasure.id() }));
    let done = |it: &lectern_harness::Answer| it.json["done_at"].is_string();
    let ask = async || way.looks(Some(&admin), get, &one).await;
    let finished = until(Duration::from_secs(60), ask, done).await;
    assert!(finished.json["waiting_for"] == json!([]), "{finished}");
    // the order of receipts is the order in which services answered
    way.succeeds(get);
}
