//! Who may do what to a course, in which state, at which version; and what is announced.

use lectern_subjects::Role;
use serde_json::{Value, json};

use crate::{ADD, CREATE, GET, INSTRUCTORS, LIST, PUBLISH, SESSION, SESSIONS, UPDATE, draft, lesson, world};
use lectern_workbench::{refused, refused_at};

const NOBODY: &str = "01a19b7c-a7be-7a90-8043-ed469f361cd5";

#[tokio::test]
async fn a_draft_does_not_exist_for_others_and_a_published_course_is_not_theirs_to_change() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let session = operator.asks(ADD, lesson(&id, "One")).await.ok().id();
    let (anyone, learner, admin) = (world.anonymous(), world.someone(Role::User), world.someone(Role::Admin));

    let reads = [
        (GET, json!({ "id": id })),
        (SESSIONS, json!({ "course_id": id })),
        (SESSION, json!({ "course_id": id, "session_id": session })),
    ];
    let writes = [
        (UPDATE, json!({ "id": id, "title": "Mine" })),
        (PUBLISH, json!({ "id": id })),
        (ADD, lesson(&id, "Two")),
        (ADD, json!({ "course_id": id, "title": "Two", "duration_ms": 1, "asset_id": NOBODY })),
    ];
    for (subject, body) in &reads {
        for person in [&anyone, &learner] {
            refused(&person.asks(subject, body.clone()).await, 404, "COURSE_2001");
        }
        admin.asks(subject, body.clone()).await.ok();
    }
    for (subject, body) in &writes {
        refused(&anyone.asks(subject, body.clone()).await, 401, "USER_1006");
        refused(&learner.asks(subject, body.clone()).await, 404, "COURSE_2001");
    }
    assert_eq!(anyone.asks(LIST, json!({})).await.ok().items().len(), 0);

    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    for (subject, body) in &reads {
        anyone.asks(subject, body.clone()).await.ok();
    }
    for (subject, body) in &writes {
        refused(&learner.asks(subject, body.clone()).await, 403, "COMMON_0013");
    }
    for person in [&learner, &world.someone(Role::Moderator), &world.someone(Role::Auditor)] {
        let body = json!({ "title": "Mine", "description": "" });
        refused(&person.asks(CREATE, body).await, 403, "COMMON_0013");
        refused(&person.asks(INSTRUCTORS, json!({ "id": id, "user_ids": [] })).await, 403, "COMMON_0013");
    }
    assert_eq!(operator.asks(GET, json!({ "id": id })).await.ok().json["version"], 3);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let other = draft(&world, "Other").await.1;
    let session = operator.asks(ADD, lesson(&other, "One")).await.ok().id();
    for unknown in [NOBODY, "no uuid", "' OR 1=1 --"] {
        for (subject, body) in [
            (GET, json!({ "id": unknown })),
            (UPDATE, json!({ "id": unknown, "title": "x" })),
            (PUBLISH, json!({ "id": unknown })),
            (INSTRUCTORS, json!({ "id": unknown, "user_ids": [] })),
            (ADD, lesson(unknown, "One")),
            (SESSIONS, json!({ "course_id": unknown })),
            (SESSION, json!({ "course_id": unknown, "session_id": session })),
        ] {
            refused(&operator.asks(subject, body).await, 404, "COURSE_2001");
        }
        let body = json!({ "course_id": other, "session_id": unknown });
        refused(&operator.asks(SESSION, body).await, 404, "COURSE_2006");
    }
    let body = json!({ "course_id": id, "session_id": session });
    refused(&operator.asks(SESSION, body).await, 404, "COURSE_2006");
    assert_eq!(operator.asks(SESSIONS, json!({ "course_id": id })).await.ok().items().len(), 0);
}

