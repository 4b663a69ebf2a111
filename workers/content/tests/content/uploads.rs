//! Uploads from their creation to the asset, and every way to be refused.

use lectern_subjects::Role;
use serde_json::{Value, json};

use crate::{ADVANCE, ASSET, COMPLETE, CREATE, GET, Person, SHA256, World, chunk, complete, upload, world};
use lectern_workbench::{refused, refused_at};

const NOBODY: &str = "01a19b7c-a7be-7a90-8043-ed469f361cd5";

#[tokio::test]
async fn l13_l15_l16_a_whole_upload_becomes_an_asset_with_type_and_path() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    let body = json!({ "length": 100, "file_name": "videos/강의 1강.MP4" });
    let made = operator.asks(CREATE, body).await.ok();
    let id = made.id();
    let path = format!("media/{id}/file.mp4");
    for (field, value) in [
        ("file_name", json!("강의 1강.MP4")),
        ("mime", json!("video/mp4")),
        ("path", json!(path)),
        ("offset", json!(0)),
        ("state", json!("open")),
        ("asset_id", Value::Null),
        ("owner", json!(operator.id)),
    ] {
        assert_eq!(made.json[field], value, "{field}");
    }
    let first = operator.asks(ADVANCE, chunk(&id, 0, 60, "0-a")).await.ok();
    assert_eq!(first.at("/upload/offset"), 60);
    assert_eq!(first.at("/parts"), &json!([]));
    let second = operator.asks(ADVANCE, chunk(&id, 60, 40, "60-b")).await.ok();
    assert_eq!(second.at("/parts"), &json!(["0-a", "60-b"]), "the parts in order, to be joined");
    assert_eq!(second.at("/upload/state"), "open");
    let asked = operator.asks(ADVANCE, chunk(&id, 100, 0, "-")).await.ok();
    assert_eq!(asked.json, second.json, "an empty chunk at the end asks for the parts again");

    let asset = complete(&operator, &id, 100, "video/mp4").await.ok();
    for (field, value) in [
        ("id", json!(id)),
        ("path", json!(path)),
        ("mime", json!("video/mp4")),
        ("size", json!(100)),
        ("sha256", json!(SHA256)),
        ("file_name", json!("강의 1강.MP4")),
    ] {
        assert_eq!(asset.json[field], value, "{field}");
    }
    let again = complete(&operator, &id, 100, "video/mp4").await.ok();
    assert_eq!(again.json, asset.json, "whoever completes it again gets the same asset");
    let learner = world.someone(Role::User);
    assert_eq!(learner.asks(ASSET, json!({ "id": id })).await.ok().json, asset.json);
    let stands = operator.asks(GET, json!({ "id": id })).await.ok();
    assert_eq!((&stands.json["state"], &stands.json["asset_id"]), (&json!("complete"), &json!(id)));

    let facts = world.facts("content").await;
    assert_eq!(facts.len(), 1, "announced once");
    assert_eq!(facts[0].0, format!("evt.content.v1.upload.completed.{id}"));
    let told = json!({ "asset_id": id, "mime": "video/mp4", "size": 100, "path": path });
    assert_eq!(facts[0].1["data"], told);
    let late = operator.asks(ADVANCE, chunk(&id, 100, 1, "late")).await;
    assert_eq!(refused(&late, 409, "CONTENT_2202")["state"], "complete");
}

