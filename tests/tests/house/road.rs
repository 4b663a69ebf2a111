//! The two roads to every request, and what must be the same on both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_nats::HeaderMap;
use lectern_harness::actors::{Ask, Bus};
use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::contract::{Contract, Operation, Place, Route};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    Http,
    Bus,
}

/// What a caller learns from an answer, whichever way it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The status of a refusal; 200 for every success.
    pub status: u16,
    /// Whether the answer shows what was there already.
    pub existing: bool,
    pub etag: Option<String>,
    pub retry_after: Option<String>,
    pub json: Value,
}

/// Requests of this process; each is a trace of its own, and none is the trace of nought.
static COUNT: AtomicU64 = AtomicU64::new(1);

/// Both roads.
pub struct Doors<'a> {
    pub contract: &'a Contract,
    pub anyone: Actor,
    pub bus: Bus,
    /// What was asked, each with the id of its trace and the status of its answer.
    pub asked: Mutex<Vec<(String, String, u16)>>,
}

impl Doors<'_> {
    /// One request on one road. An answer over HTTP must be among the documented ones.
    pub async fn asks(&self, road: Road, who: Option<&Actor>, subject: &str, input: &Value) -> Answer {
        self.asks_keyed(road, who, subject, input, None).await
    }

    /// The same with an idempotency key.
    pub async fn asks_keyed(
        &self,
        road: Road,
        who: Option<&Actor>,
        subject: &str,
        input: &Value,
        key: Option<&str>,
    ) -> Answer {
        let operation = self.contract.of(subject);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let trace = format!("{:016x}{nth:016x}", std::process::id());
        let traceparent = format!("00-{trace}-{nth:016x}-01");
        let answer = match (road, &operation.route) {
            (Road::Http, Some(route)) => {
                let ask = over_http(who.unwrap_or(&self.anyone), route, input);
                let ask = ask.header("traceparent", &traceparent);
                let ask = if let Some(key) = key { ask.key(key) } else { ask };
                documented(operation, ask.send().await)
            }
            _ => {
                let token = who.and_then(Actor::access_token);
                let bus = token.map_or_else(|| self.bus.clone(), |token| self.bus.with_token(token));
                let mut headers = HeaderMap::new();
                headers.insert("traceparent", traceparent.as_str());
                if let Some(key) = key {
                    headers.insert("Idempotency-Key", key);
                }
                let answer = bus.asks_with(subject, input.clone(), headers).await;
                answer.unwrap_or_else(|error| panic!("no answer from {subject}: {error:#}"))
            }
        };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((subject.to_owned(), trace, answer.status));
        answer
    }

    /// Asks the same on both roads and demands the same answer.
    pub async fn both(&self, who: Option<&Actor>, subject: &str, input: &Value) -> Answer {
        let http = self.asks(Road::Http, who, subject, input).await;
        let bus = self.asks(Road::Bus, who, subject, input).await;
        let (one, other) =
            (Seen::of(self.contract.of(subject), &http, &[]), Seen::of(self.contract.of(subject), &bus, &[]));
        assert!(one == other, "the roads differ.\nHTTP: {http}\nbus: {bus}\n{one:#?}\n{other:#?}");
        http
    }
}

