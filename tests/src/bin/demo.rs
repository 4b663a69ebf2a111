//! `./dev demo`: a learner's whole way against the running stack, through public doors, with a real video. Ends with an
//! error at the first thing that is not as promised.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::FutureExt;
use lectern_harness::Actor;
use lectern_harness::actors::Bus;
use lectern_harness::checkout::DevStatus;
use lectern_harness::testing::Mailbox;
use lectern_tests::story::Story;
use serde_json::json;

/// A small H.264 clip, 12 s.
static LESSON: &[u8] = include_bytes!("../../media/lesson.mp4");
const LESSON_MS: i64 = 12_000;

#[tokio::main]
async fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("\nNOT AS PROMISED ({place}):\n{}", panic.payload_as_str().unwrap_or("no reason given"));
    }));
    let told = std::panic::AssertUnwindSafe(tell()).catch_unwind().await;
    match told {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("\nNOT AS PROMISED:\n{error:#}");
            ExitCode::FAILURE
        }
        Err(_already_printed) => ExitCode::FAILURE,
    }
}

async fn tell() -> anyhow::Result<()> {
    let status = DevStatus::read()?;
    let story = Story::default();
    let bus = connect(&status).await?;
    let alice = signs_up(&story, &status).await?;
    let operator = signs_in(&status, "operator").await?;
    let (course, [external, uploaded]) = teaches(&story, &operator).await;
    browses(&story, &status, &bus, &course).await;
    learns(&story, &alice, &course, &uploaded).await;
    is_refused(&story, &status, &alice, &course, &external).await;
    subscribes(&story, &operator, &alice, &bus).await;
    says_goodbye(&story, &alice).await;
    story.end();
    Ok(())
}

async fn connect(status: &DevStatus) -> anyhow::Result<Bus> {
    let seed = std::fs::read_to_string(&status.nats_tools_nkey)?;
    let client = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned()).connect(&status.nats).await?;
    Ok(Bus::new(client))
}

async fn signs_in(status: &DevStatus, role: &str) -> anyhow::Result<Actor> {
    let account = status.account(role)?;
    let actor = Actor::with_account(&status.http, role, &account.email, &account.password);
    actor.logs_in().await.ok();
    Ok(actor)
}

/// An address nobody has used: the demo may be played again and again.
fn fresh_address() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("alice.{}@example.com", now.as_millis())
}

async fn signs_up(story: &Story, status: &DevStatus) -> anyhow::Result<Actor> {
    story.chapter("Alice signs up");
    let address = fresh_address();
    let alice = Actor::with_account(&status.http, "Alice Kim", &address, "SecurePass123!");
    let registered = alice.registers().await.created();
    story.step("She registers", &registered, &["/id", "/name", "/role", "/is_verified"]);
    let letter = Mailbox::at(&status.mailbox).nth(&address, 1).await?;
    let code =
        letter.code(6).map(str::to_owned).ok_or_else(|| anyhow::anyhow!("no code in: {}", letter.text))?;
    story.note(&format!("a letter \"{}\" with a code of six digits", letter.subject));
    let wrong = if code == "000000" { "000001" } else { "000000" };
    story.step(
        "A wrong code is refused",
        &alice.verifies_email(wrong).await.refused(400, "USER_1106"),
        &["/error_code", "/message"],
    );
    story.step("The right one is not", &alice.verifies_email(&code).await.ok(), &["/message"]);
    story.step("She signs in", &alice.logs_in().await.ok(), &["/token_type", "/expires_in", "/access_token"]);
    story.step("Her tokens rotate", &alice.refreshes().await.ok(), &["/refresh_token"]);
    let me = alice.looks_at_self().await.ok();
    assert!(me.json["is_verified"] == true && me.json["email"] == address.as_str(), "not her account: {me}");
    story.step("She looks at her account", &me, &["/email", "/roles", "/is_verified", "/last_login_at"]);
    Ok(alice)
}