#[tokio::test]
async fn learning_e12_the_offset_moves_only_from_where_it_stands_and_never_past_the_length() {
    let world = world().await;
    let (operator, id) = upload(&world, "a.mp4", 100).await;
    let ahead = operator.asks(ADVANCE, chunk(&id, 10, 10, "ahead")).await;
    assert_eq!(refused(&ahead, 409, "CONTENT_2202")["offset"], 0);
    operator.asks(ADVANCE, chunk(&id, 0, 60, "0-a")).await.ok();
    let behind = operator.asks(ADVANCE, chunk(&id, 0, 60, "0-b")).await;
    assert_eq!(refused(&behind, 409, "CONTENT_2202")["offset"], 60);
    let same = operator.asks(ADVANCE, chunk(&id, 0, 60, "0-a")).await.ok();
    assert_eq!(same.at("/upload/offset"), 60, "the same chunk told again counts once");
    for bytes in [41, i64::MAX] {
        let beyond = operator.asks(ADVANCE, chunk(&id, 60, bytes, "60-a")).await;
        assert_eq!(refused(&beyond, 413, "CONTENT_2203")["offset"], 60);
    }
    let far = operator.asks(ADVANCE, chunk(&id, i64::MAX, i64::MAX, "far")).await;
    refused(&far, 409, "CONTENT_2202");
    let nothing = operator.asks(ADVANCE, chunk(&id, 59, 0, "-")).await;
    assert_eq!(refused(&nothing, 409, "CONTENT_2202")["offset"], 60);
    for part in ["0-a", "../../media/x", "a/b", ".hidden"] {
        let answer = operator.asks(ADVANCE, chunk(&id, 60, 10, part)).await;
        refused_at(&answer, 400, "COMMON_0001", "/part");
    }
    for (field, value) in [("from", json!(-1)), ("bytes", json!(-1)), ("bytes", json!(1.5))] {
        let mut body = chunk(&id, 60, 10, "60-a");
        body[field] = value;
        refused_at(&operator.asks(ADVANCE, body).await, 400, "COMMON_0001", &format!("/{field}"));
    }
    assert_eq!(world.count("SELECT \"offset\" FROM content.uploads").await, 60);
    assert_eq!(world.count("SELECT count(*) FROM content.upload_parts").await, 1);
    let forced = world.database.execute("UPDATE content.uploads SET \"offset\" = 101").await;
    assert!(forced.is_err(), "the database refuses it, too");
}

#[tokio::test]
async fn learning_e12_of_concurrent_chunks_at_one_offset_one_counts() {
    let world = world().await;
    let (operator, id) = upload(&world, "a.mp4", 1000).await;
    let mut offset = 0;
    while offset < 1000 {
        let rivals: Vec<_> = (0..4)
            .map(|rival| {
                let (operator, body) =
                    (operator.clone(), chunk(&id, offset, 250, &format!("{offset}-{rival}")));
                tokio::spawn(async move { operator.insists(ADVANCE, body, "ignored").await })
            })
            .collect();
        let mut counted = 0;
        for rival in rivals {
            let answer = rival.await.expect("answered");
            match answer.status {
                200 => counted += 1,
                _ => assert_eq!(refused(&answer, 409, "CONTENT_2202")["offset"], offset + 250),
            }
        }
        assert_eq!(counted, 1);
        offset += 250;
    }
    let whole = operator.asks(ADVANCE, chunk(&id, 1000, 0, "-")).await.ok();
    assert_eq!(whole.at("/parts").as_array().map(Vec::len), Some(4));
    let sum = "SELECT sum(bytes) FROM content.upload_parts";
    assert_eq!(world.count(sum).await, 1000);
}

#[tokio::test]
async fn an_upload_becomes_an_asset_only_when_it_is_whole_and_what_its_name_says() {
    let world = world().await;
    let (operator, id) = upload(&world, "a.mp4", 100).await;
    operator.asks(ADVANCE, chunk(&id, 0, 99, "0-a")).await.ok();
    refused(&complete(&operator, &id, 100, "video/mp4").await, 409, "CONTENT_2202");
    refused(&complete(&operator, &id, 99, "video/mp4").await, 409, "CONTENT_2202");
    operator.asks(ADVANCE, chunk(&id, 99, 1, "99-a")).await.ok();
    refused(&complete(&operator, &id, 99, "video/mp4").await, 409, "CONTENT_2202");
    for sniffed in ["application/x-dosexec", "text/html", "application/octet-stream", "image/png"] {
        refused(&complete(&operator, &id, 100, sniffed).await, 415, "CONTENT_2211");
    }
    let body = json!({ "id": id, "sha256": "ABC", "size": 100, "sniffed": "video/mp4" });
    refused_at(&operator.asks(COMPLETE, body).await, 400, "COMMON_0001", "/sha256");
    assert_eq!(world.count("SELECT count(*) FROM content.assets").await, 0);
    assert_eq!(world.facts("content").await.len(), 0);
    refused(&operator.asks(ASSET, json!({ "id": id })).await, 404, "CONTENT_2221");
    complete(&operator, &id, 100, "video/mp4").await.ok();

    let id = whole(&operator, "b.webm").await;
    let (a, b) =
        tokio::join!(complete(&operator, &id, 10, "video/webm"), complete(&operator, &id, 10, "video/webm"));
    assert_eq!(a.ok().json, b.ok().json, "two at once make one asset");
    assert_eq!(world.count("SELECT count(*) FROM content.assets").await, 2);
    assert_eq!(world.facts("content").await.len(), 2);
}

