//! The documents and the operator's pages: valid by structure, offline, and about this server.

use std::collections::BTreeSet;

use lectern_harness::Answer;
use serde_json::Value;

use crate::shared::house;

/// Every `$ref` in a document, with where it stands.
fn references<'a>(value: &'a Value, at: &str, found: &mut Vec<(String, &'a str)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_str()) {
                    ("$ref", Some(target)) => found.push((at.to_owned(), target)),
                    _ => references(value, &format!("{at}/{name}"), found),
                }
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| references(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn all_resolve(document: &Value) {
    let mut found = Vec::new();
    references(document, "", &mut found);
    assert!(found.len() > 50, "only {} references", found.len());
    for (at, target) in found {
        let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{at} points outside: {target}"));
        assert!(document.pointer(pointer).is_some(), "{at} points to nothing: {target}");
    }
}

fn operations(openapi: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = openapi["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(method, it)| (path.as_str(), method.as_str(), it))
        })
        .collect()
}

#[tokio::test]
async fn openapi_is_a_valid_3_1_document_of_every_route() {
    let openapi = &house().await.contract.openapi;
    assert_eq!(openapi["openapi"], "3.1.0");
    assert!(openapi["info"]["title"].is_string() && openapi["info"]["version"].is_string());
    all_resolve(openapi);
    let tags: BTreeSet<&str> =
        openapi["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(openapi) {
        let place = format!("{method} {path}");
        assert!(["get", "put", "post", "delete", "patch", "head", "options"].contains(&method), "{place}");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{place} says nothing");
        if let Some(id) = operation["operationId"].as_str() {
            assert!(ids.insert(id), "two operations {id}");
        }
        for tag in operation["tags"].as_array().expect("tags") {
            let tag = tag.as_str().expect("a tag");
            assert!(tags.contains(tag) || tag == "operations", "{place}: no tag {tag}");
        }
        let in_path: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = || operation["parameters"].as_array().into_iter().flatten();
        let documented: BTreeSet<&str> =
            parameters().filter(|it| it["in"] == "path").filter_map(|it| it["name"].as_str()).collect();
        assert_eq!(in_path, documented, "{place}");
        for parameter in parameters() {
            assert!(parameter["in"] != "path" || parameter["required"] == true, "{place}: {parameter}");
            assert!(parameter["schema"].is_object(), "{place}: {parameter}");
        }
        responses(&place, operation);
    }
    assert!(ids.len() >= 40, "{ids:?}");
    let scheme = &openapi["components"]["securitySchemes"]["BearerAuth"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()));
}

fn responses(place: &str, operation: &Value) {
    let responses = operation["responses"].as_object().expect("responses");
    let good = |status: &String| status.starts_with('2') || status == "302";
    assert!(responses.keys().any(good), "{place} never succeeds");
    for (status, response) in responses {
        assert!(response["description"].is_string(), "{place} {status}: no description");
        let good = status.len() == 3 && status.starts_with(['1', '2', '3', '4', '5']);
        assert!(good, "{place}: {status}");
        for (media_type, content) in response["content"].as_object().into_iter().flatten() {
            let refused = status.starts_with(['4', '5']);
            assert_eq!(media_type == "application/problem+json", refused, "{place} {status}: {media_type}");
            assert!(content["schema"].is_object(), "{place} {status}: no schema");
        }
    }
}

#[tokio::test]
async fn asyncapi_resolves_and_names_every_request_and_its_reply() {
    let house = house().await;
    let asyncapi = &house.contract.asyncapi;
    assert_eq!(asyncapi["asyncapi"], "3.0.0");
    all_resolve(asyncapi);
    let channels = asyncapi["channels"].as_object().expect("channels");
    let addresses: BTreeSet<&str> =
        channels.values().filter_map(|channel| channel["address"].as_str()).collect();
    for subject in house.contract.operations.keys() {
        assert!(addresses.contains(subject.as_str()), "{subject} is not documented");
    }
    assert!(addresses.contains("evt.enrollment.v1.subscription.expired.{key}"), "no facts: {addresses:?}");
    for (name, operation) in asyncapi["operations"].as_object().expect("operations") {
        let channel = operation["channel"]["$ref"].as_str().expect("a channel");
        let named = asyncapi.pointer(channel.trim_start_matches('#')).expect("resolves");
        assert!(named["address"].is_string(), "{name}");
        assert!(matches!(operation["action"].as_str(), Some("send" | "receive")), "{name}");
    }
}

