//! The learner's whole way, once over HTTP and once on the subjects: the same steps, the same answers.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use lectern_harness::{Actor, Answer};
use serde_json::{Value, json};

use crate::road::{Doors, Road, Seen};
use crate::shared::{House, house};
use crate::{second_factor, way_account, way_staff, way_steps};

/// One traveller on one road, and what was answered so far.
pub struct Way<'a> {
    pub house: &'a House,
    pub doors: &'a Doors<'a>,
    pub road: Road,
    pub alice: Actor,
    pub operator: Actor,
    pub admin: Actor,
    steps: Vec<(&'static str, Seen)>,
    succeeded: BTreeSet<String>,
}

impl Way<'_> {
    /// Asks, and keeps the answer for comparison.
    pub async fn asks(
        &mut self,
        step: &'static str,
        who: Option<&Actor>,
        subject: &str,
        input: Value,
    ) -> Answer {
        let answer = self.looks(who, subject, &input).await;
        self.keeps(step, subject, &answer, false);
        answer
    }

    /// Asks without keeping: for waiting.
    pub async fn looks(&self, who: Option<&Actor>, subject: &str, input: &Value) -> Answer {
        self.doors.asks(self.road, who, subject, input).await
    }

    /// Keeps an answer; `vague` when a clock decides its values.
    pub fn keeps(&mut self, step: &'static str, subject: &str, answer: &Answer, vague: bool) {
        let people = [(self.alice.email.as_str(), "<address>"), (self.word(), "<road>")];
        let seen = Seen::of(self.doors.contract.of(subject), answer, &people);
        if seen.status == 200 {
            self.succeeded.insert(subject.to_owned());
        }
        self.steps.push((step, if vague { seen.shape() } else { seen }));
    }

    /// Notes that a request was answered, where its answer is not to be compared.
    pub fn succeeds(&mut self, subject: &str) {
        self.succeeded.insert(subject.to_owned());
    }

    /// A word that only this road's nouns have in their names.
    pub fn word(&self) -> &'static str {
        match self.road {
            Road::Http => "by-http",
            Road::Bus => "by-bus",
        }
    }
}

async fn travel<'a>(house: &'a House, doors: &'a Doors<'a>, road: Road) -> Way<'a> {
    let (operator, admin) = (house.staff("operator"), house.staff("admin"));
    let alice = house.stack.stranger("Alice Kim");
    let mut way =
        Way { house, doors, road, alice, operator, admin, steps: Vec::new(), succeeded: BTreeSet::new() };
    way_steps::signs_up(&mut way).await;
    way_steps::changes_passwords(&mut way).await;
    let lesson = way_steps::teaches(&mut way).await;
    way_steps::enrols(&mut way, &lesson).await;
    way_steps::watches(&mut way, &lesson).await;
    way_steps::subscribes(&mut way).await;
    way_steps::reads_notices(&mut way).await;
    second_factor::proves_twice(&mut way).await;
    way_account::minds_her_account(&mut way).await;
    way_staff::minds_an_account(&mut way).await;
    way_staff::is_forgotten(&mut way).await;
    way_steps::says_goodbye(&mut way).await;
    way
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_is_the_same_over_http_and_on_the_subjects() {
    let house = house().await;
    let doors = house.doors().await;
    let (http, bus) = tokio::join!(travel(house, &doors, Road::Http), travel(house, &doors, Road::Bus));
    for ((step, over_http), (_, on_the_bus)) in http.steps.iter().zip(&bus.steps) {
        assert!(over_http == on_the_bus, "{step} differs.\nHTTP: {over_http:#?}\nbus: {on_the_bus:#?}");
    }
    assert_eq!(http.steps.len(), bus.steps.len());

    let all: BTreeSet<String> = house.contract.operations.keys().cloned().collect();
    // what the gateway itself sends while it stores bytes; `uploads` and `media` show that it does
    let by_gateway = ["svc.content.v1.uploads.advance", "svc.content.v1.uploads.complete"].map(str::to_owned);
    let elsewhere = way_staff::ELSEWHERE.map(str::to_owned);
    let missing: Vec<_> = all
        .difference(&bus.succeeded)
        .filter(|subject| !by_gateway.contains(subject) && !elsewhere.contains(subject))
        .collect();
    assert!(missing.is_empty(), "requests of the contract that the way never uses: {missing:?}");
    every_change_is_in_the_record(house, &doors).await;
}

