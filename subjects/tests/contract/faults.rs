//! What is wrong with a request, where, and under which code: unknown, missing, of the wrong type, out of range.

use lectern_subjects::content::CompleteUpload;
use lectern_subjects::courses::{AddSession, CreateCourse, UpdateCourse};
use lectern_subjects::enrollment::{CreatePlan, Enroll};
use lectern_subjects::identity::{CreateUser, Login, Register};
use lectern_subjects::playback::{SendBeats, StartPlayback, StopPlayback};
use lectern_subjects::{Request, decode, requests};
use serde_json::{Value, json};

use crate::decode::{code_and_pointers, refused};

/// The example of a request with changes: null removes a field.
pub fn changed<R: Request>(changes: Value) -> String {
    let golden = requests().find(|info| info.subject == R::SUBJECT).expect(R::SUBJECT).golden;
    let mut example: Value = serde_json::from_str(golden).unwrap();
    let request = example["request"].as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => request.remove(field),
            value => request.insert(field.clone(), value.clone()),
        };
    }
    example["request"].to_string()
}

/// The order of the faults is no promise.
#[track_caller]
pub fn assert_refused<R: Request>(changes: Value, code: &str, pointers: &[&str]) {
    let body = changed::<R>(changes);
    let shape = refused::<R>(&body);
    let (answered, mut found) = code_and_pointers(&shape);
    found.sort();
    let mut expected = pointers.to_vec();
    expected.sort_unstable();
    assert_eq!((answered, found), (code, expected.into_iter().map(str::to_owned).collect()), "{body:.400}");
}

#[track_caller]
pub fn assert_taken<R: Request>(changes: Value) -> R {
    let body = changed::<R>(changes);
    decode::<R>(body.as_bytes()).unwrap_or_else(|shape| panic!("{body}: {shape:?}"))
}

/// A batch with one good beat and one that is changed.
pub fn beats(changes: Value) -> Value {
    let good =
        json!({ "seq": 1, "kind": "play", "position_ms": 0, "rate": 1, "client_at": "2026-11-20T10:00:00Z" });
    let mut bad = good.clone();
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => bad.as_object_mut().unwrap().remove(field),
            value => bad.as_object_mut().unwrap().insert(field.clone(), value.clone()),
        };
    }
    json!({ "events": [good, bad] })
}

#[test]
fn an_unknown_field_is_refused_and_named_at_every_depth() {
    assert_refused::<Register>(json!({ "is_verified": true }), "COMMON_0001", &["/is_verified"]);
    assert_refused::<CreateCourse>(json!({ "a.b/c~d[0]`e": 1 }), "COMMON_0001", &["/a.b~1c~0d[0]`e"]);
    let instructor = json!({ "instructor": { "name": "Jonas", "e-mail": "x" } });
    assert_refused::<CreateCourse>(instructor, "COMMON_0001", &["/instructor/e-mail"]);
    assert_refused::<SendBeats>(beats(json!({ "speed": 2 })), "PLAY_2308", &["/events/1/speed"]);
}

#[test]
fn every_unknown_field_is_named() {
    let unknown = json!({ "alpha": 1, "beta": { "gamma": 2 } });
    assert_refused::<Login>(unknown, "COMMON_0001", &["/alpha", "/beta"]);
    let null = r#"{"email":"a@example.com","zeta":null,"password":"x"}"#;
    assert_eq!(code_and_pointers(&refused::<Login>(null)).1, ["/zeta"]);
}

#[test]
fn every_missing_field_is_named() {
    assert_refused::<CreateCourse>(
        json!({ "title": null, "description": null }),
        "COMMON_0001",
        &["/title", "/description"],
    );
    assert_refused::<CreateCourse>(json!({ "instructor": {} }), "COMMON_0001", &["/instructor/name"]);
    assert_refused::<SendBeats>(
        beats(json!({ "position_ms": null })),
        "PLAY_2308",
        &["/events/1/position_ms"],
    );
}

