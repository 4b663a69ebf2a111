//! From bytes to a valid request, the same way on both roads.

use schemars::SchemaGenerator;
use serde::de::value::MapDeserializer;
use serde_json::{Map, Value, json};

use crate::json::{self, Fault, Unreadable};
use crate::{Code, CommonRefusal, Refusal, Request};

/// Most faults that are told at once: a body full of unknown fields shall not make an answer larger than itself.
const MAX_FAULTS: usize = 100;

/// A body that is no valid request: which code to answer, and what was wrong where.
#[derive(Debug)]
pub struct BadShape {
    /// COMMON_0001, COMMON_0002, or the domain code that the request's row names for the field.
    pub code: &'static Code,
    /// `[{"pointer": "/title", "reason": "…"}]`; the pointer of a malformed body is empty.
    pub details: Option<Value>,
}

impl std::fmt::Display for BadShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code.code, self.code.message)
    }
}

impl std::error::Error for BadShape {}

/// Parses and validates one request. An empty body counts as `{}` where that is a request.
///
/// No value of the body stands in the reasons, since it may be a password.
///
/// # Errors
/// COMMON_0002 when the body is not JSON, repeats a key, nests deeper than 32, has trailing bytes, or is empty though
/// the request has required fields. Otherwise, when it is no valid request, the domain code that the request's row names
/// for the field, if all faults stand in fields of one such code, else COMMON_0001; with a pointer and a reason for each
/// unknown or missing field and for the first fault in each field of a wrong type, or, when there is none of those, for
/// everything out of range. At most 100 faults are told.
pub fn decode<R: Request>(body: &[u8]) -> Result<R, BadShape> {
    let empty = body.trim_ascii().is_empty();
    let body = if empty { b"{}" } else { body };
    json::check(body).map_err(|unreadable| match unreadable {
        Unreadable::Malformed(reason) => malformed(reason),
        Unreadable::Number(fault) => invalid::<R>(vec![fault]),
    })?;
    if !body.trim_ascii_start().starts_with(b"{") {
        // serde would also take the fields from an array, by position
        return Err(invalid::<R>(vec![(String::new(), "expected an object".to_owned())]));
    }
    let mut faults = json::nul_characters(body);
    match serde_json::from_slice::<R>(body) {
        Err(_) if empty => return Err(malformed("the body is empty".to_owned())),
        Err(error) => faults.extend(misread::<R>(body, &error)),
        Ok(request) => match request.validate() {
            Ok(()) if faults.is_empty() => return Ok(request),
            Ok(()) => {}
            Err(report) => {
                faults.extend(report.iter().map(|(path, error)| (garde_pointer(path), error.to_string())));
            }
        },
    }
    Err(invalid::<R>(faults))
}

fn malformed(reason: String) -> BadShape {
    BadShape {
        code: CommonRefusal::MalformedBody.code(),
        details: Some(json!([{ "pointer": "", "reason": reason }])),
    }
}

/// A row's field covers what is nested in it: `events` covers `/events/3/rate`.
fn invalid<R: Request>(mut faults: Vec<Fault>) -> BadShape {
    faults.truncate(MAX_FAULTS);
    let domain_code = |(pointer, _): &Fault| {
        let field = pointer.split('/').nth(1);
        R::SHAPE.iter().find(|(name, _)| field == Some(*name)).map(|(_, code)| *code)
    };
    let first = faults.first().and_then(domain_code);
    let common = first.filter(|_| faults.iter().all(|fault| domain_code(fault) == first));
    let details =
        faults.iter().map(|(pointer, reason)| json!({ "pointer": pointer, "reason": reason })).collect();
    BadShape {
        code: common.unwrap_or(CommonRefusal::ValidationFailed.code()),
        details: Some(Value::Array(details)),
    }
}

/// What makes an object unreadable as `R`. serde stops at the first fault, so each field is read alone: then its own
/// fault comes first, or none but the absence of others.
fn misread<R: Request>(body: &[u8], error: &serde_json::Error) -> Vec<Fault> {
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let mut faults = Vec::new();
    for (name, value) in &fields {
        let alone = MapDeserializer::<_, serde_json::Error>::new(std::iter::once((name.as_str(), value)));
        if let Err(error) = serde_path_to_error::deserialize::<_, R>(alone) {
            faults.extend(fault(&error));
        }
    }
    let schema = R::json_schema(&mut SchemaGenerator::default());
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !fields.keys().any(|key| key == name || snake_case(key) == name) {
            faults.push((json::below("", name), "required".to_owned()));
        }
    }
    if faults.is_empty() {
        // each field is good, but two of them are spellings of one: `planId` and `plan_id`
        let name = json::reason(error).split('`').nth(1).unwrap_or_default().to_owned();
        faults.push((json::below("", &name), "given twice".to_owned()));
    }
    faults
}

/// A fault of serde's; none for the absence of a field beside the one that was read.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Option<Fault> {
    let at = json::pointer(error.path());
    let reason = json::reason(error.inner());
    if let Some(name) = reason.strip_prefix("missing field `") {
        return (!at.is_empty())
            .then(|| (json::below(&at, name.trim_end_matches('`')), "required".to_owned()));
    }
    if let Some(rest) = reason.strip_prefix("unknown field `") {
        let end = rest.find("`, expected ").or_else(|| rest.find("`, there are no fields"));
        let step = json::below("", &rest[..end.unwrap_or(rest.len())]);
        let pointer = if at.ends_with(&step) { at } else { at + &step };
        return Some((pointer, "unknown field".to_owned()));
    }
    Some((at, in_words(&reason)))
}

/// What serde expected, in the words of JSON and without the value that came instead.
fn in_words(reason: &str) -> String {
    let Some((_, expected)) = reason.rsplit_once(", expected ") else { return reason.to_owned() };
    let expected = match expected {
        "i32" | "i64" => "an integer",
        "u32" => "an integer from 0 to 4294967295",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        name if name.starts_with("struct ") => "an object",
        other => other,
    };
    format!("expected {expected}")
}

fn garde_pointer(path: &garde::Path) -> String {
    let path = path.to_string().replace('[', ".").replace(']', "");
    path.split('.').filter(|step| !step.is_empty()).fold(String::new(), |at, step| json::below(&at, step))
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
