//! A person who has used everything is forgotten everywhere (GDPR Art. 17; identity spec I-109, I13).

use std::time::Duration;

use lectern_harness::{Actor, Stack, StackOptions};
use serde_json::{Value, json};

use crate::export::{exports, opened, whole};
use crate::shared::until;
use crate::way::{beats, clip};

/// What only she has.
pub const NAME: &str = "Wilhelmina Featherstonehaugh";
pub const PHONE: &str = "+821098761234";
pub const BUSINESS: &str = "987-65-43210";

/// Uses every service; answers her account.
pub async fn lives(stack: &Stack) -> Actor {
    let (operator, she) = (stack.operator().await, stack.stranger("Wilhelmina"));
    let account = json!({
        "email": she.email, "password": she.password, "name": NAME, "phone": PHONE, "business_number": BUSINESS,
    });
    she.posts("/auth/register", account).await.created();
    let letter = stack.mailbox().nth(&she.email, 1).await.expect("a letter");
    she.verifies_email(letter.code(6).expect("a code")).await.ok();
    let wrong = Actor::with_account(&stack.http_url(), "Nobody", &she.email, "Wrong-Horse-7!");
    wrong.logs_in().await.refused(401, "USER_1001");
    she.logs_in().await.ok();
    let course = operator.creates_course("Forgetting").await.created().id();
    let asset = operator.uploads("lesson.mp4", clip(5000)).await.ok().text("/asset_id");
    let session = json!({ "title": "One", "duration_ms": 12_000, "asset_id": asset });
    let session = operator.adds_session_with(&course, session).await.created().id();
    operator.publishes(&course).await.ok();
    let instructors = json!({ "user_ids": [she.user_id().await] });
    operator.puts(&format!("/courses/{course}/instructors"), instructors).await.ok();
    she.enrols(&course).await.created();
    let player = she.watches(&course, &session).await;
    player.sends_events(beats()).await.accepted();
    let plan = operator.creates_free_plan("Months", "P1M").await.created().id();
    she.subscribes(&plan, true).await.created();
    she.posts("/users/me/totp", json!({})).await.ok();
    she.posts("/users/me/passkeys/options", json!({})).await.ok();
    until(
        Duration::from_secs(30),
        async || she.reads_notices().await,
        |notices| notices.json["items"].as_array().is_some_and(|items| !items.is_empty()),
    )
    .await;
    until(
        Duration::from_secs(30),
        async || player.reads_log().await,
        |log| log.json["items"].as_array().is_some_and(|items| items.len() >= 5),
    )
    .await;
    she
}

/// Rows of any table of any schema that hold one of these texts.
async fn rows_with(stack: &Stack, texts: &[&str]) -> Vec<String> {
    let tables = "SELECT string_agg(format('%I.%I', schemaname, tablename), ' ') FROM pg_tables
                  WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let tables = stack.database().value(tables).await.expect("asked").expect("tables");
    let mut found = Vec::new();
    for table in tables.split(' ') {
        for text in texts {
            // bytea is shown in hexadecimal: both are looked for
            let sql = format!(
                "SELECT count(*)::text FROM {table} t WHERE t::text ILIKE '%{text}%' OR t::text ILIKE '%{}%'",
                hex(text)
            );
            let rows = stack.database().value(&sql).await.expect(table).expect("a number");
            if rows != "0" {
                found.push(format!("{rows} rows of {table} hold {text:?}"));
            }
        }
    }
    found
}