async fn teaches(story: &Story, operator: &Actor) -> (String, [String; 2]) {
    story.chapter("An operator makes a course");
    let made = operator
        .posts(
            "/courses",
            json!({
                "title": "Rust from the ground up",
                "description": "Ownership, borrowing, and why the compiler is your friend.",
                "instructor": { "name": "Grace Park", "bio": "Twenty years of systems." },
            }),
        )
        .await
        .created();
    let course = made.id();
    story.step("A free course, as a draft", &made, &["/id", "/status", "/price"]);
    story.step(
        "Without a session it can't be published",
        &operator.publishes(&course).await.refused(409, "COURSE_2004"),
        &["/error_code", "/message"],
    );
    let external = operator
        .adds_session(&course, "Welcome", 90_000, "https://videos.example.com/welcome.mp4")
        .await
        .created();
    story.step("A session with a video elsewhere", &external, &["/position", "/title", "/video_url"]);
    let upload = operator.uploads("ownership.mp4", LESSON).await.ok();
    story.step(
        "A video, uploaded in resumable chunks (tus)",
        &upload,
        &["/file_name", "/mime", "/offset", "/asset_id"],
    );
    let lesson = json!({ "title": "Ownership", "duration_ms": LESSON_MS, "asset_id": upload.text("/asset_id"), "completion_threshold": 0.8 });
    let uploaded = operator.adds_session_with(&course, lesson).await.created();
    story.step("A session with that video", &uploaded, &["/position", "/title", "/asset_id"]);
    let published = operator.publishes(&course).await.ok();
    assert!(published.json["status"] == "published", "not published: {published}");
    story.step("Published", &published, &["/status", "/session_count", "/version"]);
    (course, [external.id(), uploaded.id()])
}

async fn browses(story: &Story, status: &DevStatus, bus: &Bus, course: &str) {
    story.chapter("Anyone looks around, over HTTP and on the bus");
    let anyone = Actor::anonymous(&status.http);
    let list = anyone.browses_courses().await.ok();
    assert!(list.items().iter().any(|item| item["id"] == course), "the course is not listed: {list}");
    story.step("The catalogue", &list, &["/items", "/items/0/title"]);
    let over_http = anyone.reads_course(course).await.ok();
    story.step("One course", &over_http, &["/title", "/instructor/name", "/session_count"]);
    let on_the_bus = bus.asks("svc.courses.v1.courses.get", json!({ "id": course })).await.ok();
    assert!(on_the_bus.json == over_http.json, "the bus says something else: {on_the_bus}");
    story.step("The same on its subject, word for word", &on_the_bus, &["/title", "/version"]);
    story.step("Its sessions", &anyone.reads_sessions(course).await.ok(), &["/items", "/items/1/title"]);
}

async fn learns(story: &Story, alice: &Actor, course: &str, session: &str) {
    story.chapter("Alice learns");
    let enrolled = alice.enrols(course).await.created();
    story.step("She enrols; the date is kept", &enrolled, &["/status", "/enrolled_at"]);
    story.step("Twice is once", &alice.enrols(course).await.ok(), &["/id", "/enrolled_at"]);
    let started = alice.starts_playback(course, session).await.created();
    story.step("She presses play", &started, &["/id", "/resume_position_ms", "/heartbeat_s", "/media_url"]);
    let playback = started.id();
    let url = started.text("/media_url");
    let first = alice.streams(&url, Some("bytes=0-1023")).await.is(206);
    assert!(first.body.as_ref() == &LESSON[..1024], "the first kilobyte is another: {first}");
    let rest = alice.streams(&url, Some("bytes=1024-")).await.is(206);
    assert!(rest.body.as_ref() == &LESSON[1024..], "the rest of the file is another");
    story.step("The video comes in ranges", &rest, &[]);
    story.note(&format!(
        "{} and {}, together byte for byte what was uploaded",
        first.header("content-range"),
        rest.header("content-range")
    ));
    let forged = url.replace("sig=", "sig=A");
    story.step(
        "A changed signature opens nothing",
        &alice.streams(&forged, None).await.refused(403, "CONTENT_2220"),
        &["/error_code"],
    );
    watches(story, alice, &playback).await;
    let progress = progressed(alice, course, session).await;
    story.step(
        "Her progress, judged by the server: the jump counts for nothing",
        &progress,
        &["/progress", "/sessions/1/unique_ms", "/sessions/1/resume_ms"],
    );
    let log = alice.gets(&format!("/playback/sessions/{playback}/events")).await.ok();
    assert!(log.items().len() >= 6, "the log is short: {log}");
    story.step("Every event is in the log", &log, &["/items", "/items/0/kind", "/items/3/kind"]);
}

