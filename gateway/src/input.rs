//! From path, query and body to the one JSON object that is the request.

use std::collections::HashMap;

use bytes::Bytes;
use lectern_subjects::{Code, CommonRefusal, Refusal, RequestInfo};
use schemars::SchemaGenerator;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::routes::Route;

/// How a route's parameters become fields.
pub(crate) struct Params {
    /// Names in the path, in order.
    path: Vec<&'static str>,
    /// Those of them that are words and no ids.
    words: Vec<&'static str>,
    /// Fields that are no strings, so that `limit=20` becomes a number.
    kinds: HashMap<String, Kind>,
    /// Whether fields may come in the query.
    query: bool,
    /// The only ones that are read there; others are ignored.
    read: Option<&'static [&'static str]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Boolean,
}

/// The media type of a form.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Why an input is no request.
pub(crate) struct BadInput {
    pub code: &'static Code,
    pub details: Option<Value>,
}

impl BadInput {
    fn field(pointer: &str, reason: &str) -> BadInput {
        BadInput {
            code: CommonRefusal::ValidationFailed.code(),
            details: Some(json!([{ "pointer": pointer, "reason": reason }])),
        }
    }
}

impl Params {
    pub fn of(route: &'static Route, info: &'static RequestInfo) -> Params {
        let path: Vec<&'static str> =
            route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let mut generator = SchemaGenerator::default();
        (info.request_schema)(&mut generator);
        let definition = generator.definitions().get(info.name).cloned().unwrap_or_default();
        let kinds = definition["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, schema)| Some((name.clone(), kind(schema)?)))
            .collect();
        let is_word = |name: &&&str| {
            let schema = &definition["properties"][**name];
            schema["type"] == "string" && schema["format"].is_null()
        };
        let words = path.iter().filter(is_word).copied().collect();
        Params { path, words, kinds, query: route.method == "GET", read: route.query }
    }

    /// The request's JSON. Path parameters are put in front of the body's fields; a body that names one of them too
    /// repeats a key and is refused as such.
    pub fn merge(&self, segments: &[(String, String)], query: &str, body: Bytes) -> Result<Bytes, BadInput> {
        if self.path.is_empty() && query.is_empty() {
            return Ok(body);
        }
        let mut fields = Vec::with_capacity(self.path.len() + 2);
        for name in &self.path {
            let value = segments.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            if let (true, Some(word)) = (self.words.contains(name), value) {
                fields.push(format!("\"{name}\":{}", json!(percent_decoded(word))));
                continue;
            }
            let id = value.and_then(|value| Uuid::try_parse(value).ok());
            let id = id.ok_or_else(|| BadInput::field(&format!("/{name}"), "an id is a UUID"))?;
            fields.push(format!("\"{name}\":\"{id}\""));
        }
        for (name, value) in form_pairs(query) {
            if !self.query {
                return Err(BadInput::field(&format!("/{name}"), "unknown query parameter"));
            }
            if self.read.is_some_and(|read| !read.contains(&name.as_str())) {
                continue;
            }
            fields.push(format!("{}:{}", json!(name), self.typed(&name, &value)));
        }
        splice(&fields.join(","), body)
    }

    /// A form as the JSON object that it stands for. A field that is given twice stays so, and is refused as a key given
    /// twice (RFC 6749 §3.2 asks for that).
    pub fn of_form(&self, body: &[u8]) -> Result<Bytes, BadInput> {
        let text = std::str::from_utf8(body).map_err(|_| BadInput {
            code: CommonRefusal::MalformedBody.code(),
            details: Some(json!([{ "pointer": "", "reason": "a form is UTF-8" }])),
        })?;
        let fields: Vec<String> = form_pairs(text.trim_ascii())
            .iter()
            .map(|(name, value)| format!("{}:{}", json!(name), self.typed(name, value)))
            .collect();
        Ok(format!("{{{}}}", fields.join(",")).into())
    }

    /// A query's text as the JSON of its field's type; what does not parse stays a string, and is refused as one.
    fn typed(&self, name: &str, value: &str) -> Value {
        match self.kinds.get(name) {
            Some(Kind::Integer) => value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number)),
            Some(Kind::Boolean) => value.parse::<bool>().map_or_else(|_| json!(value), |truth| json!(truth)),
            None => json!(value),
        }
    }
}

fn kind(schema: &Value) -> Option<Kind> {
    let is = |name: &str| match &schema["type"] {
        Value::String(one) => one == name,
        Value::Array(many) => many.iter().any(|one| one == name),
        _ => false,
    };
    if is("integer") {
        Some(Kind::Integer)
    } else if is("boolean") {
        Some(Kind::Boolean)
    } else {
        None
    }
}