/// The request as HTTP has it: ids in the path, filters in the query, the rest in the body.
pub fn over_http(who: &Actor, route: &Route, input: &Value) -> Ask {
    let mut path = route.path.clone();
    let mut query = Vec::new();
    let mut body = Map::new();
    for (name, value) in input.as_object().expect("an object") {
        let place = route.fields.iter().find(|field| field.name == *name).map(|field| field.place);
        let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match place {
            Some(Place::Path) => path = path.replace(&format!("{{{name}}}"), &plain),
            Some(Place::Query) => query.push(format!("{name}={plain}")),
            None if route.method == Method::GET => query.push(format!("{name}={plain}")),
            _ => drop(body.insert(name.clone(), value.clone())),
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let ask = who.asks(route.method.clone(), &path);
    if route.method == Method::GET { ask } else { ask.json(Value::Object(body)) }
}

/// An answer over HTTP is one that the documents announce, by status and code.
pub fn documented(operation: &Operation, answer: Answer) -> Answer {
    let route = operation.route.as_ref().expect("a route");
    let codes = route.statuses.get(&answer.status);
    let codes = codes.unwrap_or_else(|| {
        panic!("OpenAPI does not announce {} for {}: {answer}", answer.status, operation.subject)
    });
    if answer.status >= 400 {
        let code = answer.json["error_code"].as_str().unwrap_or_default();
        assert!(codes.contains(code), "OpenAPI does not announce {code} for {}: {answer}", operation.subject);
    }
    answer
}

impl Seen {
    /// Names in `people` (anything of this run that the other road's run has differently) become their placeholder.
    pub fn of(operation: &Operation, answer: &Answer, people: &[(&str, &str)]) -> Seen {
        let over_http = answer.asked.contains("http://");
        let success = operation.route.as_ref().map_or(200, |route| route.success);
        let good = (200..300).contains(&answer.status);
        let existing = match over_http {
            true => good && success == 201 && answer.status == 200,
            false => answer.headers.contains_key("lectern-existing"),
        };
        if !good {
            is_a_problem(answer);
        }
        Seen {
            status: if good { 200 } else { answer.status },
            existing,
            etag: answer.headers.get("etag").cloned(),
            retry_after: answer.headers.get("retry-after").cloned(),
            json: plain("", &answer.json, people),
        }
    }

    /// Names and types only: for what a clock decides.
    pub fn shape(mut self) -> Seen {
        self.json = shape(&self.json);
        self.etag = self.etag.map(|_| "any".to_owned());
        self
    }
}

/// RFC 9457 with the fields of ours, in agreement with itself.
#[track_caller]
pub fn is_a_problem(answer: &Answer) {
    let json = &answer.json;
    assert!(json["status"] == answer.status, "the status inside differs: {answer}");
    for field in ["type", "title", "detail", "message", "timestamp", "error_code", "instance", "trace_id"] {
        assert!(json[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {answer}");
    }
    let code = json["error_code"].as_str().unwrap_or_default();
    assert!(json["type"] == format!("/docs/errors#{code}"), "its type names another code: {answer}");
}

/// Without what differs from one time to the next: ids, times, secrets, and where the question stood.
fn plain(key: &str, value: &Value, people: &[(&str, &str)]) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "instance" | "trace_id"));
            kept.map(|(name, value)| (name.clone(), plain(name, value, people))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| plain(key, item, people)).collect(),
        Value::String(text) => json!(match key {
            "access_token" | "refresh_token" | "device_token" | "media_url" | "x" | "next_cursor" =>
                format!("<{key}>"),
            _ if is_id(text) => "<id>".to_owned(),
            _ if is_time(text) => "<time>".to_owned(),
            _ => without_ids(
                people.iter().fold(text.clone(), |text, (name, placeholder)| text.replace(name, placeholder))
            ),
        }),
        other => other.clone(),
    }
}

fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => Value::Array(items.first().map(shape).into_iter().collect()),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("truth"),
        Value::Null => Value::Null,
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 36
        && text
            .char_indices()
            .all(|(at, c)| if matches!(at, 8 | 13 | 18 | 23) { c == '-' } else { c.is_ascii_hexdigit() })
}

fn is_time(text: &str) -> bool {
    text.len() >= 20
        && text.ends_with('Z')
        && text.as_bytes()[10] == b'T'
        && text[..4].bytes().all(|b| b.is_ascii_digit())
}

/// `media/<id>/lesson.mp4`
fn without_ids(text: String) -> String {
    text.split('/').map(|part| if is_id(part) { "<id>" } else { part }).collect::<Vec<_>>().join("/")
}
