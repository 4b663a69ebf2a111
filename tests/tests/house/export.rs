//! A person takes everything along that is held about them (GDPR Art. 20; identity spec I-108).

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lectern_harness::{Actor, Answer, Stack, StackOptions};
use serde_json::{Value, json};

use crate::erasure::{BUSINESS, NAME, PHONE, lives};
use crate::shared::until;

const SERVICES: [&str; 7] =
    ["identity", "courses", "content", "playback", "enrollment", "notifications", "audit"];
const EXPORT: &str = "/users/me/export";

pub async fn exports(who: &Actor) -> Answer {
    who.asks(reqwest::Method::POST, EXPORT).send().await
}

/// What is in a zip, by name, in its order; looked at by other programs, too, where there are any (and not waited for by
/// blocking: the client has to notice meanwhile that idle connections are closed).
pub async fn opened(stack: &Stack, zip: &[u8]) -> Vec<(String, String)> {
    let file = stack.dir().join("export.zip");
    std::fs::write(&file, zip).expect("written");
    for (program, arguments) in
        [("unzip", ["-t", "-q"].as_slice()), ("python3", ["-m", "zipfile", "-t"].as_slice())]
    {
        match tokio::process::Command::new(program).args(arguments).arg(&file).output().await {
            Ok(done) => assert!(done.status.success(), "{program}: {done:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{program}"),
        }
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap_or_default().into_owned()).collect();
    let mut files = Vec::new();
    for name in names {
        let mut text = String::new();
        archive.by_name(&name).expect("an entry").read_to_string(&mut text).expect("text");
        files.push((name, text));
    }
    files
}

/// The files of a whole export as JSON, after the manifest was compared with them.
pub async fn whole(stack: &Stack, answer: &Answer) -> BTreeMap<String, Value> {
    assert_eq!(answer.headers["content-type"], "application/zip", "{answer}");
    let files = opened(stack, &answer.body).await;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected = SERVICES.map(|service| format!("{service}.json")).to_vec();
    expected.push("manifest.json".to_owned());
    assert_eq!(names, expected);
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let manifest = json(&files[SERVICES.len()].1);
    assert_eq!(manifest["format"], "lectern-export/1");
    for (n, (name, text)) in files.iter().take(SERVICES.len()).enumerate() {
        let said = &manifest["services"][n];
        assert_eq!(
            (said["file"].as_str(), said["service"].as_str()),
            (Some(name.as_str()), Some(SERVICES[n]))
        );
        assert_eq!(said["bytes"], text.len());
        let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(said["sha256"], sum, "{name}");
        let file = json(text);
        let rows: BTreeMap<&String, usize> = file
            .as_object()
            .expect("an object")
            .iter()
            .map(|(kind, rows)| (kind, rows.as_array().map_or(1, Vec::len)))
            .collect();
        assert_eq!(json!(rows), said["rows"], "{name}");
    }
    files.iter().map(|(name, text)| (name.trim_end_matches(".json").to_owned(), json(text))).collect()
}

async fn counted(stack: &Stack, sql: &str) -> usize {
    stack.database().value(sql).await.expect(sql).expect("a number").parse().expect("a number")
}

