//! Course sessions: what they are, where their video comes from, and their order.

use lectern_core::Clock;
use lectern_subjects::Role;
use lectern_subjects::id::AssetId;
use serde_json::{Value, json};

use crate::{ADD, GET, PUBLISH, SESSION, SESSIONS, draft, lesson, with_content, world};
use lectern_workbench::{refused, refused_at};

#[tokio::test]
async fn l04_a_session_has_title_video_and_duration() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let first = operator.asks(ADD, lesson(&id, "Why Rust")).await.ok();
    assert_eq!(first.json["title"], "Why Rust");
    assert_eq!(first.json["duration_ms"], 60_000);
    assert_eq!(first.json["video_url"], "https://videos.example.com/lesson.mp4");
    assert_eq!(first.json["asset_id"], Value::Null);
    assert_eq!(first.json["position"], 1);
    assert_eq!((&first.json["required"], &first.json["preview"]), (&json!(true), &json!(false)));
    assert_eq!(first.json["completion_threshold"], 0.95);
    assert_eq!(first.header("etag"), "\"1\"");

    let mut body = lesson(&id, "Ownership");
    body["required"] = json!(false);
    body["preview"] = json!(true);
    body["completion_threshold"] = json!(0.333_333_3);
    let second = operator.asks(ADD, body).await.ok();
    assert_eq!(second.json["position"], 2);
    assert_eq!(second.json["completion_threshold"], 0.333_333_3);

    let list = operator.asks(SESSIONS, json!({ "course_id": id })).await.ok();
    assert_eq!(list.items(), [first.json.clone(), second.json.clone()]);
    let one = operator.asks(SESSION, json!({ "course_id": id, "session_id": second.id() })).await.ok();
    assert_eq!(one.json, second.json);
    let course = operator.asks(GET, json!({ "id": id })).await.ok();
    assert_eq!(course.json["session_count"], 2);
    assert_eq!(course.json["duration_ms"], 120_000);
    assert_eq!(course.json["version"], 3, "each session makes a new version of its course");
}

#[tokio::test]
async fn a_video_url_is_told_to_staff_and_of_previews() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    operator.asks(ADD, lesson(&id, "Paid")).await.ok();
    let mut preview = lesson(&id, "Preview");
    preview["preview"] = json!(true);
    let preview = operator.asks(ADD, preview).await.ok().id();
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();

    for person in [world.anonymous(), world.someone(Role::User), world.someone(Role::Moderator)] {
        let list = person.asks(SESSIONS, json!({ "course_id": id })).await.ok();
        assert_eq!(list.items()[0]["video_url"], Value::Null);
        assert_eq!(list.items()[1]["video_url"], "https://videos.example.com/lesson.mp4");
        let paid = json!({ "course_id": id, "session_id": list.items()[0]["id"] });
        assert_eq!(person.asks(SESSION, paid).await.ok().json["video_url"], Value::Null);
        let preview = person.asks(SESSION, json!({ "course_id": id, "session_id": preview })).await.ok();
        assert!(preview.json["video_url"].is_string());
    }
    let list = operator.asks(SESSIONS, json!({ "course_id": id })).await.ok();
    assert!(list.items().iter().all(|session| session["video_url"].is_string()));
}