/// Tables of which the sheet says that something stays, as `rows_with` names them; those of core without their schema.
fn may_stay() -> Vec<String> {
    let sheet = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/privacy.tsv");
    let sheet = std::fs::read_to_string(sheet).expect("the sheet");
    let rows = sheet.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let stays = rows.filter(|row| row[4].contains("stay"));
    stays.map(|row| format!("{} hold", row[0].trim_start_matches('*'))).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Messages of any stream that hold one of these texts in subject, headers or body.
#[expect(
    clippy::disallowed_methods,
    reason = "the management API is asked by hand, and a test that hangs fails"
)]
async fn messages_with(stack: &Stack, texts: &[&str]) -> Vec<String> {
    let client = stack.bus_as("admin").await.expect("a connection");
    let mut found = Vec::new();
    let ask = async |subject: String, body: Value| -> Value {
        let answer = client.request(subject, body.to_string().into()).await.expect("an answer");
        serde_json::from_slice(&answer.payload).expect("JSON")
    };
    let streams = ask("$JS.API.STREAM.NAMES".to_owned(), json!({})).await;
    for stream in streams["streams"].as_array().expect("streams") {
        let stream = stream.as_str().expect("a name");
        let mut next = 1;
        loop {
            let asked = json!({ "seq": next, "next_by_subj": ">" });
            let answer = ask(format!("$JS.API.STREAM.MSG.GET.{stream}"), asked).await;
            let Some(sequence) = answer["message"]["seq"].as_u64() else { break };
            let message = &answer["message"];
            let whole = [
                message["subject"].as_str(),
                decoded(&message["hdrs"]).as_deref(),
                decoded(&message["data"]).as_deref(),
            ]
            .map(Option::unwrap_or_default)
            .join("\n");
            for text in texts.iter().filter(|text| whole.contains(**text)) {
                found.push(format!("{stream} {sequence} {} holds {text:?}", message["subject"]));
            }
            next = sequence + 1;
        }
    }
    found
}