#[test]
fn a_wrong_type_is_refused_and_named() {
    assert_refused::<CreateCourse>(json!({ "title": 5 }), "COMMON_0001", &["/title"]);
    assert_refused::<CreateCourse>(json!({ "instructor": "Jonas" }), "COMMON_0001", &["/instructor"]);
    assert_refused::<AddSession>(json!({ "duration_ms": 1.5 }), "COMMON_0001", &["/duration_ms"]);
    assert_refused::<AddSession>(json!({ "duration_ms": "1" }), "COMMON_0001", &["/duration_ms"]);
    assert_refused::<AddSession>(json!({ "duration_ms": 1e30 }), "COMMON_0001", &["/duration_ms"]);
    assert_refused::<AddSession>(json!({ "preview": "yes" }), "COMMON_0001", &["/preview"]);
    assert_refused::<Enroll>(json!({ "course_id": 7 }), "COMMON_0001", &["/course_id"]);
    assert_refused::<CreatePlan>(json!({ "scope": "all" }), "COMMON_0001", &["/scope"]);
    assert_refused::<CreatePlan>(
        json!({ "scope": { "courses": [1] } }),
        "COMMON_0001",
        &["/scope/courses/0"],
    );
    assert_refused::<CreatePlan>(json!({ "interval": "1 month" }), "COMMON_0001", &["/interval"]);
}

#[test]
fn a_value_out_of_range_is_refused_and_named() {
    for title in ["", "   ", "tab\there", &"a".repeat(201)] {
        assert_refused::<CreateCourse>(json!({ "title": title }), "COMMON_0001", &["/title"]);
        assert_refused::<UpdateCourse>(json!({ "title": title }), "COMMON_0001", &["/title"]);
    }
    assert_taken::<CreateCourse>(json!({ "title": "러".repeat(200) }));
    for duration in [0, -1, 86_400_001] {
        assert_refused::<AddSession>(json!({ "duration_ms": duration }), "COMMON_0001", &["/duration_ms"]);
    }
    for threshold in [0.0, -0.5, 1.01] {
        let pointer = ["/completion_threshold"];
        assert_refused::<AddSession>(json!({ "completion_threshold": threshold }), "COMMON_0001", &pointer);
    }
    let bio = json!({ "instructor": { "name": "J", "bio": "a".repeat(5001) } });
    assert_refused::<CreateCourse>(bio, "COMMON_0001", &["/instructor/bio"]);
    assert_refused::<CreateCourse>(json!({ "language": "x-klingon" }), "COMMON_0001", &["/language"]);
    assert_refused::<CreatePlan>(json!({ "scope": { "courses": [] } }), "COMMON_0001", &["/scope"]);
    assert_refused::<CreatePlan>(json!({ "price": -1 }), "COMMON_0001", &["/price"]);
    assert_refused::<StopPlayback>(json!({ "position_ms": -1 }), "COMMON_0001", &["/position_ms"]);
    assert_refused::<CompleteUpload>(json!({ "sha256": "A".repeat(64) }), "COMMON_0001", &["/sha256"]);
    let client = json!({ "client": { "agent": "a".repeat(1024) } });
    assert_refused::<StartPlayback>(client, "COMMON_0001", &["/client"]);
}

#[test]
fn several_faults_are_all_listed() {
    let types =
        json!({ "title": 1, "bogus": 2, "description": null, "price": "much", "instructor": { "name": 3 } });
    let pointers = ["/bogus", "/instructor/name", "/price", "/title", "/description"];
    assert_refused::<CreateCourse>(types, "COMMON_0001", &pointers);
    let ranges = json!({ "title": "", "description": "a".repeat(20_001), "instructor": { "name": "" } });
    assert_refused::<CreateCourse>(ranges, "COMMON_0001", &["/title", "/description", "/instructor/name"]);
}

#[test]
fn at_most_a_hundred_faults_are_listed() {
    let body: serde_json::Map<String, Value> = (0..5000).map(|n| (format!("f{n}"), json!(n))).collect();
    let (code, pointers) = code_and_pointers(&refused::<Login>(Value::Object(body).to_string()));
    assert_eq!((code, pointers.len()), ("COMMON_0001", 100));
}

#[test]
fn no_value_is_repeated_in_a_reason() {
    let secret = "hunter2, expected a string";
    for body in [
        changed::<Register>(json!({ "password": [secret], "name": { "x": secret } })),
        changed::<AddSession>(
            json!({ "duration_ms": secret, "preview": secret, "completion_threshold": secret }),
        ),
        changed::<CreatePlan>(
            json!({ "scope": secret, "interval": secret, "currency": secret, "price": secret }),
        ),
        changed::<CreateUser>(json!({ "role": secret, "password": 4_929_123 })),
        changed::<SendBeats>(beats(json!({ "kind": secret, "client_at": secret }))),
    ] {
        let round_trip = |info: &lectern_subjects::RequestInfo| {
            let example = format!(r#"{{"request":{body},"reply":{{}}}}"#);
            (info.round_trip)(&example).unwrap_err()
        };
        for told in requests().map(round_trip) {
            assert!(!told.contains("hunter2") && !told.contains("4929123"), "{told}");
        }
    }
}