/// Four seconds are watched; then a jump of four, which must not count; then two more.
async fn watches(story: &Story, alice: &Actor, playback: &str) {
    let begun = chrono_now();
    let at = |seconds: i64| (begun + chrono::TimeDelta::seconds(seconds)).to_rfc3339();
    let events = json!([
        { "seq": 1, "kind": "play", "position_ms": 0, "rate": 1.0, "client_at": at(0) },
        { "seq": 2, "kind": "heartbeat", "position_ms": 2000, "rate": 1.0, "client_at": at(2) },
        { "seq": 3, "kind": "pause", "position_ms": 4000, "rate": 1.0, "client_at": at(4) },
        { "seq": 4, "kind": "seek", "position_ms": 4000, "position_to_ms": 8000, "rate": 1.0, "client_at": at(5) },
        { "seq": 5, "kind": "play", "position_ms": 8000, "rate": 1.0, "client_at": at(6) },
        { "seq": 6, "kind": "heartbeat", "position_ms": 10_000, "rate": 1.0, "client_at": at(8) },
    ]);
    let path = format!("/playback/sessions/{playback}/events");
    let sent = alice.posts(&path, json!({ "events": events })).await.accepted();
    story.step("She plays, pauses, jumps ahead, plays on", &sent, &["/accepted_through_seq"]);
    let again = alice.posts(&path, json!({ "events": events })).await.accepted();
    story.step("The same batch again changes nothing", &again, &["/accepted_through_seq"]);
    let stopped = alice
        .posts(&format!("/playback/sessions/{playback}/stop"), json!({ "position_ms": 10_000 }))
        .await
        .ok();
    story.step("She stops", &stopped, &["/state", "/started_at", "/ended_at"]);
}

#[expect(clippy::disallowed_methods, reason = "the demo plays a device, which has a clock of its own")]
fn chrono_now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now() - chrono::TimeDelta::seconds(8)
}