fn decoded(field: &Value) -> Option<String> {
    use base64::Engine;
    let bytes = base64::prelude::BASE64_STANDARD.decode(field.as_str()?).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn identity_i13_a_person_who_used_every_service_is_forgotten_in_every_one() {
    let mut stack = Stack::start(StackOptions::default().env("LOG_LEVEL", "debug")).await;
    let she = lives(&stack).await;
    let id = she.user_id().await;
    let personal = [she.email.as_str(), NAME, PHONE, BUSINESS];
    // the same look finds her while she is there
    assert!(!rows_with(&stack, &personal).await.is_empty());
    assert!(!messages_with(&stack, &[id.as_str()]).await.is_empty());
    // she takes it all along first
    let exported = exports(&she).await.ok();
    whole(&stack, &exported).await;
    let hers: String = opened(&stack, &exported.body).await.into_iter().map(|(_, text)| text).collect();
    for text in personal {
        assert!(hers.contains(text), "the export lacks {text:?}");
    }

    let erasure = she.deletes("/users/me").await.is(202);
    assert_eq!(erasure.at("/receipts/0/service"), "identity");
    she.looks_at_self().await.refused(401, "USER_1011");
    she.logs_in().await.refused(401, "USER_1001");
    let admin = stack.admin().await;
    let path = format!("/admin/erasures/{}", erasure.id());
    let done = until(
        Duration::from_secs(60),
        async || admin.gets(&path).await,
        |erasure| erasure.json["done_at"].is_string(),
    )
    .await;
    let receipts = done.at("/receipts").as_array().expect("receipts").clone();
    let of = |service: &str, what: &str| {
        let receipt = receipts.iter().find(|receipt| receipt["service"] == service);
        receipt.unwrap_or_else(|| panic!("no receipt of {service}: {done}"))["erased"][what].as_u64()
    };
    assert_eq!(done.at("/waiting_for"), &json!([]));
    for (service, what) in [
        ("identity", "users"),
        ("identity", "login_history"),
        ("identity", "credentials"),
        ("identity", "challenges"),
        ("identity", "sign_in_places"),
        ("courses", "course_instructors"),
        ("playback", "playback_events"),
        ("enrollment", "enrollments"),
        ("enrollment", "subscriptions"),
        ("notifications", "notices"),
    ] {
        assert!(of(service, what).is_some_and(|rows| rows > 0), "{service} erased no {what}: {done}");
    }

    assert_eq!(rows_with(&stack, &personal).await, Vec::<String>::new());
    // her id stands only where docs/privacy.tsv says that it stays, nobody's any more
    let told = may_stay();
    let unexpected: Vec<String> = rows_with(&stack, &[id.as_str()])
        .await
        .into_iter()
        .filter(|found| !told.iter().any(|table| found.contains(table.as_str())))
        .collect();
    assert_eq!(unexpected, Vec::<String>::new());
    let mut everything = personal.to_vec();
    assert_eq!(messages_with(&stack, &everything).await, Vec::<String>::new());
    // no fact and no beat of hers is left; where her id stands in a fact about a course, or in the audit record, it is
    // nobody's any more
    let left = messages_with(&stack, &[id.as_str()]).await;
    let allowed = |found: &String| {
        ["AUDIT ", "KV_revoked "].iter().any(|stream| found.starts_with(stream))
            || found.contains("\"evt.courses.v1.")
            || found.contains("\"evt.identity.v1.user.deleted.")
    };
    assert!(left.iter().all(allowed), "{left:?}");
    everything.push(she.password.as_str());
    let log = stack.processes()[0].log();
    for text in everything {
        assert!(!log.contains(text), "the log holds {text:?}");
    }
    // her address is free for somebody else
    let again = json!({ "email": she.email, "password": she.password, "name": "Someone Else" });
    stack.anonymous().posts("/auth/register", again).await.created();
}

#[tokio::test]
async fn i109_a_service_that_is_away_keeps_the_erasure_open_and_answers_when_it_is_back() {
    let roles = "gateway,identity,courses,content,playback,enrollment,audit";
    let stack = Stack::start(StackOptions::default().processes([roles])).await;
    let (she, admin) = (stack.operator().await, stack.admin().await);
    she.uploads("Ada Lovelace.mp4", clip(5000)).await.ok();
    let id = she.user_id().await;
    let erasure = she.deletes("/users/me").await.is(202).id();
    let path = format!("/admin/erasures/{erasure}");
    let waiting = until(
        Duration::from_secs(30),
        async || admin.gets(&path).await,
        |erasure| erasure.json["waiting_for"] == json!(["notifications"]),
    )
    .await;
    assert!(waiting.json["done_at"].is_null(), "done without notifications: {waiting}");
    // a fact of before the erasure that was published only now
    let late = format!(
        "INSERT INTO identity.outbox_archive (seq, id, stream, subject, key, headers, payload, created_at, published_at)
         VALUES (-1, gen_random_uuid(), 'EVENTS', 'evt.identity.v1.user.updated.{id}', '{id}', '{{}}', 'Ada Lovelace', now(), now())"
    );
    stack.database().execute(&late).await.expect("a late fact");
    let _notifications = stack.start_roles("notifications", &[]).await;
    let done = until(
        Duration::from_secs(60),
        async || admin.gets(&path).await,
        |erasure| erasure.json["done_at"].is_string(),
    )
    .await;
    let receipts = done.at("/receipts").as_array().expect("receipts");
    let content = receipts.iter().find(|receipt| receipt["service"] == "content").expect("a receipt");
    assert!(content["erased"]["uploads"] == 1 && content["erased"]["assets"] == 1, "{content}");
    // a fact about her that comes late, as from a service that was away longer, brings no notice back
    let (late, her) = ("01a1f9a1-0000-7000-8000-00000000000a", done.text("/user_id"));
    let fact = json!({
        "event_id": late, "event_type": "enrollment.created", "version": "1.0.0",
        "occurred_at": "2027-03-05T09:05:07Z", "actor_id": null, "subject_id": her, "entity_version": 1,
        "data": {
            "user_id": her, "enrollment_id": late, "course_id": late,
            "enrolled_at": "2027-03-05T09:05:07Z",
        },
    });
    let subject = format!("evt.enrollment.v1.enrollment.created.{her}");
    let bus = stack.bus_as("enrollment").await.expect("connected");
    let jetstream = async_nats::jetstream::new(bus);
    let stored = jetstream.publish(subject, fact.to_string().into()).await.expect("sent");
    stored.await.expect("stored");
    let count = async |sql: &str| stack.database().value(sql).await.expect("read").unwrap_or_default();
    let handled = format!("SELECT count(*) FROM notifications.inbox WHERE fact_id = '{late}'");
    for _ in 0..600 {
        if count(&handled).await == "1" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&handled).await, "1", "the fact is followed");
    let notices = format!("SELECT count(*) FROM notifications.notices WHERE user_id = '{her}'");
    assert_eq!(count(&notices).await, "0");
    assert_eq!(rows_with(&stack, &["Ada Lovelace", "Ada-Lovelace"]).await, Vec::<String>::new());
    // what is left to tell, also to streams that are made anew
    let left = format!("SELECT string_agg(subject, ' ') FROM identity.outbox_archive WHERE key = '{id}'");
    let left = stack.database().value(&left).await.expect("asked");
    assert_eq!(left, Some(format!("evt.identity.v1.user.deleted.{id}")));
}
