//! Whether bytes are JSON as we take it, and where in it something stands.

use std::collections::HashSet;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Deepest nesting of a body (identity spec, bad input).
const MAX_DEPTH: u32 = 32;

/// Something wrong at a place: a JSON pointer (RFC 6901) and the reason.
pub(crate) type Fault = (String, String);

/// Why bytes are not taken.
pub(crate) enum Unreadable {
    /// Not JSON, nested too deep, a repeated key, or more bytes after the value.
    Malformed(String),
    /// JSON, but with a number that no machine type holds, such as `1e400`.
    Number(Fault),
}

/// Checks all of a body before anything of it is believed: so broken JSON is never taken for a bad field.
pub(crate) fn check(body: &[u8]) -> Result<(), Unreadable> {
    if depth(body) > MAX_DEPTH {
        return Err(Unreadable::Malformed(format!("nested deeper than {MAX_DEPTH} levels")));
    }
    let Err(error) = serde_json::from_slice::<AnyJson>(body) else { return Ok(()) };
    let reason = reason(&error);
    if reason == "number out of range" {
        // read again to learn where, which would cost every good request too much
        let mut json = serde_json::Deserializer::from_slice(body);
        if let Err(error) = serde_path_to_error::deserialize::<_, AnyJson>(&mut json) {
            return Err(Unreadable::Number((pointer(error.path()), reason)));
        }
    }
    Err(Unreadable::Malformed(reason))
}

/// An error's text without " at line 1 column 17", which helps nobody who sent one line.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// A path of `serde_path_to_error` as a JSON pointer: `events[0].rate` is `/events/0/rate`.
pub(crate) fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |at, segment| match segment {
        Segment::Seq { index } => format!("{at}/{index}"),
        Segment::Map { key } | Segment::Enum { variant: key } => below(&at, key),
        Segment::Unknown => at,
    })
}

/// The pointer of a member of what `at` points to.
pub(crate) fn below(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Where NUL characters stand. PostgreSQL can't store them, in text or in JSON.
pub(crate) fn nul_characters(body: &[u8]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if body.windows(6).any(|six| six == br"\u0000") {
        find_nul(&serde_json::from_slice(body).unwrap_or_default(), "", &mut faults);
    }
    faults
}

fn find_nul(value: &Value, at: &str, faults: &mut Vec<Fault>) {
    match value {
        Value::String(text) if text.contains('\0') => {
            faults.push((at.to_owned(), "no NUL characters".to_owned()));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_nul(item, &format!("{at}/{index}"), faults);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                if key.contains('\0') {
                    faults.push((at.to_owned(), "no NUL characters in a key".to_owned()));
                }
                find_nul(member, &below(at, key), faults);
            }
        }
        _ => {}
    }
}

fn depth(body: &[u8]) -> u32 {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_u32, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Any JSON value, read only to see that it is one and that no object in it repeats a key: serde_json keeps the last of
/// two, so two readers could believe two different things.
struct AnyJson;

impl<'de> Deserialize<'de> for AnyJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyJson, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

impl<'de> Visitor<'de> for AnyJson {
    type Value = AnyJson;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AnyJson, A::Error> {
        while items.next_element::<AnyJson>()?.is_some() {}
        Ok(AnyJson)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<AnyJson, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value::<AnyJson>()?;
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is given twice")));
            }
        }
        Ok(AnyJson)
    }
}