#[tokio::test]
async fn l03_a_course_is_published_once_and_not_without_sessions() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    refused(&operator.asks(PUBLISH, json!({ "id": id })).await, 409, "COURSE_2004");
    assert_eq!(operator.asks(GET, json!({ "id": id })).await.ok().json["version"], 1);

    operator.asks(ADD, lesson(&id, "One")).await.ok();
    let published = operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    assert_eq!(published.json["status"], "published");
    assert!(published.json["published_at"].is_string());
    let again = operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    assert_eq!(again.json, published.json, "publishing it again changes nothing");
    let announced = world.facts("courses").await;
    assert_eq!(announced.iter().filter(|(subject, _)| subject.contains("course.published")).count(), 1);

    let forced = world.database.execute("UPDATE courses.courses SET session_count = 0").await;
    assert!(forced.is_err(), "the database refuses a published course without sessions, too");
}

#[tokio::test]
async fn an_archived_course_is_read_but_takes_no_changes() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    operator.asks(ADD, lesson(&id, "One")).await.ok();
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    world.database.execute("UPDATE courses.courses SET status = 'archived'").await.expect("arranged");
    for (subject, body) in [
        (UPDATE, json!({ "id": id, "title": "x" })),
        (PUBLISH, json!({ "id": id })),
        (INSTRUCTORS, json!({ "id": id, "user_ids": [NOBODY] })),
        (ADD, lesson(&id, "Two")),
    ] {
        refused(&operator.asks(subject, body).await, 409, "COURSE_2002");
    }
    refused(&world.someone(Role::User).asks(ADD, lesson(&id, "Two")).await, 403, "COMMON_0013");
    assert_eq!(world.anonymous().asks(GET, json!({ "id": id })).await.ok().json["status"], "archived");
    assert_eq!(world.anonymous().asks(LIST, json!({})).await.ok().items().len(), 0);
}

#[tokio::test]
async fn instructors_of_a_course_are_its_staff() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    let (teacher, other) = (world.someone(Role::User), world.someone(Role::User));
    let named = json!({ "id": id, "user_ids": [teacher.id, other.id, teacher.id] });
    let course = operator.asks(INSTRUCTORS, named).await.ok();
    assert_eq!(course.json["instructor_ids"].as_array().map(Vec::len), Some(2), "nobody is named twice");

    teacher.asks(GET, json!({ "id": id })).await.ok();
    teacher.asks(UPDATE, json!({ "id": id, "title": "Ours" })).await.ok();
    let session = teacher.asks(ADD, lesson(&id, "One")).await.ok().id();
    let seen = teacher.asks(SESSION, json!({ "course_id": id, "session_id": session })).await.ok();
    assert!(seen.json["video_url"].is_string());
    teacher.asks(PUBLISH, json!({ "id": id })).await.ok();
    let body = json!({ "id": id, "user_ids": [teacher.id] });
    refused(&teacher.asks(INSTRUCTORS, body.clone()).await, 403, "COMMON_0013");

    let fewer = operator.asks(INSTRUCTORS, body.clone()).await.ok();
    assert_eq!(fewer.json["instructor_ids"], json!([teacher.id]));
    assert_eq!(operator.asks(INSTRUCTORS, body).await.ok().json["version"], fewer.json["version"]);
    refused(&other.asks(UPDATE, json!({ "id": id, "title": "x" })).await, 403, "COMMON_0013");
    let nobody = json!({ "id": id, "user_ids": [teacher.id, "nobody"] });
    refused_at(&operator.asks(INSTRUCTORS, nobody).await, 400, "COMMON_0001", "/user_ids/1");
    let many: Vec<_> = (0..51).map(|_| world.anonymous().id).collect();
    let many = operator.asks(INSTRUCTORS, json!({ "id": id, "user_ids": many })).await;
    refused_at(&many, 400, "COMMON_0001", "/user_ids");
}

#[tokio::test]
async fn a_stale_if_match_changes_nothing() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    operator.asks_with(UPDATE, json!({ "id": id, "title": "Two" }), &[("If-Match", "\"1\"")]).await.ok();
    for (subject, body) in [
        (UPDATE, json!({ "id": id, "title": "Three" })),
        (ADD, lesson(&id, "One")),
        (PUBLISH, json!({ "id": id })),
        (INSTRUCTORS, json!({ "id": id, "user_ids": [NOBODY] })),
    ] {
        let stale = operator.asks_with(subject, body, &[("If-Match", "\"1\"")]).await;
        assert_eq!(refused(&stale, 412, "COMMON_0011")["version"], 2);
    }
    let course = operator.asks(GET, json!({ "id": id })).await.ok();
    assert_eq!((&course.json["title"], &course.json["version"]), (&json!("Two"), &json!(2)));
}

