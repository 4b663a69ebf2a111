//! What single fields mean: domain codes, spellings, names, ids.

use lectern_subjects::content::CreateUpload;
use lectern_subjects::courses::AddSession;
use lectern_subjects::enrollment::{CreatePlan, Enroll, Scope, Subscribe};
use lectern_subjects::identity::{
    CreateUser, ForgotPassword, Login, Refresh, Register, ResetPassword, UpdateMe,
};
use lectern_subjects::playback::SendBeats;
use lectern_subjects::{Role, decode};
use serde_json::json;

use crate::decode::{code_and_pointers, refused};
use crate::faults::{assert_refused, assert_taken, beats};

#[test]
fn domain_codes_of_single_fields() {
    let long = format!("{}@example.com", "a".repeat(250));
    for email in
        ["plain", "a@b", "a b@example.com", "a@exämple.com", "@example.com", "a@-x.com", "a\n@b.co", &long]
    {
        assert_refused::<Register>(json!({ "email": email }), "USER_1104", &["/email"]);
        assert_refused::<Login>(json!({ "email": email }), "USER_1104", &["/email"]);
    }
    assert_taken::<Register>(json!({ "email": " Mina.Park+rust@Example.com " }));
    assert_refused::<Register>(json!({ "email": 5 }), "USER_1104", &["/email"]);
    assert_refused::<Register>(json!({ "password": "Aa1!".repeat(33) }), "USER_1103", &["/password"]);
    assert_refused::<ResetPassword>(
        json!({ "new_password": "Aa1!".repeat(33) }),
        "USER_1103",
        &["/new_password"],
    );
    assert_refused::<ForgotPassword>(json!({ "email": "plain" }), "USER_1104", &["/email"]);
    assert_refused::<Register>(json!({ "password": "Secure\0Pass123!" }), "USER_1103", &["/password"]);
    let url = format!("https://videos.example.com/{}", "a".repeat(2000));
    assert_refused::<AddSession>(json!({ "video_url": url }), "COURSE_2003", &["/video_url"]);
    assert_refused::<CreateUpload>(json!({ "file_name": "" }), "CONTENT_2212", &["/file_name"]);
    assert_refused::<CreateUpload>(json!({ "length": 0 }), "COMMON_0001", &["/length"]);
}

#[test]
fn faults_of_several_codes_answer_the_common_one_and_list_all() {
    let both = json!({ "email": "plain", "password": "a".repeat(129) });
    assert_refused::<Register>(both, "COMMON_0001", &["/email", "/password"]);
    let mixed = json!({ "email": "plain", "name": "x" });
    assert_refused::<Register>(mixed, "COMMON_0001", &["/email", "/name"]);
}

#[test]
fn a_bad_event_answers_play_2308_with_its_index() {
    let bad = [
        (json!({ "rate": 0 }), "/events/1/rate"),
        (json!({ "rate": 16 }), "/events/1/rate"),
        (json!({ "seq": 0 }), "/events/1/seq"),
        (json!({ "position_ms": -1 }), "/events/1/position_ms"),
        (json!({ "position_to_ms": -1 }), "/events/1/position_to_ms"),
        (json!({ "kind": "rewind" }), "/events/1/kind"),
        (json!({ "client_at": "yesterday" }), "/events/1/client_at"),
        (json!({ "data": "a".repeat(1024) }), "/events/1/data"),
    ];
    for (changes, pointer) in bad {
        assert_refused::<SendBeats>(beats(changes), "PLAY_2308", &[pointer]);
    }
    let good = &beats(json!({}))["events"][0];
    assert_refused::<SendBeats>(json!({ "events": vec![good; 201] }), "PLAY_2308", &["/events"]);
    assert_refused::<SendBeats>(json!({ "events": [] }), "PLAY_2308", &["/events"]);
    assert_taken::<SendBeats>(json!({ "events": vec![good; 200] }));
    let two = json!({ "rate": 9, "position_ms": -5 });
    assert_refused::<SendBeats>(beats(two), "PLAY_2308", &["/events/1/position_ms", "/events/1/rate"]);
}

#[test]
fn a_field_beside_the_events_is_no_matter_of_the_events() {
    let mut changes = beats(json!({ "rate": 9 }));
    changes["eventsource"] = json!(1);
    assert_refused::<SendBeats>(changes, "COMMON_0001", &["/eventsource"]);
}