/// Hosts that a page would load something from.
fn hosts(text: &str) -> BTreeSet<String> {
    let attributes = ["src=\"", "href=\"", "url(", "@import \"", "fetch(\""];
    let values = attributes.iter().flat_map(|attribute| text.split(attribute).skip(1));
    let loaded =
        values.filter_map(|rest| rest.split(['"', ')']).next()).map(|value| value.trim_matches('\''));
    loaded
        .filter(|value| {
            value.starts_with("http://") || value.starts_with("https://") || value.starts_with("//")
        })
        .map(|value| value.split('/').nth(2).unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn docs_are_served_from_the_binary_without_a_foreign_host() {
    let anyone = house().await.stack.anonymous();
    let page = anyone.gets("/docs/").await.ok();
    assert!(page.header("content-type").starts_with("text/html"));
    let html = String::from_utf8_lossy(&page.body).into_owned();
    assert_eq!(hosts(&html), BTreeSet::new(), "{html}");
    let local = html
        .split(['"', '\''])
        .filter(|part| part.starts_with("./") || part.ends_with(".js") || part.ends_with(".css"));
    let mut scripts = 0;
    for file in local {
        let file = file.trim_start_matches("./").trim_start_matches("/docs/");
        let answer = anyone.gets(&format!("/docs/{file}")).await.ok();
        scripts += usize::from(file.ends_with(".js"));
        if file.ends_with("initializer.js") {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains("/openapi.json") && !text.contains("petstore"), "{text}");
        }
    }
    assert!(scripts >= 2, "no scripts in {html}");
    let errors = anyone.gets("/docs/errors").await.ok();
    let text = String::from_utf8_lossy(&errors.body).into_owned();
    assert_eq!(hosts(&text), BTreeSet::new());
    assert!(text.contains("id=\"COURSE_2001\"") && text.contains("COMMON_0016"), "{text}");
}

#[tokio::test]
async fn health_and_metrics_are_on_the_public_and_on_the_admin_port() {
    let mut stack = lectern_harness::Stack::start(lectern_harness::StackOptions::default()).await;
    let anyone = stack.anonymous();
    anyone.browses_courses().await.ok();
    let admin = stack.processes()[0].admin_url();
    let metrics_of = |answer: &Answer| String::from_utf8_lossy(&answer.body).into_owned();
    for base in [stack.http_url(), admin] {
        let at = anyone.at(&base);
        at.gets("/health/liveness").await.ok();
        let ready = at.gets("/health/readiness").await.ok();
        assert!(!ready.body.is_empty());
        at.gets("/health").await.ok();
        let metrics = metrics_of(&at.gets("/metrics").await.ok());
        for name in ["http_requests_total", "service_requests_total", "http_request_duration_seconds"] {
            assert!(metrics.lines().any(|line| line.starts_with(name)), "no {name} at {base}:\n{metrics}");
        }
        assert!(metrics.contains("endpoint=\"/api/v1/courses\""), "{metrics}");
    }
    stack.nats().kill9();
    let unready = |it: &Answer| it.status == 503;
    let page = async || anyone.gets("/health/readiness").await;
    let page = crate::shared::until(std::time::Duration::from_secs(20), page, unready).await;
    assert!(String::from_utf8_lossy(&page.body).contains("nats"), "it doesn't say why: {page}");
    anyone.gets("/health/liveness").await.ok();
    anyone.browses_courses().await.refused(503, "COMMON_0010");
    stack.nats().restart().await.expect("restarted");
    let page = async || anyone.gets("/health/readiness").await;
    crate::shared::until(std::time::Duration::from_secs(30), page, |it| it.status == 200).await;
    anyone.browses_courses().await.ok();
}