#[tokio::test]
async fn an_idempotency_key_has_one_effect_and_one_answer() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    let body = json!({ "title": "Rust", "description": "" });
    let key = [("Idempotency-Key", "k1")];
    let first = operator.asks_with(CREATE, body.clone(), &key).await.ok();
    let again = operator.asks_with(CREATE, body.clone(), &key).await.ok();
    assert_eq!((&again.json, again.header("etag")), (&first.json, first.header("etag")));
    let other = operator.asks_with(CREATE, json!({ "title": "Else", "description": "" }), &key).await;
    refused(&other, 422, "COMMON_0007");

    let add = lesson(&first.id(), "One");
    let session = operator.asks_with(ADD, add.clone(), &key).await.ok();
    assert_eq!(operator.asks_with(ADD, add, &key).await.ok().json, session.json);
    let course = operator.asks(GET, json!({ "id": first.id() })).await.ok();
    assert_eq!(course.json["session_count"], 1);

    let mallory = world.someone(Role::Operator);
    let theirs = mallory.asks_with(CREATE, body, &key).await.ok();
    assert_ne!(theirs.id(), first.id(), "a key is its owner's");
    assert_eq!(world.count("SELECT count(*) FROM courses.courses").await, 2);
}

#[tokio::test]
async fn each_change_is_announced_with_the_version_that_it_made() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    let body = json!({ "title": "Rust", "description": "", "price": "29.99", "currency": "USD" });
    let id = operator.asks(CREATE, body).await.ok().id();
    operator.asks(UPDATE, json!({ "id": id, "title": "Rust 2" })).await.ok();
    operator.asks(INSTRUCTORS, json!({ "id": id, "user_ids": [operator.id] })).await.ok();
    let session = operator.asks(ADD, lesson(&id, "One")).await.ok().json;
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    refused(&operator.asks(UPDATE, json!({ "id": NOBODY, "title": "x" })).await, 404, "COURSE_2001");

    let facts = world.facts("courses").await;
    let told: Vec<(&str, i64)> = facts
        .iter()
        .map(|(_, fact)| {
            (fact["event_type"].as_str().unwrap_or_default(), fact["entity_version"].as_i64().unwrap_or(0))
        })
        .collect();
    let expected = [
        ("course.created", 1),
        ("course.updated", 2),
        ("course.instructors_changed", 3),
        ("session.added", 4),
        ("course.updated", 4),
        ("course.published", 5),
    ];
    assert_eq!(told, expected);
    for (subject, fact) in &facts {
        assert!(subject.ends_with(&format!(".{id}")), "{subject}");
        assert_eq!(fact["actor_id"], json!(operator.id));
        assert_eq!(fact["data"]["course_id"], id);
    }
    let added = &facts[3].1["data"];
    for field in
        ["position", "duration_ms", "asset_id", "video_url", "required", "preview", "completion_threshold"]
    {
        assert_eq!(added[field], session[field], "{field}");
    }
    assert_eq!(added["session_id"], session["id"]);
    let published = &facts[5].1["data"];
    assert_eq!(published["title"], "Rust 2");
    assert_eq!((&published["price_minor"], &published["currency"]), (&json!(2999), &json!("USD")));
    assert_eq!(facts[3].1["data"]["asset_id"], Value::Null);
}

#[tokio::test]
async fn i108_a_teacher_gets_what_they_teach_and_not_who_else_does() {
    let world = world().await;
    let (operator, course) = draft(&world, "Rust").await;
    let (ada, grace) = (world.someone(Role::User), world.someone(Role::User));
    let both = json!({ "id": course, "user_ids": [ada.id, grace.id] });
    operator.asks(INSTRUCTORS, both).await.ok();
    let page = ada.asks("svc.courses.v1.privacy.export", json!({})).await.ok();
    assert_eq!(page.text("/sections/0/kind"), "teaches");
    assert_eq!(page.at("/sections/0/rows"), &json!([{ "course_id": course }]));
}
