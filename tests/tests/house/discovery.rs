//! `nats micro ls|info|stats` work: `$SRV.PING|INFO|STATS` answer in the schemas of ADR-32; `nats req` works as it stands.

use std::collections::BTreeSet;
use std::time::Duration;

use lectern_harness::actors::Bus;
use serde_json::{Value, json};

use crate::shared::house;

const SERVICES: [&str; 7] =
    ["audit", "content", "courses", "enrollment", "identity", "notifications", "playback"];
const WAIT: Duration = Duration::from_millis(500);

async fn hears(bus: &Bus, subject: &str, kind: &str) -> Vec<Value> {
    let heard = bus.asks_all(subject, WAIT).await.expect("asked");
    for answer in &heard {
        let head = |field: &str| answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}"));
        assert_eq!(head("type"), format!("io.nats.micro.v1.{kind}_response"), "{answer}");
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        assert!(is_name(head("name")) && is_name(head("id")), "{answer}");
        let version: Vec<&str> = head("version").split('.').collect();
        assert!(
            version.len() == 3 && version.iter().all(|part| part.parse::<u32>().is_ok()),
            "no semver: {answer}"
        );
        strings(&answer["metadata"]);
    }
    heard
}

/// Metadata is a map of strings: the Go client refuses anything else.
fn strings(metadata: &Value) {
    let map = metadata.as_object().unwrap_or_else(|| panic!("no map: {metadata}"));
    assert!(map.values().all(Value::is_string), "not strings: {metadata}");
}

fn names(heard: &[Value]) -> BTreeSet<&str> {
    heard.iter().filter_map(|answer| answer["name"].as_str()).collect()
}

#[tokio::test]
async fn ping_finds_every_service_and_by_name_and_id_the_one() {
    let bus = house().await.stack.bus().await;
    let all = hears(&bus, "$SRV.PING", "ping").await;
    assert_eq!(names(&all), BTreeSet::from(SERVICES));
    let instances: BTreeSet<(&str, &str)> =
        all.iter().filter_map(|answer| Some((answer["name"].as_str()?, answer["id"].as_str()?))).collect();
    assert_eq!(instances.len(), all.len(), "two instances with one id: {all:?}");
    for answer in &all {
        let (name, id) = (answer["name"].as_str().expect("a name"), answer["id"].as_str().expect("an id"));
        assert_eq!(names(&hears(&bus, &format!("$SRV.PING.{name}"), "ping").await), BTreeSet::from([name]));
        assert_eq!(hears(&bus, &format!("$SRV.PING.{name}.{id}"), "ping").await.len(), 1);
    }
    assert!(bus.asks_all("$SRV.PING.nothing", WAIT).await.is_ok_and(|heard| heard.is_empty()));
}

#[tokio::test]
async fn info_lists_every_request_of_the_contract_once() {
    let house = house().await;
    let bus = house.stack.bus().await;
    let mut subjects = Vec::new();
    for info in hears(&bus, "$SRV.INFO", "info").await {
        assert!(info["description"].is_string(), "{info}");
        for endpoint in info["endpoints"].as_array().expect("endpoints") {
            let name = endpoint["name"].as_str().expect("a name");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{endpoint}");
            assert_eq!(endpoint["queue_group"], "q", "{endpoint}");
            strings(&endpoint["metadata"]);
            let schema = endpoint["metadata"]["schema"].as_str().expect("a schema");
            let schema: Value = serde_json::from_str(schema).expect("JSON");
            let named = schema["$ref"].as_str().and_then(|name| schema.pointer(name.trim_start_matches('#')));
            assert!(named.is_some_and(|schema| schema["type"] == "object"), "it says nothing: {schema}");
            let subject = endpoint["subject"].as_str().expect("a subject").to_owned();
            assert!(
                subject.starts_with(&format!("svc.{}.", info["name"].as_str().unwrap_or_default())),
                "{endpoint}"
            );
            subjects.push(subject);
        }
    }
    let documented: Vec<String> = house.contract.operations.keys().cloned().collect();
    subjects.sort();
    assert_eq!(subjects, documented);
}

#[tokio::test]
async fn stats_count_requests_and_refusals() {
    let house = house().await;
    let bus = house.stack.bus().await;
    let subject = "svc.courses.v1.sessions.get";
    let count = async || {
        let heard = hears(&bus, "$SRV.STATS.courses", "stats").await;
        let endpoints = heard.iter().flat_map(|stats| stats["endpoints"].as_array().into_iter().flatten());
        let mine: Vec<&Value> = endpoints.filter(|endpoint| endpoint["subject"] == subject).collect();
        let endpoint = *mine.first().expect("its endpoint");
        for field in ["num_requests", "num_errors", "processing_time", "average_processing_time"] {
            assert!(endpoint[field].is_u64(), "no {field}: {endpoint}");
        }
        assert!(endpoint["last_error"].is_string() && endpoint["queue_group"] == "q", "{endpoint}");
        assert!(heard[0]["started"].as_str().is_some_and(|at| at.contains('T')), "{}", heard[0]);
        (endpoint["num_requests"].as_u64(), endpoint["num_errors"].as_u64())
    };
    let before = count().await;
    for _ in 0..3 {
        let unknown = json!({ "course_id": crate::shared::NOBODY, "session_id": crate::shared::NOBODY });
        assert_eq!(bus.asks(subject, unknown).await.status, 404);
    }
    let after = count().await;
    assert!(
        after.0 >= before.0.map(|count| count + 3) && after.1 >= before.1.map(|count| count + 3),
        "{before:?} {after:?}"
    );
}

#[tokio::test]
async fn the_catalogue_answers_an_empty_object_an_empty_body_and_no_headers() {
    let house = house().await;
    house.stack.published_course(&house.staff("operator"), "Found on the bus").await;
    let bus = house.stack.bus().await;
    let subject = "svc.courses.v1.courses.list";
    let listed = bus.asks(subject, json!({})).await.ok();
    assert!(!listed.items().is_empty());
    for payload in ["{}", ""] {
        let request = async_nats::Request::new().payload(payload.into());
        let message = bus.client().send_request(subject, request).await.expect("an answer");
        let page: Value = serde_json::from_slice(&message.payload).expect("JSON");
        assert!(page["items"].as_array().is_some_and(|items| !items.is_empty()), "{payload:?}: {page}");
    }
}

#[tokio::test]
async fn a_subject_that_nobody_serves_is_answered_at_once_by_the_broker() {
    let bus = house().await.stack.bus().await;
    let none = bus.client().send_request("svc.courses.v1.courses.explode", async_nats::Request::new()).await;
    let error = none.expect_err("an answer");
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
}