/// Puts fields in front of an object's own. A body that is no object is left for the decoder to refuse.
fn splice(fields: &str, body: Bytes) -> Result<Bytes, BadInput> {
    let text = body.trim_ascii();
    if text.is_empty() {
        return Ok(format!("{{{fields}}}").into());
    }
    let Some(rest) = text.strip_prefix(b"{") else { return Ok(body) };
    let separator = if rest.trim_ascii_start().starts_with(b"}") || fields.is_empty() { "" } else { "," };
    Ok([b"{", fields.as_bytes(), separator.as_bytes(), rest].concat().into())
}

/// Pairs of `application/x-www-form-urlencoded`.
fn form_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(name), percent_decoded(value))
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let byte = match bytes[index] {
            b'+' => b' ',
            b'%' => match bytes
                .get(index + 1..index + 3)
                .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok())
            {
                Some(byte) => {
                    index += 2;
                    byte
                }
                None => b'%',
            },
            other => other,
        };
        decoded.push(byte);
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use lectern_subjects::Request;
    use lectern_subjects::courses::{ListCourses, UpdateCourse};
    use lectern_subjects::identity::{OidcCallback, RevokeToken};

    use super::*;
    use crate::routes::ROUTES;

    fn params<R: Request>() -> Params {
        let route = ROUTES.iter().find(|route| route.subject == R::SUBJECT).expect("a route");
        let info = lectern_subjects::request(R::SUBJECT).expect("a row");
        Params::of(route, info)
    }

    fn merged<R: Request>(segments: &[(&str, &str)], query: &str, body: &str) -> Result<String, String> {
        let segments: Vec<_> = segments.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let merged = params::<R>().merge(&segments, query, Bytes::copy_from_slice(body.as_bytes()));
        merged
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|bad| format!("{:?}", bad.details))
    }

    const ID: &str = "0192f0c1-2345-7abc-8def-0123456789ab";

    #[test]
    fn a_query_becomes_typed_fields() {
        let text = merged::<ListCourses>(&[], "limit=20&q=rust%20and+c%2B%2B", "").expect("a request");
        assert_eq!(text, r#"{"limit":20,"q":"rust and c++"}"#);
        assert!(merged::<ListCourses>(&[], "limit=twenty", "").expect("json").contains("\"twenty\""));
    }

    #[test]
    fn a_path_parameter_stands_before_the_body_and_repeating_it_repeats_a_key() {
        let text = merged::<UpdateCourse>(&[("id", ID)], "", r#"{"title":"x"}"#).expect("a request");
        assert_eq!(text, format!(r#"{{"id":"{ID}","title":"x"}}"#));
        assert_eq!(
            merged::<UpdateCourse>(&[("id", ID)], "", "").expect("a request"),
            format!(r#"{{"id":"{ID}"}}"#)
        );
        assert_eq!(
            merged::<UpdateCourse>(&[("id", ID)], "", "{ }").expect("a request"),
            format!(r#"{{"id":"{ID}" }}"#)
        );
        let repeated =
            merged::<UpdateCourse>(&[("id", ID)], "", &format!(r#"{{"id":"{ID}"}}"#)).expect("json");
        assert!(lectern_subjects::decode::<UpdateCourse>(repeated.as_bytes()).is_err());
    }

    #[test]
    fn rfc7009_a_form_becomes_the_object_that_it_stands_for_and_a_field_given_twice_is_refused() {
        let params = params::<RevokeToken>();
        let read = |form: &str| {
            params.of_form(form.as_bytes()).map(|json| lectern_subjects::decode::<RevokeToken>(&json))
        };
        let Ok(Ok(asked)) = read("token=a%2Bb+c%22&token_type_hint=access_token") else { panic!("a form") };
        assert_eq!(
            (asked.token.as_str(), asked.token_type_hint.as_deref()),
            ("a+b c\"", Some("access_token"))
        );
        for bad in ["token=a&token=b", "", "tok=a", "token=a&scope=b", "token=%00"] {
            assert!(matches!(read(bad), Ok(Err(_))), "{bad:?}");
        }
        assert!(params.of_form(b"token=\xff").is_err());
    }

    #[test]
    fn rfc6749_of_a_providers_answer_only_what_is_known_is_read_and_never_what_cookies_say() {
        let answer =
            "state=s&code=c&session_state=x&scope=a+b&binding=planted&device_token=planted&provider=other";
        let text = merged::<OidcCallback>(&[("provider", "my%22own")], answer, "").expect("a request");
        assert_eq!(text, r#"{"provider":"my\"own","state":"s","code":"c"}"#);
        let twice = merged::<OidcCallback>(&[("provider", "google")], "state=a&state=b", "").expect("json");
        assert!(lectern_subjects::decode::<OidcCallback>(twice.as_bytes()).is_err());
    }

    #[test]
    fn an_id_in_the_path_that_is_no_uuid_is_named() {
        assert!(
            merged::<UpdateCourse>(&[("id", "1; DROP TABLE courses")], "", "{}")
                .expect_err("refused")
                .contains("/id")
        );
        assert!(
            merged::<UpdateCourse>(&[("id", ID)], "force=true", "{}")
                .expect_err("refused")
                .contains("/force")
        );
    }
}
