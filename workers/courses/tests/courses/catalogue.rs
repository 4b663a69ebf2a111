//! What a course says about itself, and the list of courses.

use std::collections::HashSet;

use lectern_subjects::Role;
use serde_json::{Value, json};

use crate::{ADD, CREATE, GET, LIST, PUBLISH, UPDATE, draft, lesson, world};
use lectern_workbench::{Person, World, refused, refused_at};

#[tokio::test]
async fn l01_l02_an_operator_makes_a_course_and_updates_it_at_any_time() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    let body = json!({ "title": "Rust", "description": "From the ground up.",
                       "instructor": { "name": "Jonas Weber", "bio": "Teaches." }, "language": "ko-KR" });
    let made = operator.asks(CREATE, body).await.ok();
    assert_eq!(made.json["status"], "draft");
    assert_eq!(made.json["instructor"], json!({ "name": "Jonas Weber", "bio": "Teaches." }));
    assert_eq!(made.json["language"], "ko-KR");
    assert_eq!(made.header("etag"), "\"1\"");
    let id = made.id();

    let changed = operator.asks(UPDATE, json!({ "id": id, "title": "Rust, twice" })).await.ok();
    assert_eq!(changed.json["title"], "Rust, twice");
    assert_eq!(changed.json["description"], "From the ground up.");
    assert_eq!(changed.header("etag"), "\"2\"");
    operator.asks(ADD, lesson(&id, "One")).await.ok();
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    let changed = operator.asks(UPDATE, json!({ "id": id, "instructor": { "name": "Mina" } })).await.ok();
    assert_eq!(changed.json["instructor"]["name"], "Mina", "also after it was published");
    assert_eq!(changed.json["instructor"]["bio"], Value::Null, "an instructor is replaced as a whole");

    let seen = world.anonymous().asks(GET, json!({ "id": id })).await.ok();
    assert_eq!(seen.json, changed.json, "what was answered is what is kept");

    let same = operator.asks(UPDATE, json!({ "id": id, "title": "Rust, twice" })).await.ok();
    assert_eq!(same.json["version"], changed.json["version"], "what changes nothing is no new version");
    let revisions = world
        .database
        .value("SELECT string_agg(concat_ws(' ', version, body->>'title', body->>'status'), ', ' ORDER BY version)
                FROM courses.course_revisions")
        .await
        .expect("read");
    let history = "1 Rust draft, 2 Rust, twice draft, 3 Rust, twice draft, 4 Rust, twice published, 5 Rust, twice published";
    assert_eq!(revisions.as_deref(), Some(history));
}

#[tokio::test]
async fn money_is_exact_and_half_a_price_is_refused() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    let create = async |price: Value, currency: Value| {
        let mut body = json!({ "title": "Rust", "description": "" });
        for (name, value) in [("price", price), ("currency", currency)] {
            if !value.is_null() {
                body[name] = value;
            }
        }
        operator.asks(CREATE, body).await
    };
    for (price, currency, shown, minor) in [
        (json!(29.99), "USD", "29.99", 2999),
        (json!("29.99"), "USD", "29.99", 2999),
        (json!(0.1), "EUR", "0.10", 10),
        (json!(1500), "KRW", "1500", 1500),
        (json!("1.005"), "KWD", "1.005", 1005),
        (json!("999999999999.99"), "USD", "999999999999.99", 99_999_999_999_999_i64),
    ] {
        let course = create(price, json!(currency)).await.ok();
        assert_eq!(course.json["price"], shown);
        assert_eq!(course.json["price_minor"], minor);
        assert_eq!(course.json["currency"], currency);
        let read = operator.asks(GET, json!({ "id": course.id() })).await.ok();
        assert_eq!(read.json, course.json);
    }
    for free in [create(Value::Null, Value::Null).await.ok(), create(json!(0), json!("USD")).await.ok()] {
        assert_eq!(
            [&free.json["price"], &free.json["price_minor"], &free.json["currency"]],
            [&Value::Null; 3]
        );
    }
    let made = world.count("SELECT count(*) FROM courses.courses").await;
    for (price, currency, pointer) in [
        (json!(29.99), Value::Null, "/currency"),
        (Value::Null, json!("USD"), "/price"),
        (json!("29.999"), json!("USD"), "/price"),
        (json!(0.5), json!("KRW"), "/price"),
        (json!(-1), json!("USD"), "/price"),
        (json!("1e3"), json!("USD"), "/price"),
        (json!(1), json!("usd"), "/currency"),
        (json!(true), json!("USD"), "/price"),
    ] {
        refused_at(&create(price, currency).await, 400, "COMMON_0001", pointer);
    }
    assert_eq!(world.count("SELECT count(*) FROM courses.courses").await, made, "nothing is half-written");
}

