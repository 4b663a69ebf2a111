//! The steps of the way (issue: "the way itself").

use std::time::Duration;

use serde_json::{Value, json};

use crate::shared::{NOBODY, until};
use crate::way::{Way, beats, clip};

/// Ids of what was taught.
pub struct Lesson {
    course: String,
    session: String,
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Register, verify, sign in, refresh, look at oneself.
pub async fn signs_up(way: &mut Way<'_>) {
    let (email, password) = (way.alice.email.clone(), way.alice.password.clone());
    let account = json!({ "email": email, "password": password, "name": "Alice Kim" });
    way.asks("register", None, "svc.identity.v1.auth.register", account.clone()).await;
    way.asks("register again", None, "svc.identity.v1.auth.register", account).await;
    way.asks("another code", None, "svc.identity.v1.auth.resend", json!({ "email": email })).await;
    let letter = way.house.stack.mailbox().nth(&email, 1).await.expect("a letter");
    let code = letter.code(6).expect("a code").to_owned();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for (step, code) in [("wrong code", wrong), ("verify", &code)] {
        way.asks(step, None, "svc.identity.v1.auth.verify_email", json!({ "email": email, "code": code }))
            .await;
    }
    let wrong = json!({ "email": email, "password": "Wrong-Horse-7!" });
    way.asks("wrong password", None, "svc.identity.v1.auth.login", wrong).await;
    let right = json!({ "email": email, "password": password });
    let pair = way.asks("login", None, "svc.identity.v1.auth.login", right).await;
    let refresh = json!({ "refresh_token": pair.text("/refresh_token") });
    let pair = way.asks("refresh", None, "svc.identity.v1.auth.refresh", refresh).await;
    way.alice.carries(&pair.text("/access_token"));
    let alice = way.alice.clone();
    let me = way.asks("me", Some(&alice), "svc.identity.v1.users.me_get", json!({})).await;
    assert!(me.json["is_verified"] == true && me.json["email"] == email.as_str(), "not her account: {me}");
    way.asks("me, anonymous", None, "svc.identity.v1.users.me_get", json!({})).await;
    way.asks("keys", None, "svc.identity.v1.token.jwks", json!({})).await;
    let check = json!({ "sid": NOBODY, "user": NOBODY, "uv": 1 });
    way.asks("a token's state", None, "svc.identity.v1.token.check", check).await;
    let carol = json!({ "email": format!("carol.{email}"), "password": password, "name": "Carol", "role": "moderator" });
    let admin = way.admin.clone();
    way.asks("make an account", Some(&admin), "svc.identity.v1.admin.user_create", carol.clone()).await;
    way.asks("nobody else does", Some(&alice), "svc.identity.v1.admin.user_create", carol).await;
}

/// Another password, and another by a mailed link: that ends the session, so it is signed in anew.
pub async fn changes_passwords(way: &mut Way<'_>) {
    let (email, alice) = (way.alice.email.clone(), way.alice.clone());
    let change = json!({ "current_password": alice.password, "new_password": "Blue-Kettle-42!" });
    way.asks("new password", Some(&alice), "svc.identity.v1.users.password_change", change.clone()).await;
    way.asks("not the present one", Some(&alice), "svc.identity.v1.users.password_change", change).await;
    way.asks("forgot it", None, "svc.identity.v1.auth.password_forgot", json!({ "email": email })).await;
    let stranger = json!({ "email": format!("nobody.{email}") });
    way.asks("a stranger forgot", None, "svc.identity.v1.auth.password_forgot", stranger).await;
    // two codes and the news of the change came before it
    let letter = way.house.stack.mailbox().nth(&email, 4).await.expect("a letter");
    let token = letter.text.split_once("#token=").and_then(|(_, rest)| rest.lines().next()).expect("a link");
    for (step, password) in [
        ("used before", "Blue-Kettle-42!"),
        ("too weak", "kettle"),
        ("reset", "Green-Teapot-43!"),
        ("again", "x"),
    ] {
        let reset = json!({ "token": token, "new_password": password });
        way.asks(step, None, "svc.identity.v1.auth.password_reset", reset).await;
    }
    let login = json!({ "email": email, "password": "Green-Teapot-43!" });
    let pair = way.asks("sign in with it", None, "svc.identity.v1.auth.login", login).await;
    way.asks("the session before", Some(&alice), "svc.identity.v1.users.me_get", json!({})).await;
    way.alice.carries(&pair.text("/access_token"));
    way.alice.password = "Green-Teapot-43!".to_owned();
}

/// A course with a session elsewhere and one of an uploaded video, published.
pub async fn teaches(way: &mut Way<'_>) -> Lesson {
    let (alice, operator) = (way.alice.clone(), way.operator.clone());
    let title = format!("Rust {}", way.word());
    let course =
        json!({ "title": title, "description": "Ownership.", "instructor": { "name": "Grace Park" } });
    let made = way.asks("create", Some(&operator), "svc.courses.v1.courses.create", course.clone()).await;
    way.asks("a learner creates", Some(&alice), "svc.courses.v1.courses.create", course).await;
    let id = json!({ "id": made.id() });
    way.asks("a draft is hidden", Some(&alice), "svc.courses.v1.courses.get", id.clone()).await;
    way.asks("too early", Some(&operator), "svc.courses.v1.courses.publish", id.clone()).await;
    let session = |title: &str, field: &str, value: &str| json!({ "course_id": made.id(), "title": title, "duration_ms": 12_000, field: value });
    let elsewhere = session("Welcome", "video_url", "https://videos.example.com/welcome.mp4");
    way.asks("a video elsewhere", Some(&operator), "svc.courses.v1.sessions.add", elsewhere).await;
    let private = session("Welcome", "video_url", "http://127.0.0.1/welcome.mp4");
    way.asks("a private host", Some(&operator), "svc.courses.v1.sessions.add", private).await;
    let asset = uploads(way).await;
    let uploaded = session("Ownership", "asset_id", &asset);
    let lesson =
        way.asks("an uploaded video", Some(&operator), "svc.courses.v1.sessions.add", uploaded).await;
    let instructors = json!({ "id": made.id(), "user_ids": [operator.user_id().await] });
    way.asks("instructors", Some(&operator), "svc.courses.v1.instructors.set", instructors).await;
    let change = json!({ "id": made.id(), "description": "Ownership and borrowing." });
    way.asks("update", Some(&operator), "svc.courses.v1.courses.update", change).await;
    way.asks("publish", Some(&operator), "svc.courses.v1.courses.publish", id.clone()).await;
    way.asks("get", None, "svc.courses.v1.courses.get", id).await;
    let search = json!({ "q": title, "limit": 5 });
    let found = way.asks("list", None, "svc.courses.v1.courses.list", search).await;
    assert!(found.items().iter().any(|item| item["id"] == made.id()), "it is not listed: {found}");
    way.asks("sessions", None, "svc.courses.v1.sessions.list", json!({ "course_id": made.id() })).await;
    let one = json!({ "course_id": made.id(), "session_id": lesson.id() });
    way.asks("session", None, "svc.courses.v1.sessions.get", one).await;
    Lesson { course: made.id(), session: lesson.id() }
}

/// The upload is begun on the road; its bytes never cross the bus.
async fn uploads(way: &mut Way<'_>) -> String {
    let operator = way.operator.clone();
    let bytes = clip(300_000);
    let begin = json!({ "length": bytes.len(), "file_name": "ownership.mp4" });
    // over HTTP this is a tus creation, which has no JSON: the bus is asked on both roads
    let begun = way.asks("begin an upload", Some(&operator), "svc.content.v1.uploads.create", begin).await;
    operator.sends_chunk(&format!("/api/v1/uploads/{}", begun.id()), 0, bytes).await.is(204);
    let id = json!({ "id": begun.id() });
    let upload = way.asks("the upload", Some(&operator), "svc.content.v1.uploads.get", id.clone()).await;
    way.asks("someone else's upload", Some(&way.alice.clone()), "svc.content.v1.uploads.get", id).await;
    let asset = upload.text("/asset_id");
    way.asks("the file", Some(&operator), "svc.content.v1.assets.get", json!({ "id": asset })).await;
    asset
}

/// Enrol, twice, and see it.
pub async fn enrols(way: &mut Way<'_>, lesson: &Lesson) {
    let alice = way.alice.clone();
    let course = json!({ "course_id": lesson.course });
    let start = json!({ "course_id": lesson.course, "session_id": lesson.session });
    way.asks("not enrolled", Some(&alice), "svc.playback.v1.sessions.start", start).await;
    let enrolled =
        way.asks("enrol", Some(&alice), "svc.enrollment.v1.enrollments.create", course.clone()).await;
    way.asks("enrol again", Some(&alice), "svc.enrollment.v1.enrollments.create", course.clone()).await;
    let unknown = json!({ "course_id": NOBODY });
    way.asks("an unknown course", Some(&alice), "svc.enrollment.v1.enrollments.create", unknown).await;
    let id = json!({ "id": enrolled.id() });
    way.asks("the enrolment", Some(&alice), "svc.enrollment.v1.enrollments.get", id.clone()).await;
    way.asks("hers alone", Some(&way.operator.clone()), "svc.enrollment.v1.enrollments.get", id).await;
    way.asks("enrolments", Some(&alice), "svc.enrollment.v1.enrollments.list", json!({ "limit": 10 })).await;
    way.asks("access", Some(&alice), "svc.enrollment.v1.access.check", course).await;
}

/// Play, stream, beats, stop, progress, log.
pub async fn watches(way: &mut Way<'_>, lesson: &Lesson) {
    let alice = way.alice.clone();
    let start = json!({ "course_id": lesson.course, "session_id": lesson.session });
    let started = way.asks("start", Some(&alice), "svc.playback.v1.sessions.start", start).await;
    let (id, url) = (started.id(), started.text("/media_url"));
    let bytes = clip(300_000);
    let part = alice.streams(&url, Some("bytes=1000-1999")).await.is(206);
    assert!(part.body.as_ref() == &bytes[1000..2000], "other bytes than were uploaded");
    let batch = json!({ "id": id, "events": beats() });
    way.asks("beats", Some(&alice), "svc.playback.v1.sessions.events", batch.clone()).await;
    way.asks("the same beats", Some(&alice), "svc.playback.v1.sessions.events", batch.clone()).await;
    let operator = way.operator.clone();
    way.asks("someone else's beats", Some(&operator), "svc.playback.v1.sessions.events", batch).await;
    let stop = json!({ "id": id, "position_ms": 10_000 });
    let stopped = way.looks(Some(&alice), "svc.playback.v1.sessions.stop", &stop).await;
    assert!(
        stopped.json["started_at"].is_string() && stopped.json["ended_at"].is_string(),
        "no times: {stopped}"
    );
    way.keeps("stop", "svc.playback.v1.sessions.stop", &stopped, true);
    let page = json!({ "id": id, "limit": 100 });
    let log = "svc.playback.v1.sessions.event_log";
    let logged =
        until(PATIENCE, async || way.looks(Some(&alice), log, &page).await, |it| it.items().len() >= 6).await;
    let kinds: Vec<_> = logged.items().iter().take(6).map(|row| row["kind"].clone()).collect();
    assert_eq!(json!(kinds), json!(["play", "heartbeat", "pause", "seek", "play", "heartbeat"]), "{logged}");
    way.keeps("the event log", log, &logged, true);
    let get = "svc.playback.v1.sessions.get";
    let session = way.looks(Some(&alice), get, &json!({ "id": id })).await;
    way.keeps("the playback session", get, &session, true);
    let mine = way.looks(Some(&alice), "svc.playback.v1.sessions.mine", &json!({})).await;
    way.keeps("her playback sessions", "svc.playback.v1.sessions.mine", &mine, true);
    let progress = "svc.playback.v1.sessions.progress";
    let course = json!({ "course_id": lesson.course });
    let there = |it: &lectern_harness::Answer| {
        it.at("/sessions").as_array().is_some_and(|rows| {
            rows.iter().any(|row| {
                row["session_id"] == lesson.session.as_str() && row["resume_ms"].as_i64() > Some(0)
            })
        })
    };
    let seen = until(PATIENCE, async || way.looks(Some(&alice), progress, &course).await, there).await;
    way.keeps("progress", progress, &seen, true);
}

/// A plan of seconds: renewed, reminded, expired, by a durable timer; another one cancelled.
pub async fn subscribes(way: &mut Way<'_>) {
    let (alice, operator) = (way.alice.clone(), way.operator.clone());
    let plan = |name: &str, interval: &str| json!({ "name": name, "price": 0, "currency": "USD", "interval": interval, "scope": "catalog" });
    let create = "svc.enrollment.v1.plans.create";
    let short = way.asks("a plan of seconds", Some(&operator), create, plan(way.word(), "PT4S")).await;
    let long = way.asks("a plan of a month", Some(&operator), create, plan(way.word(), "P1M")).await;
    way.asks("a learner makes plans", Some(&alice), create, plan("Mine", "P1M")).await;
    way.asks("the plan", None, "svc.enrollment.v1.plans.get", json!({ "id": long.id() })).await;
    let plans = way.looks(None, "svc.enrollment.v1.plans.list", &json!({ "limit": 1 })).await;
    way.keeps("plans", "svc.enrollment.v1.plans.list", &plans, true);
    let subscribe = "svc.enrollment.v1.subscriptions.create";
    let (update, cancel) =
        ("svc.enrollment.v1.subscriptions.update", "svc.enrollment.v1.subscriptions.cancel");
    let monthly = json!({ "plan_id": long.id(), "auto_renew": true });
    let kept = way.asks("subscribe", Some(&alice), subscribe, monthly.clone()).await;
    way.asks("subscribe again", Some(&alice), subscribe, monthly).await;
    way.asks("someone else's", Some(&operator), cancel, json!({ "id": kept.id() })).await;
    way.asks("no renewal", Some(&alice), update, json!({ "id": kept.id(), "auto_renew": false })).await;
    way.asks("cancel now", Some(&alice), cancel, json!({ "id": kept.id(), "at_period_end": false })).await;
    way.asks("cancel again", Some(&alice), cancel, json!({ "id": kept.id(), "at_period_end": false })).await;

    let short = json!({ "plan_id": short.id(), "auto_renew": true });
    let renewing = way.asks("subscribe for seconds", Some(&alice), subscribe, short).await.id();
    let (get, id) = ("svc.enrollment.v1.subscriptions.get", json!({ "id": renewing }));
    let renewed = |it: &lectern_harness::Answer| it.number("/period_index") >= 1;
    until(PATIENCE, async || way.looks(Some(&alice), get, &id).await, renewed).await;
    let off = way.looks(Some(&alice), update, &json!({ "id": renewing, "auto_renew": false })).await;
    way.keeps("no renewal after the renewal", update, &off, true);
    let expired = |it: &lectern_harness::Answer| it.json["status"] == "expired";
    let ended = until(PATIENCE, async || way.looks(Some(&alice), get, &id).await, expired).await;
    way.keeps("it expired by itself", get, &ended, true);
    let list = way.looks(Some(&alice), "svc.enrollment.v1.subscriptions.list", &json!({})).await;
    assert_eq!(list.items().len(), 2, "{list}");
    way.keeps("subscriptions", "svc.enrollment.v1.subscriptions.list", &list, true);
}

/// The inbox tells it all.
pub async fn reads_notices(way: &mut Way<'_>) {
    let alice = way.alice.clone();
    let (list, all) = ("svc.notifications.v1.inbox.list", json!({ "limit": 100 }));
    let told = [
        "enrollment.created",
        "subscription.activated",
        "subscription.canceled",
        "subscription.expired",
        "subscription.renewal_upcoming",
        "subscription.renewed",
    ];
    let complete = |it: &lectern_harness::Answer| {
        let kinds: Vec<&str> = it.items().iter().filter_map(|item| item["kind"].as_str()).collect();
        told.iter().all(|kind| kinds.contains(kind))
    };
    let notices = until(PATIENCE, async || way.looks(Some(&alice), list, &all).await, complete).await;
    way.keeps("notices", list, &notices, true);
    let welcome = notices.items().iter().find(|item| item["kind"] == "enrollment.created").cloned();
    let id = json!({ "id": welcome.unwrap_or(Value::Null)["id"] });
    way.asks("read a notice", Some(&alice), "svc.notifications.v1.inbox.read", id.clone()).await;
    way.asks("read another's", Some(&way.operator.clone()), "svc.notifications.v1.inbox.read", id).await;
}

/// Sign out: the token is void at once.
pub async fn says_goodbye(way: &mut Way<'_>) {
    let alice = way.alice.clone();
    way.asks("logout", Some(&alice), "svc.identity.v1.auth.logout", json!({})).await;
    let (me, nothing) = ("svc.identity.v1.users.me_get", json!({}));
    // every role watches the same bucket; each hears of it in its own time
    let void = |it: &lectern_harness::Answer| it.status == 401;
    let refused =
        until(Duration::from_secs(6), async || way.looks(Some(&alice), me, &nothing).await, void).await;
    way.keeps("the token is void", me, &refused, false);
}