#[test]
fn camel_case_is_taken_where_a_seed_writes_it_and_counts_as_the_same_field() {
    let plan = "01a196fb-1704-7648-b9f7-d6b960a01909";
    let camel = format!(r#"{{"planId":"{plan}","autoRenew":false}}"#);
    assert_eq!(decode::<Subscribe>(camel.as_bytes()).unwrap().plan_id.to_string(), plan);
    assert_eq!(decode::<Refresh>(br#"{"refreshToken":"x"}"#).unwrap().refresh_token, "x");
    let missing = code_and_pointers(&refused::<Subscribe>(r#"{"planId":"x"}"#));
    assert_eq!(missing, ("COMMON_0001", vec!["/auto_renew".to_owned()]));
    let twice = code_and_pointers(&refused::<Enroll>(r#"{"courseId":"x","course_id":"y"}"#));
    assert_eq!(twice, ("COMMON_0001", vec!["/course_id".to_owned()]));
    assert_refused::<CreateUpload>(json!({ "fileName": "a.mp4" }), "COMMON_0001", &["/fileName"]);
}

#[test]
fn an_id_that_is_no_uuid_reads_as_one_that_nothing_has() {
    let enroll: Enroll = assert_taken(json!({ "course_id": "no-uuid" }));
    assert!(uuid::Uuid::from(enroll.course_id).is_nil());
}

#[test]
fn roles_are_read_in_any_case_and_written_in_lower_case() {
    let created: CreateUser = assert_taken(json!({ "role": "Admin" }));
    assert_eq!(created.role, Some(Role::Admin));
    assert_eq!(serde_json::to_value(created).unwrap()["role"], "admin");
    assert_refused::<CreateUser>(json!({ "role": "SUPERUSER" }), "COMMON_0001", &["/role"]);
    for role in Role::ALL {
        assert_eq!(serde_json::to_value(role).unwrap(), role.name());
    }
}

#[test]
fn names_are_taken_as_people_have_them() {
    for name in [
        "O'Brien",
        "Jean-Luc",
        "박미나",
        "Zoe\u{308}",
        "நித்யா",
        "हिन्दी",
        "ไม้",
        "မြင့်",
        "Miquel·la",
        "山田 太郎 2",
    ] {
        assert_taken::<Register>(json!({ "name": name }));
    }
    for name in ["x", " ", "a".repeat(101).as_str(), "Mi\u{202e}na", "Mi\nna", "<b>Mina</b>"] {
        assert_refused::<Register>(json!({ "name": name }), "COMMON_0001", &["/name"]);
    }
    for phone in ["01012345678", "+0123456789", "+82 10", "+1234567890123456"] {
        assert_refused::<Register>(json!({ "phone": phone }), "COMMON_0001", &["/phone"]);
    }
}

#[test]
fn null_clears_what_an_account_may_be_without_and_absence_leaves_it() {
    let taken = |body: &str| decode::<UpdateMe>(body.as_bytes()).expect("an update");
    let keep = taken(r#"{"name":"Mina"}"#);
    assert_eq!((keep.phone, keep.region), (None, None));
    let clear = taken(r#"{"phone":null,"business_type":null,"region":null}"#);
    assert_eq!((clear.phone, clear.business_type, clear.region), (Some(None), Some(None), Some(None)));
    let good: UpdateMe = assert_taken(json!({ "phone": "+821012345678" }));
    assert_eq!(good.phone, Some(Some("+821012345678".to_owned())));
    for field in ["name", "locale", "time_zone"] {
        let shape = refused::<UpdateMe>(format!(r#"{{"{field}":null}}"#));
        assert_eq!(code_and_pointers(&shape), ("COMMON_0001", vec![format!("/{field}")]));
    }
    assert_refused::<UpdateMe>(json!({ "phone": "" }), "COMMON_0001", &["/phone"]);
    assert_refused::<UpdateMe>(json!({ "role": "admin" }), "USER_1303", &["/role"]);
}

#[test]
fn languages_and_time_zones_are_those_that_exist() {
    for locale in ["ko", "ko-KR", "en-US"] {
        assert_taken::<UpdateMe>(json!({ "locale": locale }));
    }
    for locale in ["", "k", "kor", "KO", "ko-kr", "ko_KR", "ko-", "ko-KOR", "ko-KR-x", "한국", "é-KR"] {
        assert_refused::<UpdateMe>(json!({ "locale": locale }), "COMMON_0001", &["/locale"]);
    }
    for zone in
        ["UTC", "Asia/Seoul", "America/Argentina/Buenos_Aires", "Etc/GMT+9", "Europe/Kyiv", "Asia/Calcutta"]
    {
        assert_taken::<UpdateMe>(json!({ "time_zone": zone }));
    }
    for zone in
        ["", "Seoul", "asia/seoul", "Asia/Atlantis", "UTC+9", "+09:00", "../etc/localtime", "Asia/Seoul "]
    {
        assert_refused::<UpdateMe>(json!({ "time_zone": zone }), "COMMON_0001", &["/time_zone"]);
    }
}

#[test]
fn a_plan_opens_the_catalogue_or_some_courses() {
    assert_eq!(assert_taken::<CreatePlan>(json!({ "scope": "catalog" })).scope, Scope::Catalog);
    let some: CreatePlan =
        assert_taken(json!({ "scope": { "courses": ["01a19b7c-a7be-7a90-8043-ed469f361cd5"] } }));
    assert!(matches!(some.scope, Scope::Courses(courses) if courses.len() == 1));
}
