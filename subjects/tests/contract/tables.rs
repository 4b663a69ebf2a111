//! The tables: subjects, names, refusal codes.

use std::collections::{BTreeMap, BTreeSet};

use lectern_subjects::{Access, Class, Code, CommonRefusal, Effect, SERVICES, facts, requests, subject};

/// The ranges of architecture §3 that belong to each service.
const RANGES: &[(&str, &[&str])] = &[
    ("identity", &["USER_1"]),
    ("courses", &["COURSE_20", "REVIEW_21"]),
    // media are content's, though the learning spec counts their range error among playback's
    ("content", &["CONTENT_22", "PLAY_2351"]),
    ("playback", &["PLAY_23"]),
    ("enrollment", &["ENROLL_24", "SUB_25"]),
    ("notifications", &["NOTI_60"]),
    ("audit", &[]),
];

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_lowercase())
        && token.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_version(token: &str) -> bool {
    token.strip_prefix('v').and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number > 0)
}

fn assert_unique(values: impl Iterator<Item = &'static str>) {
    let mut seen = BTreeSet::new();
    for value in values {
        assert!(seen.insert(value), "{value} stands in the contract twice");
    }
}

#[test]
fn every_request_subject_is_svc_service_version_resource_verb_of_the_table_it_stands_in() {
    for service in SERVICES {
        for info in service.requests {
            let (owner, version, resource, verb) = subject::request(info.subject).expect(info.subject);
            assert_eq!(owner, service.name, "{}", info.subject);
            assert_eq!(info.service(), service.name);
            assert!(is_version(version) && is_word(resource) && is_word(verb), "{}", info.subject);
        }
    }
}

#[test]
fn every_fact_subject_is_evt_service_version_entity_fact_of_the_table_it_stands_in() {
    for service in SERVICES {
        for info in service.facts {
            let tokens: Vec<&str> = info.subject.split('.').collect();
            let ["evt", owner, version, entity, fact] = tokens[..] else { panic!("{}", info.subject) };
            assert_eq!(owner, service.name, "{}", info.subject);
            assert!(is_version(version) && is_word(entity) && is_word(fact), "{}", info.subject);
            assert_eq!(info.event_type(), format!("{entity}.{fact}"));
        }
    }
}

#[test]
fn subjects_and_type_names_are_unique() {
    assert_unique(SERVICES.iter().map(|service| service.name));
    assert_unique(requests().map(|info| info.subject).chain(facts().map(|info| info.subject)));
    assert_unique(requests().map(|info| info.name).chain(facts().map(|info| info.name)));
}

#[test]
fn service_names_and_fact_tokens_fit_into_subjects_of_timers_and_consumers() {
    for service in SERVICES {
        assert!(subject::is_token(service.name) && is_word(service.name), "{}", service.name);
    }
}

#[test]
fn every_row_says_in_one_sentence_what_it_is() {
    let summaries = requests().map(|info| (info.subject, info.summary));
    for (subject, summary) in summaries.chain(facts().map(|info| (info.subject, info.summary))) {
        assert!(summary.ends_with('.') && summary.trim() == summary, "{subject}: {summary:?}");
    }
}

#[test]
fn what_is_named_like_a_read_is_one_and_what_answers_a_secret_stores_no_answer() {
    for info in requests() {
        let (_, _, _, verb) = subject::request(info.subject).expect(info.subject);
        if verb == "get" || verb == "list" || verb.ends_with("_get") {
            assert_eq!(info.effect, Effect::Read, "{}", info.subject);
        }
        if info.golden.contains("_token\"") {
            assert_ne!(info.effect, Effect::Write, "{}", info.subject);
        }
    }
}

#[test]
fn access_by_role_names_a_role() {
    for info in requests() {
        if let Access::Roles(roles) = info.access {
            assert!(!roles.is_empty(), "{} lets nobody in", info.subject);
        }
    }
}

#[test]
fn every_code_has_a_status_of_its_class_and_says_something() {
    for code in SERVICES.iter().flat_map(|service| service.refusals).chain(CommonRefusal::CODES) {
        assert!(code.class.statuses().contains(&code.status), "{} {}", code.code, code.status);
        assert!(!code.message.is_empty() && code.message.trim() == code.message, "{}", code.code);
    }
}

#[test]
fn every_code_has_one_meaning_and_stands_in_a_table_once() {
    let mut meanings: BTreeMap<&str, &Code> = BTreeMap::new();
    for table in SERVICES.iter().map(|service| service.refusals).chain([CommonRefusal::CODES]) {
        assert_unique(table.iter().map(|code| code.code));
        for code in table {
            let meaning = meanings.entry(code.code).or_insert(code);
            assert_eq!(*meaning, code, "two services mean different things");
        }
    }
}

#[test]
fn every_code_is_of_its_services_range_or_borrowed_from_the_owner() {
    assert_eq!(RANGES.len(), SERVICES.len(), "every service has its ranges");
    for service in SERVICES {
        for code in service.refusals {
            let in_range =
                |(_, ranges): &&(&str, &[&str])| ranges.iter().any(|range| code.code.starts_with(range));
            let (owner, _) =
                RANGES.iter().find(in_range).unwrap_or_else(|| panic!("{}: no range", code.code));
            let digits = code.code.rsplit('_').next().unwrap_or_default();
            assert!(digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()), "{}", code.code);
            let owners = SERVICES.iter().find(|other| other.name == *owner).expect(owner);
            assert!(
                owners.refusals.contains(code),
                "{} of {} is unknown to {owner}",
                code.code,
                service.name
            );
        }
    }
}

#[test]
fn the_common_codes_are_those_of_the_architecture() {
    let statuses: Vec<u16> = CommonRefusal::CODES.iter().map(|code| code.status).collect();
    assert_eq!(statuses, [400, 400, 415, 413, 405, 404, 422, 406, 504, 503, 412, 429, 403, 500, 428, 409]);
    for (index, code) in CommonRefusal::CODES.iter().enumerate() {
        assert_eq!(code.code, format!("COMMON_{:04}", index + 1));
    }
    assert_eq!(CommonRefusal::CODES[6].class, Class::Conflict, "a reused idempotency key is a conflict");
}