#[tokio::test]
async fn a_session_with_bad_values_is_refused_and_nothing_is_written() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let with = |name: &str, value: Value| {
        let mut body = lesson(&id, "One");
        body[name] = value;
        body
    };
    for (name, value) in [
        ("title", json!("")),
        ("title", json!("x".repeat(201))),
        ("duration_ms", json!(0)),
        ("duration_ms", json!(-1)),
        ("duration_ms", json!(86_400_001)),
        ("duration_ms", json!(1.5)),
        ("duration_ms", json!("NaN")),
        ("completion_threshold", json!(0)),
        ("completion_threshold", json!(1.01)),
        ("preview", json!("yes")),
        ("position", json!(1)),
    ] {
        let answer = operator.asks(ADD, with(name, value)).await;
        refused_at(&answer, 400, "COMMON_0001", &format!("/{name}"));
    }
    for url in [
        "http://videos.example.com/a.mp4",
        "https://user:secret@videos.example.com/a.mp4",
        "https://localhost/a.mp4",
        "https://127.0.0.1/a.mp4",
        "https://2130706433/a.mp4",
        "https://0x7f.1/a.mp4",
        "https://[::ffff:127.0.0.1]/a.mp4",
        "https://169.254.169.254/latest/meta-data",
        "https://db.internal/a.mp4",
        "javascript:alert(1)",
        "",
    ] {
        let answer = operator.asks(ADD, with("video_url", json!(url))).await;
        refused_at(&answer, 400, "COURSE_2003", "/video_url");
    }
    let long = format!("https://videos.example.com/{}", "x".repeat(2000));
    for url in [json!(long), json!(7)] {
        refused_at(&operator.asks(ADD, with("video_url", url)).await, 400, "COURSE_2003", "/video_url");
    }
    let mut neither = lesson(&id, "One");
    neither.as_object_mut().expect("an object").remove("video_url");
    refused_at(&operator.asks(ADD, neither).await, 400, "COURSE_2003", "/video_url");
    let both = with("asset_id", json!("01a19b88-1b33-7d59-b86e-0ae435e292fb"));
    refused_at(&operator.asks(ADD, both).await, 400, "COURSE_2003", "/asset_id");

    assert_eq!(world.count("SELECT count(*) FROM courses.course_sessions").await, 0);
    assert_eq!(operator.asks(GET, json!({ "id": id })).await.ok().json["version"], 1);
    assert_eq!(world.facts("courses").await.len(), 1, "only that the course was made");
}

#[tokio::test]
async fn an_uploaded_video_must_be_there_and_be_a_video() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let file = || AssetId(Clock::default().new_id());
    let (video, slides, unknown) = (file(), file(), file());
    let with = |asset: Value| json!({ "course_id": id, "title": "One", "duration_ms": 1, "asset_id": asset });

    let alone = operator.asks(ADD, with(json!(video))).await;
    refused(&alone, 503, "COMMON_0010");
    assert_eq!(world.count("SELECT count(*) FROM courses.course_sessions").await, 0);

    with_content(&world, [(video, "video/mp4"), (slides, "application/pdf")]).await;
    let session = operator.insists(ADD, with(json!(video)), "k1").await.ok();
    assert_eq!(session.json["asset_id"], json!(video));
    assert_eq!(session.json["video_url"], Value::Null);
    for asset in [json!(slides), json!(unknown), json!("no uuid")] {
        refused_at(&operator.asks(ADD, with(asset)).await, 400, "COURSE_2003", "/asset_id");
    }
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    let seen = world.anonymous().asks(SESSIONS, json!({ "course_id": id })).await.ok();
    assert_eq!(seen.items()[0]["asset_id"], json!(video), "that it is uploaded is no secret");
    let (_, fact) = world.facts("courses").await.swap_remove(1);
    assert_eq!((&fact["data"]["asset_id"], &fact["data"]["video_url"]), (&json!(video), &Value::Null));
}

#[tokio::test]
async fn learning_e8_positions_are_1_to_n_without_gap_under_50_concurrent_adds() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let adds: Vec<_> = (0..50)
        .map(|number| {
            let (operator, body) = (operator.clone(), lesson(&id, &format!("Lesson {number}")));
            tokio::spawn(async move { operator.insists(ADD, body, &format!("add-{number}")).await.ok() })
        })
        .collect();
    let mut positions = Vec::new();
    for add in adds {
        positions.push(add.await.expect("added").number("/position"));
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=50).collect::<Vec<_>>());

    let list = operator.asks(SESSIONS, json!({ "course_id": id })).await.ok();
    let listed: Vec<_> =
        list.items().iter().map(|session| session["position"].as_i64().unwrap_or(0)).collect();
    assert_eq!(listed, positions);
    let course = operator.asks(GET, json!({ "id": id })).await.ok();
    assert_eq!((&course.json["session_count"], &course.json["version"]), (&json!(50), &json!(51)));
    let versions: Vec<_> = world
        .facts("courses")
        .await
        .iter()
        .filter(|(subject, _)| subject.contains(".session.added."))
        .map(|(_, fact)| (fact["entity_version"].clone(), fact["data"]["position"].clone()))
        .collect();
    let expected: Vec<_> = (1..=50).map(|position| (json!(position + 1), json!(position))).collect();
    assert_eq!(versions, expected, "announced in the order of their versions, each once");

    let twice = world.database.execute("UPDATE courses.course_sessions SET position = 1").await;
    assert!(twice.is_err(), "the database refuses two sessions in one place");
}