#[tokio::test]
async fn names_types_and_lengths_that_are_not_taken() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    let create = async |length: Value, name: &str| {
        operator.asks(CREATE, json!({ "length": length, "file_name": name })).await
    };
    let safe = create(json!(1), "../../etc/cron.d/evil.mp4").await.ok();
    assert_eq!(safe.text("/path"), format!("media/{}/file.mp4", safe.id()));
    let sql = create(json!(1), "'); DROP TABLE content.uploads;--.mp4").await.ok();
    assert_eq!(sql.text("/file_name"), "'); DROP TABLE content.uploads;--.mp4");
    create(json!(8_589_934_592_i64), "a.mp4").await.ok();

    for name in ["..", "../", "...", " ", "\u{1}"] {
        refused(&create(json!(1), name).await, 400, "CONTENT_2212");
    }
    for name in [json!(""), json!("x".repeat(256)), json!("a\u{0}.mp4"), json!(7)] {
        let answer = operator.asks(CREATE, json!({ "length": 1, "file_name": name })).await;
        refused_at(&answer, 400, "CONTENT_2212", "/file_name");
    }
    for name in ["a.exe", "a.mp4.html", "a.svg", "noextension"] {
        refused(&create(json!(1), name).await, 415, "CONTENT_2210");
    }
    refused(&create(json!(8_589_934_593_i64), "a.mp4").await, 413, "CONTENT_2203");
    for length in [json!(0), json!(-1), json!("1"), Value::Null] {
        refused_at(&create(length, "a.mp4").await, 400, "COMMON_0001", "/length");
    }
    assert_eq!(world.count("SELECT count(*) FROM content.uploads").await, 3);
}

#[tokio::test]
async fn an_upload_is_its_owners() {
    let world = world().await;
    let (owner, id) = upload(&world, "a.mp4", 100).await;
    let (anyone, learner, colleague) =
        (world.anonymous(), world.someone(Role::User), world.someone(Role::Operator));
    let body = json!({ "length": 1, "file_name": "a.mp4" });
    refused(&anyone.asks(CREATE, body.clone()).await, 401, "USER_1006");
    refused(&learner.asks(CREATE, body.clone()).await, 403, "COMMON_0013");
    refused(&anyone.asks(ASSET, json!({ "id": id })).await, 401, "USER_1006");

    refused(&learner.asks(GET, json!({ "id": id })).await, 404, "CONTENT_2206");
    colleague.asks(GET, json!({ "id": id })).await.ok();
    for person in [&learner, &colleague] {
        refused(&person.asks(ADVANCE, chunk(&id, 0, 100, "0-a")).await, 404, "CONTENT_2206");
        refused(&person.asks(ADVANCE, chunk(&id, 0, 0, "0-a")).await, 404, "CONTENT_2206");
        refused(&complete(person, &id, 100, "video/mp4").await, 404, "CONTENT_2206");
    }
    for unknown in [NOBODY, "no uuid"] {
        refused(&owner.asks(GET, json!({ "id": unknown })).await, 404, "CONTENT_2206");
        refused(&owner.asks(ADVANCE, chunk(unknown, 0, 1, "0-a")).await, 404, "CONTENT_2206");
        refused(&complete(&owner, unknown, 1, "video/mp4").await, 404, "CONTENT_2206");
        refused(&owner.asks(ASSET, json!({ "id": unknown })).await, 404, "CONTENT_2221");
    }
    let key = [("Idempotency-Key", "k1")];
    let first = owner.asks_with(CREATE, body.clone(), &key).await.ok();
    assert_eq!(owner.asks_with(CREATE, body, &key).await.ok().json, first.json, "one key, one upload");
}

