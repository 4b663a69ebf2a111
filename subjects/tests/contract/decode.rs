//! What is JSON and what is not: the first gate of a body.

use lectern_subjects::courses::{CreateCourse, ListCourses, PublishCourse};
use lectern_subjects::identity::{GetMe, Logout, Register};
use lectern_subjects::playback::{SendBeats, StartPlayback};
use lectern_subjects::{BadShape, Request, decode};
use serde_json::{Value, json};

/// The refusal of a body that must be refused.
pub fn refused<R: Request>(body: impl AsRef<[u8]>) -> BadShape {
    match decode::<R>(body.as_ref()) {
        Ok(_) => panic!("{} took {}", R::SUBJECT, String::from_utf8_lossy(body.as_ref())),
        Err(shape) => shape,
    }
}

/// Code and pointers of a refusal, after checking that each fault has a reason.
pub fn code_and_pointers(shape: &BadShape) -> (&'static str, Vec<String>) {
    let faults = shape.details.as_ref().and_then(Value::as_array).expect("an array of faults");
    let pointers = faults.iter().map(|fault| {
        assert!(fault["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{fault}");
        fault["pointer"].as_str().expect("a pointer").to_owned()
    });
    (shape.code.code, pointers.collect())
}

fn assert_malformed<R: Request>(body: impl AsRef<[u8]>) {
    let shape = refused::<R>(&body);
    let text = String::from_utf8_lossy(body.as_ref()).into_owned();
    assert_eq!(code_and_pointers(&shape), ("COMMON_0002", vec![String::new()]), "{text}: {shape:?}");
    assert_eq!(shape.code.status, 400);
}

#[test]
fn an_empty_body_is_an_empty_object_where_that_is_a_request() {
    for body in ["", " ", "\r\n\t ", "{}", " {} \n"] {
        assert_eq!(decode::<GetMe>(body.as_bytes()).unwrap(), GetMe {});
        assert_eq!(decode::<ListCourses>(body.as_bytes()).unwrap(), ListCourses::default());
        assert!(!decode::<Logout>(body.as_bytes()).unwrap().all);
    }
}

#[test]
fn an_empty_body_is_malformed_where_fields_are_required() {
    assert_malformed::<Register>("");
    assert_malformed::<PublishCourse>("  ");
    assert_eq!(code_and_pointers(&refused::<PublishCourse>("{}")), ("COMMON_0001", vec!["/id".to_owned()]));
}

#[test]
fn broken_json_is_malformed_whatever_stands_before_the_break() {
    for body in [
        "{",
        "}",
        "{\"title\"",
        "{\"title\":}",
        "{\"title\":\"a\",}",
        "{title:1}",
        "{'title':1}",
        "nul",
        "{\"title\":NaN}",
        "{\"title\":01}",
        "{\"title\":\"a\nb\"}",
        "{\"title\":\"\\x\"}",
        "{\"title\":\"\\ud800\"}",
        // the unknown field and the wrong type come first, and still it is no JSON
        "{\"bogus\":1,\"title\":2,",
        "\u{feff}{}",
    ] {
        assert_malformed::<CreateCourse>(body);
    }
    assert_malformed::<CreateCourse>(b"{\"title\":\"\xff\xfe\"}");
    assert_malformed::<CreateCourse>(b"\0");
}

#[test]
fn bytes_after_the_value_are_malformed() {
    for body in ["{}{}", "{} x", "{},", "{}]", "{}\0"] {
        assert_malformed::<GetMe>(body);
    }
}

#[test]
fn a_repeated_key_is_malformed_at_every_depth() {
    let title = r#"{"title":"a","description":"b","title":"c"}"#;
    assert_malformed::<CreateCourse>(title);
    assert_malformed::<CreateCourse>(r#"{"title":"a","titl\u0065":"b"}"#);
    assert_malformed::<CreateCourse>(r#"{"bogus":1,"bogus":2}"#);
    assert_malformed::<CreateCourse>(r#"{"title":"a","instructor":{"name":"b","name":"c"}}"#);
    let free = r#"{"course_id":"x","session_id":"y","client":{"a":[{"b":1,"b":2}]}}"#;
    assert_malformed::<StartPlayback>(free);
}

#[test]
fn a_body_may_nest_32_levels_deep_and_no_deeper() {
    let nested = |levels: usize| {
        // the object itself is the first level
        let client = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"course_id":"x","session_id":"y","client":{client}}}"#)
    };
    assert!(decode::<StartPlayback>(nested(32).as_bytes()).is_ok());
    assert_malformed::<StartPlayback>(nested(33));
    assert_malformed::<StartPlayback>(nested(30_000));
}

#[test]
fn brackets_in_a_string_nest_nothing() {
    let client = format!("\\\"{}", "[{".repeat(100));
    let body = format!(r#"{{"course_id":"x","session_id":"y","client":"{client}"}}"#);
    assert!(decode::<StartPlayback>(body.as_bytes()).is_ok());
}

#[test]
fn json_that_is_no_object_is_not_valid() {
    for body in ["[]", "null", "1", "\"x\"", "true", "[\"Rust\",\"from the ground up\"]"] {
        let shape = refused::<CreateCourse>(body);
        assert_eq!(code_and_pointers(&shape), ("COMMON_0001", vec![String::new()]), "{body}");
        assert_eq!(refused::<GetMe>(body).code.code, "COMMON_0001", "{body}");
    }
}

#[test]
fn a_number_that_no_machine_type_holds_is_a_fault_of_its_field() {
    let course = r#"{"title":"a","description":"b","price":1e400,"currency":"USD"}"#;
    assert_eq!(
        code_and_pointers(&refused::<CreateCourse>(course)),
        ("COMMON_0001", vec!["/price".to_owned()])
    );
    let beats = r#"{"id":"x","events":[{"seq":1,"rate":-1e999}]}"#;
    assert_eq!(
        code_and_pointers(&refused::<SendBeats>(beats)),
        ("PLAY_2308", vec!["/events/0/rate".to_owned()])
    );
}

#[test]
fn a_nul_character_is_a_fault_wherever_it_stands() {
    let course = json!({ "title": "a", "description": "b\0c", "instructor": { "name": "d\0" } }).to_string();
    let (code, mut pointers) = code_and_pointers(&refused::<CreateCourse>(course));
    pointers.sort();
    assert_eq!(
        (code, pointers),
        ("COMMON_0001", vec!["/description".to_owned(), "/instructor/name".to_owned()])
    );
    let client = json!({ "course_id": "x", "session_id": "y", "client": { "deep": [1, "\0"] } }).to_string();
    let (_, pointers) = code_and_pointers(&refused::<StartPlayback>(client));
    assert_eq!(pointers, ["/client/deep/1"]);
    let key = json!({ "course_id": "x", "session_id": "y", "client": { "a\0": 1 } }).to_string();
    assert_eq!(code_and_pointers(&refused::<StartPlayback>(key)).1, ["/client"]);
    // an escaped backslash before u0000 is no NUL
    let harmless = r#"{"title":"a","description":"\\u0000"}"#;
    assert_eq!(decode::<CreateCourse>(harmless.as_bytes()).unwrap().description, r"\u0000");
}
