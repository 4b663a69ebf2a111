//! The other public door: the bus, as an internal tool uses it.

use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use serde_json::Value;

use super::answer::Answer;

/// A connection of the tools user, with verbs. The same request has the same answer as over HTTP.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    token: Option<String>,
}

impl Bus {
    /// A tool on this connection, without a token.
    pub fn new(client: Client) -> Bus {
        Bus { client, token: None }
    }

    /// The same with an access token, for example an actor's.
    pub fn with_token(&self, token: impl Into<String>) -> Bus {
        Bus { client: self.client.clone(), token: Some(token.into()) }
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks `subject`, for example `svc.courses.v1.courses.list`.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn asks(&self, subject: &str, body: Value) -> Answer {
        let answer = self.asks_with(subject, body, HeaderMap::new()).await;
        answer.unwrap_or_else(|error| panic!("no answer from {subject}: {error:#}"))
    }

    /// The same with headers of one's own (`Idempotency-Key`, `Lectern-Deadline`). A refusal is an answer: its status is
    /// the problem document's.
    ///
    /// # Errors
    /// No worker, no permission, or no answer within 30 s.
    pub async fn asks_with(
        &self,
        subject: &str,
        body: Value,
        mut headers: HeaderMap,
    ) -> anyhow::Result<Answer> {
        if let (Some(token), None) = (&self.token, headers.get("Authorization")) {
            headers.insert("Authorization", format!("Bearer {token}").as_str());
        }
        let request = async_nats::Request::new()
            .payload(body.to_string().into())
            .headers(headers)
            .timeout(Some(Duration::from_secs(30)));
        let message = self.client.send_request(subject.to_owned(), request).await.context("asking")?;
        let json: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let sent_headers = message.headers.unwrap_or_default();
        let headers = sent_headers
            .iter()
            .map(|(name, values)| {
                (name.to_string().to_ascii_lowercase(), values.first().map(ToString::to_string))
            })
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let refused = sent_headers.get("Nats-Service-Error-Code").map(|code| code.as_str().parse::<u16>());
        let status = match refused {
            None => 200,
            Some(Ok(status)) => status,
            Some(Err(_)) => json["status"].as_u64().and_then(|it| it.try_into().ok()).unwrap_or(500),
        };
        Ok(Answer {
            asked: subject.to_owned(),
            sent: Some(body),
            status,
            headers,
            json,
            body: message.payload,
        })
    }

    /// All answers to a question that every instance hears, for example `$SRV.PING`: those that come within `wait`.
    ///
    /// # Errors
    /// When the bus refuses the question.
    pub async fn asks_all(&self, subject: &str, wait: Duration) -> anyhow::Result<Vec<Value>> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        self.client.publish_with_reply(subject.to_owned(), inbox, "".into()).await?;
        let mut heard = Vec::new();
        let until = tokio::time::Instant::now() + wait;
        while let Ok(Some(message)) = tokio::time::timeout_at(until, answers.next()).await {
            if message.status.is_none() {
                heard.push(serde_json::from_slice(&message.payload)?);
            }
        }
        Ok(heard)
    }
}