/// The fold runs behind the stream: look until it is there.
async fn progressed(alice: &Actor, course: &str, session: &str) -> lectern_harness::Answer {
    let mut last = None;
    for _ in 0..100 {
        let progress = alice.looks_at_progress(course).await.ok();
        let watched = progress.json["sessions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|row| row["session_id"] == session);
        if watched
            .is_some_and(|row| row["unique_ms"].as_i64() > Some(0) && row["resume_ms"].as_i64() > Some(0))
        {
            let unique = watched.and_then(|row| row["unique_ms"].as_i64()).unwrap_or_default();
            assert!(unique <= 7500, "more is credited than was watched: {progress}");
            return progress;
        }
        last = Some(progress);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no progress after 10 s: {}", last.map(|answer| answer.to_string()).unwrap_or_default())
}

async fn is_refused(story: &Story, status: &DevStatus, alice: &Actor, course: &str, session: &str) {
    story.chapter("What is not allowed is refused, with a stable code");
    let anyone = Actor::anonymous(&status.http);
    story.step("Without a token", &anyone.enrols(course).await.refused(401, "USER_1006"), &["/error_code"]);
    story.step(
        "A learner makes no courses",
        &alice.creates_course("Mine").await.refused(403, "COMMON_0013"),
        &["/error_code", "/details"],
    );
    let admin =
        json!({ "email": "bob@example.com", "password": "SecurePass123!", "name": "Bob", "role": "admin" });
    story.step(
        "Nobody makes themselves an admin",
        &anyone.posts("/auth/register", admin).await.refused(403, "USER_1303"),
        &["/error_code", "/message"],
    );
    let unknown =
        json!({ "email": "bob@example.com", "password": "SecurePass123!", "name": "Bob", "rank": "general" });
    story.step(
        "Unknown fields are named",
        &anyone.posts("/auth/register", unknown).await.refused(400, "COMMON_0001"),
        &["/error_code", "/details/0/pointer"],
    );
    let weak = json!({ "email": "bob@example.com", "password": "password123", "name": "Bob" });
    story.step(
        "A weak password",
        &anyone.posts("/auth/register", weak).await.refused(400, "USER_1103"),
        &["/error_code", "/message"],
    );
    let stranger = Actor::with_account(&status.http, "Mallory", &fresh_address(), "SecurePass123!");
    stranger.registers().await.created();
    stranger.logs_in().await.ok();
    story.step(
        "A stranger who is not enrolled can't watch",
        &stranger.starts_playback(course, session).await.refused(403, "PLAY_2301"),
        &["/error_code"],
    );
}

async fn subscribes(story: &Story, operator: &Actor, alice: &Actor, bus: &Bus) {
    story.chapter("A subscription that renews, reminds, and ends by itself");
    let plan = operator
        .creates_plan(json!({ "name": "Everything, four seconds at a time", "price": 0, "currency": "USD", "interval": "PT4S", "scope": "catalog" }))
        .await
        .created();
    story.step("A plan of four seconds", &plan, &["/id", "/interval", "/scope", "/version"]);
    let subscribed = alice.subscribes(plan.id(), true).await.created();
    let subscription = subscribed.id();
    story.step("Alice subscribes", &subscribed, &["/status", "/period_index", "/period_end", "/auto_renew"]);
    let path = format!("/subscriptions/{subscription}");
    let renewed = until(alice, &path, |json| json["period_index"].as_i64() >= Some(1)).await;
    story.step("It has renewed, by a durable timer", &renewed, &["/status", "/period_index", "/period_end"]);
    story.step(
        "She switches renewal off",
        &alice.sets_auto_renew(&subscription, false).await.ok(),
        &["/auto_renew", "/period_end"],
    );
    let expired = until(alice, &path, |json| json["status"] == "expired").await;
    story.step("It has expired, on time", &expired, &["/status", "/period_end", "/ended_at"]);
    let notices = until(alice, "/notifications?limit=100", |json| {
        let kinds: Vec<&str> =
            json["items"].as_array().into_iter().flatten().filter_map(|item| item["kind"].as_str()).collect();
        ["subscription.renewal_upcoming", "subscription.renewed", "subscription.expired"]
            .iter()
            .all(|kind| kinds.contains(kind))
    })
    .await;
    story.step("Her inbox tells it all", &notices, &["/items", "/items/0/kind", "/items/0/title"]);
    let token = alice.access_token().unwrap_or_default();
    let on_the_bus = bus
        .with_token(token)
        .asks("svc.enrollment.v1.subscriptions.get", json!({ "id": subscription }))
        .await
        .ok();
    assert!(on_the_bus.json == expired.json, "the bus says something else: {on_the_bus}");
    story.step("And the bus agrees", &on_the_bus, &["/status", "/version"]);
}

/// Looks until it is so, at most 40 s.
async fn until(
    alice: &Actor,
    path: &str,
    so: impl Fn(&serde_json::Value) -> bool,
) -> lectern_harness::Answer {
    for _ in 0..400 {
        let answer = alice.gets(path).await.ok();
        if so(&answer.json) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not so after 40 s: {}", alice.gets(path).await)
}

async fn says_goodbye(story: &Story, alice: &Actor) {
    story.chapter("Alice signs out");
    story.step("She signs out", &alice.logs_out().await.ok(), &["/message"]);
    story.step(
        "Her token is void at once",
        &alice.looks_at_self().await.refused(401, "USER_1011"),
        &["/error_code", "/message"],
    );
}