#[tokio::test]
async fn an_unfinished_upload_expires_and_is_forgotten_later() {
    let world = World::with_schema_of("content").await;
    let owner = world.someone(Role::Operator);
    let insert = async |id: &str, state: &str, expired: &str| {
        let sql = format!(
            "INSERT INTO content.uploads (id, owner, file_name, mime, path, length, \"offset\", state, created_at, expires_at)
             VALUES ('{id}', '{}', 'a.mp4', 'video/mp4', 'media/{id}/a.mp4', 100, 100, '{state}', now(), now() - interval '{expired}');
             INSERT INTO content.upload_parts (upload_id, starts_at, bytes, name) VALUES ('{id}', 0, 100, '0-a')",
            owner.id
        );
        world.database.execute(&sql).await.expect("arranged");
    };
    let [expired, old, finished] = [1, 2, 3].map(|last| format!("01a19b7c-a7be-7a90-8043-ed469f361cd{last}"));
    insert(&expired, "open", "1 second").await;
    insert(&old, "open", "8 days").await;
    insert(&finished, "complete", "8 days").await;
    // the sweep runs at start, and then every ten minutes
    world.run(lectern_content::service(), |core| core).await;

    refused(&owner.asks(GET, json!({ "id": expired })).await, 410, "CONTENT_2207");
    refused(&owner.asks(ADVANCE, chunk(&expired, 100, 0, "-")).await, 410, "CONTENT_2207");
    refused(&owner.asks(ADVANCE, chunk(&expired, 0, 100, "0-a")).await, 410, "CONTENT_2207");
    refused(&complete(&owner, &expired, 100, "video/mp4").await, 410, "CONTENT_2207");
    let mut answer = owner.asks(GET, json!({ "id": old })).await;
    for _ in 0..100 {
        if answer.status == 404 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = owner.asks(GET, json!({ "id": old })).await;
    }
    refused(&answer, 404, "CONTENT_2206");
    owner.asks(GET, json!({ "id": finished })).await.ok();
    assert_eq!(
        world.count("SELECT count(*) FROM content.upload_parts").await,
        2,
        "its parts are forgotten, too"
    );
}

/// A whole upload of ten bytes.
async fn whole(owner: &Person, file_name: &str) -> String {
    let id = owner.asks(CREATE, json!({ "length": 10, "file_name": file_name })).await.ok().id();
    owner.asks(ADVANCE, chunk(&id, 0, 10, "0-a")).await.ok();
    id
}

#[tokio::test]
async fn i108_who_uploaded_a_file_gets_what_is_known_of_it() {
    let world = world().await;
    let (operator, id) = upload(&world, "Ada Lovelace.mp4", 100).await;
    operator.asks(ADVANCE, chunk(&id, 0, 100, "0-a")).await.ok();
    complete(&operator, &id, 100, "video/mp4").await.ok();
    upload(&world, "Somebody else's.mp4", 100).await;
    let page = operator.asks("svc.content.v1.privacy.export", json!({})).await.ok();
    for (n, kind) in ["uploads", "files"].into_iter().enumerate() {
        assert_eq!(page.text(&format!("/sections/{n}/kind")), kind);
        let rows = page.at(&format!("/sections/{n}/rows")).as_array().expect("rows").clone();
        assert!(
            rows.len() == 1 && rows[0]["file_name"] == "Ada Lovelace.mp4" && rows[0]["id"] == *id,
            "{page}"
        );
    }
}