#[tokio::test]
async fn i108_who_used_every_service_gets_all_of_it_and_nothing_of_anybody_else() {
    let stack = Stack::start(StackOptions::default()).await;
    let she = lives(&stack).await;
    let id = she.user_id().await;
    // somebody who does the same things at the same time
    let bob = stack.learner("Bob").await;
    let bob_id = bob.user_id().await;
    let plan = stack.operator().await.creates_free_plan("Others", "P1M").await.created().id();
    bob.subscribes(&plan, true).await.created();
    she.posts("/users/me/email", json!({ "email": "wilhelmina.new@example.org" })).await.accepted();
    let acts = format!("SELECT count(*) FROM audit.entries WHERE actor_id = '{id}'");
    for _ in 0..200 {
        if counted(&stack, &acts).await >= 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = exports(&she).await.ok();
    assert!(answer.headers["content-disposition"].starts_with("attachment; filename=\"lectern-export-"));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let files = whole(&stack, &answer).await;

    // seed 001's shape
    let identity = &files["identity"];
    let personal = identity["personal_data"].as_object().expect("an object");
    let fields: Vec<&str> = personal.keys().map(String::as_str).collect();
    assert_eq!(
        fields.iter().copied().collect::<std::collections::BTreeSet<_>>(),
        ["created_at", "email", "name", "phone"].into()
    );
    assert_eq!(
        (&personal["email"], &personal["name"], &personal["phone"]),
        (&json!(she.email), &json!(NAME), &json!(PHONE))
    );
    let history = identity["login_history"].as_array().expect("rows");
    assert!(history.len() >= 2, "{identity:#}");
    for row in history {
        chrono::DateTime::parse_from_rfc3339(row["timestamp"].as_str().expect("a time")).expect("RFC 3339");
        assert!(row["ip_address"].is_string() && row["success"].is_boolean(), "{row}");
    }
    assert!(
        history.iter().any(|row| row["success"] == false) && history.iter().any(|row| row["success"] == true)
    );
    // the rest of what is kept sealed
    assert_eq!(identity["account"]["business_number"], BUSINESS);
    assert_eq!(identity["email_changes"][0]["email"], "wilhelmina.new@example.org");
    // what each service holds, by its own tables
    let mine = format!("WHERE user_id = '{id}'");
    let events = format!("WHERE playback_session_id IN (SELECT id FROM playback.playback_sessions {mine})");
    for (service, kind, table, whose) in [
        ("identity", "sessions", "identity.auth_sessions", &mine),
        ("identity", "sign_in_methods", "identity.credentials", &mine),
        ("courses", "teaches", "courses.course_instructors", &mine),
        ("playback", "playback_sessions", "playback.playback_sessions", &mine),
        ("playback", "playback_events", "playback.playback_events", &events),
        ("playback", "watched", "playback.watched", &mine),
        ("playback", "watching_time", "playback.user_wall", &mine),
        ("enrollment", "enrollments", "enrollment.enrollments", &mine),
        ("enrollment", "access_grants", "enrollment.access_grants", &mine),
        ("enrollment", "subscriptions", "enrollment.subscriptions", &mine),
        ("notifications", "notices", "notifications.notices", &mine),
    ] {
        let there = counted(&stack, &format!("SELECT count(*) FROM {table} {whose}")).await;
        let shown = files[service][kind].as_array().expect(kind).len();
        assert!(there > 0 && shown == there, "{service} shows {shown} of {there} {kind}");
    }
    let kinds = |kind: &str| -> Vec<&str> {
        let rows = files["audit"][kind].as_array().expect(kind);
        rows.iter().filter_map(|row| row["event_type"].as_str()).collect()
    };
    assert!(kinds("acts").contains(&"enrollment.created"), "{:?}", kinds("acts"));
    // nobody else, and nothing that opens a door
    let all: String = opened(&stack, &answer.body).await.into_iter().map(|(_, text)| text).collect();
    let hash = format!("SELECT password_hash FROM identity.users WHERE id = '{id}'");
    let hash = stack.database().value(&hash).await.expect("asked").expect("a hash");
    for other in [
        bob_id.as_str(),
        bob.email.as_str(),
        "Bob",
        she.password.as_str(),
        hash.as_str(),
        "$argon2",
        "_sealed",
    ] {
        assert!(!all.contains(other), "the export holds {other:?}");
    }
    assert!(!all.contains(&she.access_token().expect("a token")));

    // the record and the owner are told
    let letter = stack.mailbox();
    let told =
        async || letter.to(&she.email).iter().any(|letter| letter.subject == "A copy of your data was made");
    for _ in 0..100 {
        if told().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(told().await, "no letter");
    let auditor = stack.auditor().await;
    let entries = until(
        Duration::from_secs(20),
        async || auditor.gets(&format!("/admin/audit?event_type=user.exported&user_id={id}")).await,
        |answer| answer.items().len() == 1,
    )
    .await;
    assert_eq!(entries.items()[0]["entry"]["actor_id"], id.as_str());
    assert_eq!(entries.items()[0]["entry"]["details"]["export"], files["manifest"]["export_id"]);
}

#[tokio::test]
async fn i108_an_export_asks_for_a_recent_sign_in_and_for_a_zip() {
    let stack = Stack::start(StackOptions::default()).await;
    let ann = stack.learner("Ann").await;
    // the same session eleven minutes later, as far as its proof goes
    let older = "UPDATE identity.auth_sessions SET auth_time = auth_time - interval '11 minutes'";
    stack.database().execute(older).await.expect("older");
    let refresh = json!({ "refresh_token": ann.refresh_token().expect("a token") });
    let renewed = ann.posts("/auth/refresh", refresh).await.ok();
    ann.carries(&renewed.text("/access_token"));
    exports(&ann).await.refused(403, "USER_1009");
    // on the bus no service shows a page to who proved who they are more than an hour ago
    let bus = stack.bus().await.with_token(ann.access_token().expect("a token"));
    bus.asks("svc.courses.v1.privacy.export", json!({})).await.ok();
    let older = "UPDATE identity.auth_sessions SET auth_time = auth_time - interval '50 minutes'";
    stack.database().execute(older).await.expect("older");
    let refresh = json!({ "refresh_token": renewed.text("/refresh_token") });
    ann.carries(&ann.posts("/auth/refresh", refresh).await.ok().text("/access_token"));
    let bus = stack.bus().await.with_token(ann.access_token().expect("a token"));
    for service in &SERVICES[1..] {
        let refused = bus.asks(&format!("svc.{service}.v1.privacy.export"), json!({})).await;
        assert_eq!((refused.status, &refused.json["error_code"]), (403, &json!("COMMON_0013")), "{refused}");
    }
    stack.anonymous().posts(EXPORT, json!({})).await.refused(401, "USER_1006");
    let proof = ann.posts("/auth/reauthenticate", json!({ "password": ann.password })).await.ok();
    ann.carries(&proof.text("/access_token"));
    whole(&stack, &exports(&ann).await.ok()).await;
    let ask = || ann.asks(reqwest::Method::POST, EXPORT);
    ask().header("accept", "application/json").send().await.refused(406, "COMMON_0008");
    ask().json(json!({ "user_id": "x" })).send().await.refused(400, "COMMON_0001");
    ann.gets(EXPORT).await.is(405);
}

#[tokio::test]
async fn i108_of_eight_exports_at_once_exactly_five_are_made_and_each_is_whole() {
    let stack = Stack::start(StackOptions::default()).await;
    let (ann, bob) = (stack.learner("Ann").await, stack.learner("Bob").await);
    let insists = async || {
        for _ in 0..200 {
            // on a busy machine a service may not answer in time; nothing was begun then
            let answer = exports(&ann).await;
            // nor while another one of hers is under way
            let another = answer.status == 429 && answer.headers["retry-after"] == "10";
            if answer.status != 503 && !another {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("always 503 or 429");
    };
    let answers = join_all((0..8).map(|_| insists())).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((made.len(), refused.len()), (5, 3), "{refused:?}");
    let mut ids = std::collections::BTreeSet::new();
    for answer in &made {
        ids.insert(whole(&stack, answer).await["manifest"]["export_id"].to_string());
    }
    assert_eq!(ids.len(), 5);
    for answer in refused {
        let wait: u32 = answer.refused(429, "COMMON_0012").headers["retry-after"].parse().expect("seconds");
        assert!((3000..=3600).contains(&wait), "{wait}");
    }
    whole(&stack, &exports(&bob).await.ok()).await;
}

#[tokio::test]
async fn i108_a_service_that_is_down_is_named_and_nothing_was_begun() {
    let roles = "gateway,identity,courses,content,playback,enrollment,audit";
    let stack = Stack::start(StackOptions::default().processes([roles])).await;
    let ann = stack.learner("Ann").await;
    for _ in 0..6 {
        let refused = exports(&ann).await.refused(503, "COMMON_0010");
        assert_eq!(refused.at("/details/service"), "notifications");
    }
    let begun =
        "SELECT count(*) FROM identity.outbox_archive WHERE subject LIKE 'audit.identity.v1.user.exported.%'";
    assert_eq!(counted(&stack, begun).await, 0);
    // none of the six counts
    let _notifications = stack.start_roles("notifications", &[]).await;
    whole(&stack, &exports(&ann).await.ok()).await;
}

/// An export whose body is yet to be read, by a client without a time limit.
async fn stream_of(stack: &Stack, who: &Actor) -> reqwest::Response {
    let response = reqwest::Client::new()
        .post(format!("{}/api/v1{EXPORT}", stack.http_url()))
        .bearer_auth(who.access_token().expect("a token"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    response
}

/// Pages that notifications was asked for.
async fn pages(stack: &Stack) -> i64 {
    let stats = stack
        .bus()
        .await
        .asks_all("$SRV.STATS.notifications", Duration::from_millis(400))
        .await
        .expect("asked");
    let endpoints = stats[0]["endpoints"].as_array().expect("endpoints");
    let of = |endpoint: &&Value| endpoint["subject"] == "svc.notifications.v1.privacy.export";
    endpoints.iter().find(of).and_then(|endpoint| endpoint["num_requests"].as_i64()).expect("a number")
}

#[tokio::test]
async fn i108_no_more_is_asked_for_than_is_taken_and_what_breaks_off_is_no_zip() {
    let roles = "gateway,identity,courses,content,playback,enrollment,audit";
    let mut stack = Stack::start(StackOptions::default().processes([roles, "notifications"])).await;
    let ann = stack.learner("Ann").await;
    // 32 MB that can't be made much smaller: 86 pages
    stack
        .database()
        .execute(&format!(
            "INSERT INTO notifications.notices (id, user_id, kind, title, body, causation_id, dedupe_key, created_at)
             SELECT gen_random_uuid(), '{}', 'k', 't', (SELECT string_agg(md5(random()::text || m || n), '') FROM generate_series(1, 62) m),
                    gen_random_uuid(), n, now() FROM generate_series(1, 16000) n",
            ann.user_id().await
        ))
        .await
        .expect("notices");
    let mut body = stream_of(&stack, &ann).await.bytes_stream();
    let mut zip = body.next().await.expect("a chunk").expect("bytes").to_vec();
    let mut asked = pages(&stack).await;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = pages(&stack).await;
        if now == asked {
            break;
        }
        asked = now;
    }
    assert!((2..80).contains(&asked), "{asked} pages were asked for by a client that takes none");
    stack.processes()[1].kill9();
    let broken = loop {
        match body.next().await {
            Some(Ok(chunk)) => zip.extend(chunk),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken, "the answer ended as if it were whole");
    assert!(zip.len() > 100_000 && zip::ZipArchive::new(Cursor::new(&zip)).is_err());
}

#[tokio::test]
async fn i108_a_hundred_thousand_rows_come_once_each_and_in_pages_that_fit() {
    let stack = Stack::start(StackOptions::default()).await;
    let (ann, bob) = (stack.learner("Ann").await, stack.learner("Bob").await);
    for who in [ann.user_id().await, bob.user_id().await] {
        stack
            .database()
            .execute(&format!(
                "INSERT INTO playback.viewers VALUES ('{who}');
                 INSERT INTO playback.playback_sessions (id, user_id, course_id, course_session_id, video_url, duration_ms,
                     threshold, started_at, last_seen_at, media_issued_at, last_server_at)
                 SELECT gen_random_uuid(), '{who}', gen_random_uuid(), gen_random_uuid(), 'https://v.example/1', 1000, 0.9,
                        now(), now(), now(), now() FROM generate_series(1, 100);
                 INSERT INTO playback.playback_events (playback_session_id, seq, kind, position_ms, rate, client_at, server_at, occurred_at)
                 SELECT id, seq, 'heartbeat', seq, 1, now(), now(), now()
                 FROM playback.playback_sessions, generate_series(1, 1000) seq WHERE user_id = '{who}';
                 ANALYZE playback.playback_events; ANALYZE playback.playback_sessions"
            ))
            .await
            .expect("events");
    }
    // as long as it takes on a busy machine
    let zip = stream_of(&stack, &ann).await.bytes().await.expect("all of it");
    let files: BTreeMap<String, String> = opened(&stack, &zip).await.into_iter().collect();
    let files: Value = serde_json::from_str(&files["playback.json"]).expect("JSON");
    let rows = files["playback_events"].as_array().expect("rows");
    assert_eq!(rows.len(), 100_000);
    let place =
        |row: &Value| (row["playback_session_id"].to_string(), row["seq"].as_i64().expect("a number"));
    assert!(rows.windows(2).all(|two| place(&two[0]) < place(&two[1])), "a row comes twice, or out of order");
    // the same on the bus
    let bus = stack.bus().await.with_token(ann.access_token().expect("a token"));
    let (mut cursor, mut seen) = (Value::Null, 0);
    loop {
        let asked = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let page = bus.asks("svc.playback.v1.privacy.export", asked).await.ok();
        assert!(page.body.len() <= 512 * 1024, "{} bytes", page.body.len());
        let sections = page.at("/sections").as_array().expect("sections");
        let events = sections.iter().filter(|section| section["kind"] == "playback_events");
        seen += events.filter_map(|section| section["rows"].as_array()).map(Vec::len).sum::<usize>();
        cursor = page.at("/next_cursor").clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen, 100_000);
    // a cursor that somebody made up
    use base64::Engine;
    for place in [
        json!({ "kind": "playback_events", "after": { "playback_session_id": "no id", "seq": 1 } }),
        json!({ "kind": "playback_events", "after": { "seq": 1 } }),
        json!({ "kind": "users", "after": { "id": 1 } }),
    ] {
        let cursor = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(place.to_string());
        let refused = bus.asks("svc.playback.v1.privacy.export", json!({ "cursor": cursor })).await;
        assert_eq!((refused.status, &refused.json["error_code"]), (400, &json!("COMMON_0001")), "{refused}");
        assert_eq!(refused.at("/details/0/pointer"), "/cursor");
    }
}
