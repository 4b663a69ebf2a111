//! The frozen examples. A difference here is a change of the contract: a field with a default may be added, anything
//! else is a new version beside the old one (architecture §2).

use std::collections::BTreeSet;
use std::path::Path;

use lectern_subjects::{facts, requests};
use serde_json::Value;

type RoundTrip = fn(&str) -> Result<String, String>;

/// Subject, example and round trip of every message.
fn examples() -> impl Iterator<Item = (&'static str, &'static str, RoundTrip)> {
    let of_requests = requests().map(|info| (info.subject, info.golden, info.round_trip));
    of_requests.chain(facts().map(|info| (info.subject, info.golden, info.round_trip)))
}

/// Every string in a value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_example_is_valid_and_is_written_byte_for_byte_as_it_stands() {
    let mut wrong = Vec::new();
    for (subject, golden, round_trip) in examples() {
        match round_trip(golden) {
            Ok(written) if written == golden => {}
            Ok(written) => wrong.push(format!("{subject} is written as\n{written}")),
            Err(error) => wrong.push(format!("{subject} can't be read: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_example_is_left_of_a_message_that_is_gone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let messages: BTreeSet<String> = examples().map(|(subject, ..)| format!("{subject}.json")).collect();
    assert_eq!(files, messages);
}

#[test]
fn every_id_in_an_example_is_a_uuid_of_version_7() {
    let mut seen = 0;
    for (subject, golden, _) in examples() {
        let example: Value = serde_json::from_str(golden).unwrap();
        for id in strings(&example).into_iter().filter_map(|text| uuid::Uuid::try_parse(text).ok()) {
            assert_eq!(id.get_version_num(), 7, "{subject}: {id}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} ids");
}

#[test]
fn examples_name_no_host_and_no_mailbox_but_those_of_example_com() {
    for (subject, golden, _) in examples() {
        let example: Value = serde_json::from_str(golden).unwrap();
        for text in strings(&example) {
            // the made-up address of a deleted account (I-109)
            if let Some((_, domain)) = text.split_once('@').filter(|(_, domain)| *domain != "deleted.com") {
                assert_eq!(domain, "example.com", "{subject}: {text}");
            }
            // what follows otpauth:// is the kind of code, no host
            if let Some((_, rest)) = text.split_once("://").filter(|(scheme, _)| *scheme != "otpauth") {
                let host = rest.split('/').next().unwrap_or_default();
                assert!(host.ends_with(".example.com"), "{subject}: {text}");
            }
        }
    }
}

#[test]
fn examples_tell_one_story() {
    let example = |subject: &str| -> Value {
        let golden = requests().find(|info| info.subject == subject).expect(subject).golden;
        serde_json::from_str(golden).unwrap()
    };
    let user = &example("svc.identity.v1.users.me_get")["reply"]["id"];
    let course = &example("svc.courses.v1.courses.create")["reply"]["id"];
    assert_eq!(&example("svc.identity.v1.auth.register")["reply"]["id"], user);
    assert_eq!(&example("svc.enrollment.v1.subscriptions.create")["reply"]["user_id"], user);
    assert_eq!(&example("svc.enrollment.v1.enrollments.create")["request"]["course_id"], course);
    let start = example("svc.playback.v1.sessions.start");
    assert_eq!(&start["request"]["course_id"], course);
    assert_eq!(start["request"]["session_id"], example("svc.courses.v1.sessions.add")["reply"]["id"]);
    assert_eq!(start["reply"]["id"], example("svc.playback.v1.sessions.events")["request"]["id"]);
    let asset = &example("svc.content.v1.uploads.complete")["reply"]["id"];
    assert_eq!(
        &example("svc.content.v1.uploads.create")["reply"]["id"],
        asset,
        "an asset keeps its upload's id"
    );
    assert_eq!(&example("svc.courses.v1.sessions.add")["request"]["asset_id"], asset);
}
