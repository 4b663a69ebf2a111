//! What came back from a public door.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Write};

use bytes::Bytes;
use serde_json::Value;

/// An answer. Its assertions print the whole of it when they fail, with what was asked.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked: `POST /api/v1/courses`, or a subject.
    pub asked: String,
    /// The JSON that was sent, if any.
    pub sent: Option<Value>,
    /// The HTTP status; on the bus, the status that the same answer has over HTTP.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as JSON; null when it is none.
    pub json: Value,
    /// The body as it came.
    pub body: Bytes,
}

impl Answer {
    /// Asserts the status.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        assert!(self.status == status, "expected {status}, got {self}");
        self
    }

    /// Asserts 200.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn ok(self) -> Answer {
        self.is(200)
    }

    /// Asserts 201.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn created(self) -> Answer {
        self.is(201)
    }

    /// Asserts 202.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn accepted(self) -> Answer {
        self.is(202)
    }

    /// Asserts a problem document (RFC 9457) with this status and this stable code, whole and in agreement with itself.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Answer {
        let answer = self.is(status);
        let kind = answer.headers.get("content-type").map_or("", String::as_str);
        assert!(kind.starts_with("application/problem+json"), "expected a problem document, got {answer}");
        assert!(answer.json["error_code"] == code, "expected {code}, got {answer}");
        assert!(answer.json["status"] == status, "the status inside differs: {answer}");
        for field in ["type", "title", "detail", "message", "timestamp"] {
            assert!(answer.json[field].is_string(), "the problem document has no {field}: {answer}");
        }
        answer
    }

    /// The `id` of the answered thing.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn id(&self) -> String {
        self.text("/id")
    }

    /// The value at a JSON pointer (RFC 6901).
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer} in {self}"))
    }

    /// The string at a JSON pointer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        let value = self.at(pointer).as_str();
        value.unwrap_or_else(|| panic!("no string at {pointer} in {self}")).to_owned()
    }

    /// The integer at a JSON pointer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or_else(|| panic!("no integer at {pointer} in {self}"))
    }

    /// The rows of a list.
    ///
    /// # Panics
    /// When it is no list.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        self.at("/items").as_array().unwrap_or_else(|| panic!("no list: {self}"))
    }

    /// A header.
    ///
    /// # Panics
    /// When it is missing.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(&name.to_ascii_lowercase()).unwrap_or_else(|| panic!("no header {name}: {self}"))
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} to {}", self.status, self.asked)?;
        if let Some(sent) = &self.sent {
            writeln!(f, "  sent {sent}")?;
        }
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {value}")?;
        }
        if !self.json.is_null() {
            return write!(f, "{:#}", self.json);
        }
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]);
        f.write_str(&text)?;
        if self.body.len() > 2000 { write!(f, "… ({} bytes)", self.body.len()) } else { f.write_char('\n') }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(inner_status: u16) -> Answer {
        let json = json!({
            "type": "about:blank", "title": "Not Found", "status": inner_status, "detail": "no such course",
            "message": "no such course", "timestamp": "2026-11-20T00:00:00Z", "error_code": "COURSE_2001",
        });
        Answer {
            asked: "GET /api/v1/courses/x".into(),
            sent: None,
            status: 404,
            headers: [("content-type".to_owned(), "application/problem+json".to_owned())].into(),
            body: Bytes::from(json.to_string()),
            json,
        }
    }

    #[test]
    fn a_refusal_is_believed_only_when_its_document_agrees_with_the_status() {
        problem(404).refused(404, "COURSE_2001");
        let fails = |answer: Answer, status, code: &'static str| {
            let refused = std::panic::AssertUnwindSafe(|| drop(answer.refused(status, code)));
            let panic = std::panic::catch_unwind(refused).expect_err("it must not be believed");
            panic.downcast_ref::<String>().cloned().unwrap_or_default()
        };
        assert!(fails(problem(404), 404, "COURSE_2002").contains("GET /api/v1/courses/x"));
        assert!(fails(problem(404), 403, "COURSE_2001").contains("expected 403"));
        assert!(fails(problem(400), 404, "COURSE_2001").contains("the status inside differs"));
    }
}