/// What is said to be audited, as the table has it that names each changing request.
const AUDITED: &str = include_str!("../../../crates/lectern/tests/lectern/audited.rs");

/// Made in vain on the way, nobody was locked; its entry: workers/identity/tests/identity/staff_accounts.rs.
const CHANGES_NOTHING: &str = "svc.identity.v1.admin.user_unlock";
/// The gateway sends it by itself, when the last byte of a file is there.
const BY_GATEWAY: &str = "svc.content.v1.uploads.complete";

/// Requests with the entry that each writes; a reason for none has spaces in it.
fn audited() -> Vec<(&'static str, &'static str)> {
    let rows = AUDITED.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("\"),"));
    let rows = rows.filter_map(|row| row.split_once("\", \""));
    rows.filter(|(subject, entry)| subject.starts_with("svc.") && !entry.contains(' ')).collect()
}

/// Identity I11: of each changing request one that was made on this way has an entry with its trace in the audit record.
async fn every_change_is_in_the_record(house: &House, doors: &Doors<'_>) {
    let asked = doors.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut written = BTreeSet::new();
    for service in ["identity", "courses", "content", "playback", "enrollment", "notifications"] {
        let sql = format!(
            "SELECT string_agg(concat_ws(' ', entry ->> 'event_type', entry ->> 'trace'), ',') FROM (
                 SELECT convert_from(payload, 'UTF8')::jsonb AS entry FROM (
                     SELECT id, stream, payload FROM {service}.outbox
                     UNION SELECT id, stream, payload FROM {service}.outbox_archive) AS all_of_them
                 WHERE stream = 'AUDIT') AS entries"
        );
        let rows = house.stack.database().value(&sql).await.expect("read").unwrap_or_default();
        written.extend(rows.split(',').filter_map(|row| {
            let (event, trace) = row.split_once(' ')?;
            Some((event.to_owned(), trace.split('-').nth(1)?.to_owned()))
        }));
    }
    let audited = audited();
    assert!(audited.len() > 40, "only {} rows were read", audited.len());
    let mut without = Vec::new();
    for (subject, event) in audited {
        let mut requests = asked.iter().filter(|(it, _, status)| it == subject && *status < 300);
        let recorded = match subject {
            BY_GATEWAY => written.iter().any(|(it, _)| it == event),
            _ => requests.any(|(_, trace, _)| written.contains(&(event.to_owned(), trace.clone()))),
        };
        if !recorded && subject != CHANGES_NOTHING && !way_staff::ELSEWHERE.contains(&subject) {
            without.push((subject, event));
        }
    }
    assert!(without.is_empty(), "no request of these is in the record: {without:?}");
}

/// A clip that is one by its first bytes; what is in it doesn't matter here.
pub fn clip(length: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41".to_vec();
    bytes.extend(
        (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(length - bytes.len()),
    );
    bytes
}

/// The beats of twelve seconds: watched to 4 s, jumped to 8 s, watched on to 10 s.
pub fn beats() -> Value {
    let at = |second: u32| format!("2026-11-20T10:00:{second:02}Z");
    json!([
        { "seq": 1, "kind": "play", "position_ms": 0, "rate": 1.0, "client_at": at(0) },
        { "seq": 2, "kind": "heartbeat", "position_ms": 2000, "rate": 1.0, "client_at": at(2) },
        { "seq": 3, "kind": "pause", "position_ms": 4000, "rate": 1.0, "client_at": at(4) },
        { "seq": 4, "kind": "seek", "position_ms": 4000, "position_to_ms": 8000, "rate": 1.0, "client_at": at(5) },
        { "seq": 5, "kind": "play", "position_ms": 8000, "rate": 1.0, "client_at": at(6) },
        { "seq": 6, "kind": "heartbeat", "position_ms": 10_000, "rate": 1.0, "client_at": at(8) },
    ])
}