#[tokio::test]
async fn bad_shapes_are_refused_at_their_field() {
    let world = world().await;
    let (operator, id) = draft(&world, "Rust").await;
    for (subject, body, pointer) in [
        (CREATE, json!({ "title": "", "description": "" }), "/title"),
        (CREATE, json!({ "title": "   ", "description": "" }), "/title"),
        (CREATE, json!({ "title": "x".repeat(201), "description": "" }), "/title"),
        (CREATE, json!({ "title": "x", "description": "x".repeat(20_001) }), "/description"),
        (CREATE, json!({ "title": "x" }), "/description"),
        (CREATE, json!({ "title": 7, "description": "" }), "/title"),
        (CREATE, json!({ "title": "x", "description": "", "colour": "red" }), "/colour"),
        (
            CREATE,
            json!({ "title": "x", "description": "", "instructor": { "name": "" } }),
            "/instructor/name",
        ),
        (CREATE, json!({ "title": "x", "description": "", "language": "english!" }), "/language"),
        (UPDATE, json!({ "id": id, "title": "" }), "/title"),
        (UPDATE, json!({ "id": id, "price": 5 }), "/price"),
        (LIST, json!({ "limit": 0 }), "/limit"),
        (LIST, json!({ "limit": 101 }), "/limit"),
        (LIST, json!({ "status": "gone" }), "/status"),
        (LIST, json!({ "cursor": "page 2" }), "/cursor"),
        (LIST, json!({ "cursor": "f".repeat(48) }), "/cursor"),
        (LIST, json!({ "q": "x".repeat(101) }), "/q"),
    ] {
        refused_at(&operator.asks(subject, body).await, 400, "COMMON_0001", pointer);
    }
    let emoji = operator.asks(CREATE, json!({ "title": "🎓".repeat(200), "description": "" })).await;
    emoji.ok();
    assert_eq!(world.count("SELECT count(*) FROM courses.courses").await, 2);
}

#[tokio::test]
async fn markup_and_sql_are_kept_as_text_and_searched_as_text() {
    let world = world().await;
    let nasty = "Robert'); DROP TABLE courses.courses;-- <script>alert(1)</script> 100%";
    let (operator, id) = draft(&world, nasty).await;
    let body = json!({ "id": id, "description": format!("{nasty}\u{7}\n$1 \\ {{}}") });
    let course = operator.asks(UPDATE, body.clone()).await.ok();
    assert_eq!(course.json["title"], nasty);
    assert_eq!(course.json["description"], body["description"]);
    operator.asks(ADD, lesson(&id, "One")).await.ok();
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    let (_, plain) = published(&world, "Plain words").await;

    let found = async |q: &str| {
        let list = world.anonymous().asks(LIST, json!({ "q": q })).await.ok();
        list.items().iter().map(|card| card["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("' OR '1'='1").await, Vec::<String>::new());
    assert_eq!(found("'); DROP TABLE").await, vec![id.clone()]);
    assert_eq!(found("100%").await, vec![id.clone()]);
    assert_eq!(found("%").await, vec![id.clone()], "a percent sign is no wildcard");
    assert_eq!(found("_lain").await, Vec::<String>::new(), "nor is an underscore");
    assert_eq!(found("words PLAIN").await, vec![plain.clone()], "all words, any order, any case");
    assert_eq!(found("plain missing").await, Vec::<String>::new());
    assert_eq!(found("  ").await, vec![plain, id]);
}

#[tokio::test]
async fn pages_of_the_list_are_complete_and_do_not_overlap_while_courses_are_added() {
    let world = world().await;
    let mut there = HashSet::new();
    for number in 0..13 {
        there.insert(published(&world, &format!("Course {number}")).await.1);
    }
    // several of one microsecond: the id decides
    world
        .database
        .execute("UPDATE courses.courses SET published_at = '2026-11-01T00:00:00Z' WHERE title LIKE '%1%'")
        .await
        .expect("arranged");

    let anyone = world.anonymous();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut body = json!({ "limit": 3 });
        if !cursor.is_null() {
            body["cursor"] = cursor;
        }
        let page = anyone.asks(LIST, body).await.ok();
        seen.extend(page.items().iter().map(|card| card["id"].as_str().unwrap_or_default().to_owned()));
        cursor = page.json["next_cursor"].clone();
        pages += 1;
        if cursor.is_null() {
            break;
        }
        assert_eq!(page.items().len(), 3);
        published(&world, "Meanwhile").await;
    }
    assert_eq!(pages, 5);
    assert_eq!(seen.len(), 13, "none twice, none of those that came meanwhile");
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), there);
    let card = &anyone.asks(LIST, json!({ "q": "Course 12" })).await.ok().json["items"][0];
    assert_eq!(card["session_count"], 1);
    assert_eq!(card["duration_ms"], 60_000);
    assert!(card.get("description").is_none());
}

#[tokio::test]
async fn only_operators_and_admins_list_drafts() {
    let world = world().await;
    let (operator, first) = draft(&world, "First").await;
    let (_, second) = draft(&world, "Second").await;
    published(&world, "Out").await;
    let drafts = json!({ "status": "draft", "limit": 1 });
    for person in [world.anonymous(), world.someone(Role::User), world.someone(Role::Auditor)] {
        refused(&person.asks(LIST, drafts.clone()).await, 403, "COMMON_0013");
        assert_eq!(person.asks(LIST, json!({ "status": "published" })).await.ok().items().len(), 1);
    }
    for person in [operator, world.someone(Role::Admin)] {
        let page = person.asks(LIST, drafts.clone()).await.ok();
        assert_eq!(page.items()[0]["id"], second, "newest first");
        let next = json!({ "status": "draft", "cursor": page.json["next_cursor"] });
        let page = person.asks(LIST, next).await.ok();
        assert_eq!(page.items()[0]["id"], first);
        assert_eq!(page.json["next_cursor"], Value::Null);
    }
}

async fn published(world: &World, title: &str) -> (Person, String) {
    let (operator, id) = draft(world, title).await;
    operator.asks(ADD, lesson(&id, "One")).await.ok();
    operator.asks(PUBLISH, json!({ "id": id })).await.ok();
    (operator, id)
}
