//! One HTTP request of an actor, before it is sent.

use std::fmt::Display;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;

use super::answer::Answer;

/// What stands outside `/api/v1` (architecture §13).
const OUTSIDE: [&str; 9] =
    ["api", "health", "docs", "metrics", "oauth", ".well-known", "media", "openapi.json", "asyncapi.json"];

/// A request in the making: `alice.asks(Method::POST, "/courses").json(..).key("k1").send().await`.
#[derive(Debug)]
#[must_use]
pub struct Ask {
    client: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<Bytes>,
    sent: Option<Value>,
}

impl Ask {
    pub(super) fn new(client: &Client, base: &str, method: Method, path: &str, token: Option<&str>) -> Ask {
        let ask = Ask {
            client: client.clone(),
            method,
            url: place(base, path),
            headers: HeaderMap::new(),
            body: None,
            sent: None,
        };
        match token {
            Some(token) => ask.header("authorization", format!("Bearer {token}")),
            None => ask,
        }
    }

    /// A JSON body.
    pub fn json(mut self, body: Value) -> Ask {
        self.body = Some(Bytes::from(body.to_string()));
        self.sent = Some(body);
        self.header("content-type", "application/json")
    }

    /// Any body, for broken ones and for uploads.
    pub fn bytes(mut self, content_type: &str, body: impl Into<Bytes>) -> Ask {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    /// A header; it replaces an earlier one of that name.
    ///
    /// # Panics
    /// When the name or value can't be sent.
    pub fn header(mut self, name: &str, value: impl Display) -> Ask {
        let name: HeaderName = name.parse().unwrap_or_else(|error| panic!("header {name}: {error}"));
        let value = HeaderValue::from_str(&value.to_string())
            .unwrap_or_else(|error| panic!("header {name}: {error}"));
        self.headers.insert(name, value);
        self
    }

    /// Without credentials, or with the given ones (`Bearer …`).
    pub fn authorization(mut self, value: Option<&str>) -> Ask {
        self.headers.remove("authorization");
        match value {
            Some(value) => self.header("authorization", value),
            None => self,
        }
    }

    /// An `Idempotency-Key`.
    pub fn key(self, key: impl Display) -> Ask {
        self.header("idempotency-key", key)
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn send(self) -> Answer {
        let asked = format!("{} {}", self.method, self.url);
        self.try_send().await.unwrap_or_else(|error| panic!("no answer to {asked}: {error:?}"))
    }

    /// The same for callers who expect that no answer may come.
    ///
    /// # Errors
    /// A broken or refused connection, or the client's timeout.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let asked = format!("{} {}", self.method, self.url);
        let mut request = self.client.request(self.method, &self.url).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = response.bytes().await?;
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer { asked, sent: self.sent, status, headers, json, body })
    }
}

/// The URL of `path`: under `/api/v1` unless it stands outside or is a URL already (a signed media URL).
fn place(base: &str, path: &str) -> String {
    if path.starts_with("http://") || path.starts_with("https://") {
        return path.to_owned();
    }
    let first = path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
    if OUTSIDE.contains(&first) { format!("{base}{path}") } else { format!("{base}/api/v1{path}") }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_path_is_under_api_v1_unless_it_stands_outside() {
        assert_eq!(place("http://h", "/courses?limit=1"), "http://h/api/v1/courses?limit=1");
        assert_eq!(place("http://h", "/health/liveness"), "http://h/health/liveness");
        assert_eq!(place("http://h", "/api/v2/users/me"), "http://h/api/v2/users/me");
        assert_eq!(place("http://h", "http://other/media/a?sig=b"), "http://other/media/a?sig=b");
    }
}
