//! Resumable uploads, tus 1.0.0 core and creation.

use std::time::Duration;

use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shared::{NOBODY, house, until};
use crate::way::clip;

async fn head(who: &Actor, place: &str) -> Answer {
    who.asks(Method::HEAD, place).header("tus-resumable", "1.0.0").send().await
}

async fn offset(who: &Actor, place: &str) -> usize {
    head(who, place).await.ok().header("upload-offset").parse().expect("a number")
}

#[tokio::test]
async fn an_upload_goes_on_from_any_byte() {
    let operator = house().await.staff("operator");
    let bytes = clip(300_123);
    let created = operator.begins_upload("any byte.mp4", bytes.len()).await.created();
    let place = created.header("location").to_owned();
    assert_eq!(created.header("tus-resumable"), "1.0.0");
    let mut at = 0;
    for size in [1, 12_345, 77, 200_000] {
        assert_eq!(offset(&operator, &place).await, at);
        let sent = operator.sends_chunk(&place, at, bytes[at..at + size].to_vec()).await.is(204);
        at += size;
        assert_eq!(sent.header("upload-offset"), at.to_string());
    }
    let last = operator.sends_chunk(&place, at, bytes[at..].to_vec()).await.is(204);
    assert_eq!(last.header("upload-offset"), bytes.len().to_string());
    let upload = operator.gets(&place).await.ok();
    assert_eq!(upload.at("/state"), "complete");
    let asset = operator.gets(&format!("/files/{}", upload.text("/asset_id"))).await.ok();
    assert_eq!((asset.at("/size"), asset.at("/mime")), (&json!(bytes.len()), &json!("video/mp4")));
}

#[tokio::test]
async fn what_the_protocol_forbids_is_refused() {
    let operator = house().await.staff("operator");
    let bytes = clip(1000);
    let created = operator.begins_upload("refused.mp4", bytes.len()).await.created();
    let place = created.header("location").to_owned();
    let refused = operator.sends_chunk(&place, 10, bytes[10..].to_vec()).await.refused(409, "CONTENT_2202");
    assert_eq!(refused.at("/details/offset"), 0);
    operator.sends_chunk(&place, 0, clip(1001)).await.refused(413, "CONTENT_2203");
    assert_eq!(offset(&operator, &place).await, 0, "a refused chunk was kept");
    let ask = |version: Option<&str>, content_type: &str| {
        let ask = operator
            .asks(Method::PATCH, &place)
            .header("upload-offset", 0)
            .bytes(content_type, bytes.clone());
        match version {
            Some(version) => ask.header("tus-resumable", version),
            None => ask,
        }
    };
    let chunk = "application/offset+octet-stream";
    ask(Some("0.2.2"), chunk).send().await.refused(412, "CONTENT_2201");
    ask(None, chunk).send().await.refused(412, "CONTENT_2201");
    ask(Some("1.0.0"), "application/octet-stream").send().await.refused(415, "CONTENT_2204");
    operator.begins_upload("long.mp4", (8 << 30) + 1).await.refused(413, "CONTENT_2203");
    operator.begins_upload("program.exe", 10).await.refused(415, "CONTENT_2210");
    assert_eq!(offset(&operator, &place).await, 0);
    operator.sends_chunk(&place, 0, bytes.clone()).await.is(204);
    assert_eq!(operator.gets(&place).await.ok().at("/state"), "complete");
}

#[tokio::test]
async fn bytes_that_are_not_what_the_name_says_become_no_file() {
    let operator = house().await.staff("operator");
    let text = b"<script>alert(1)</script>".to_vec();
    let created = operator.begins_upload("lesson.mp4", text.len()).await.created();
    let place = created.header("location").to_owned();
    operator.sends_chunk(&place, 0, text).await.refused(415, "CONTENT_2211");
    assert!(operator.gets(&place).await.json["asset_id"].is_null());
}

#[tokio::test]
async fn an_upload_is_its_owners_alone() {
    let house = house().await;
    let (operator, admin) = (house.staff("operator"), house.staff("admin"));
    let place = operator.begins_upload("mine.mp4", 1000).await.created().header("location").to_owned();
    // staff may look, and no more
    head(&admin, &place).await.ok();
    admin.sends_chunk(&place, 0, clip(1000)).await.refused(404, "CONTENT_2206");
    for role in ["moderator", "auditor"] {
        let other = house.staff(role);
        head(&other, &place).await.is(404);
        other.gets(&place).await.refused(404, "CONTENT_2206");
        other.sends_chunk(&place, 0, clip(1000)).await.refused(404, "CONTENT_2206");
    }
    let parts = house.stack.dir().join(format!("media{}", place.trim_start_matches("/api/v1")));
    let kept = std::fs::read_dir(&parts).map(|entries| entries.count()).unwrap_or_default();
    assert_eq!(kept, 0, "refused bytes were kept in {}", parts.display());
    operator
        .sends_chunk(&format!("/api/v1/uploads/{NOBODY}"), 0, vec![0; 10])
        .await
        .refused(404, "CONTENT_2206");
    let alice = house.stack.learner("Alice").await;
    alice.begins_upload("hers.mp4", 1000).await.refused(403, "COMMON_0013");
    house.stack.anonymous().begins_upload("anyones.mp4", 1000).await.refused(401, "USER_1006");
    assert_eq!(offset(&operator, &place).await, 0);
}

#[tokio::test]
async fn what_came_before_the_connection_broke_is_kept() {
    let house = house().await;
    let operator = house.staff("operator");
    let bytes = clip(500_000);
    let place =
        operator.begins_upload("broken.mp4", bytes.len()).await.created().header("location").to_owned();
    let address = house.stack.http_url().trim_start_matches("http://").to_owned();
    let mut at = 0;
    for size in [100_000, 1, 150_000] {
        let mut connection = TcpStream::connect(&address).await.expect("connected");
        let head = format!(
            "PATCH {place} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\n\
             Content-Type: application/offset+octet-stream\r\nUpload-Offset: {at}\r\nContent-Length: {}\r\n\r\n",
            operator.access_token().expect("signed in"),
            bytes.len() - at
        );
        connection.write_all(head.as_bytes()).await.expect("sent");
        connection.write_all(&bytes[at..at + size]).await.expect("sent");
        connection.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        let _whatever_it_says =
            tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
        drop(connection);
        at += size;
        let look = async || head_of(&operator, &place).await;
        let there = |it: &Answer| it.headers.get("upload-offset") == Some(&at.to_string());
        until(Duration::from_secs(20), look, there).await;
    }
    operator.sends_chunk(&place, at, bytes[at..].to_vec()).await.is(204);
    assert_eq!(operator.gets(&place).await.ok().at("/state"), "complete");
}

async fn head_of(who: &Actor, place: &str) -> Answer {
    head(who, place).await.ok()
}

#[tokio::test]
async fn the_server_says_what_it_can() {
    let anyone = house().await.stack.anonymous();
    let options = anyone.asks(Method::OPTIONS, "/uploads").send().await.is(204);
    assert_eq!((options.header("tus-version"), options.header("tus-extension")), ("1.0.0", "creation"));
    assert_eq!(options.header("tus-max-size"), (8u64 << 30).to_string());
}
