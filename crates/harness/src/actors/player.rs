//! A video player that reports what it does, numbering its events from 1 without gaps.

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{Actor, Answer};

/// One viewing by one actor.
#[derive(Debug)]
pub struct Player {
    /// The playback session's id.
    pub id: String,
    /// Where the bytes are: signed for an uploaded video.
    pub media_url: String,
    /// Where the viewer left off, milliseconds.
    pub resume_position_ms: i64,
    viewer: Actor,
    seq: i64,
    waiting: Vec<Value>,
}

impl Player {
    pub(super) fn new(viewer: Actor, started: &Answer) -> Player {
        Player {
            id: started.id(),
            media_url: started.text("/media_url"),
            resume_position_ms: started.number("/resume_position_ms"),
            viewer,
            seq: 0,
            waiting: Vec::new(),
        }
    }

    /// Notes an event; it is sent with the next [`sends`](Player::sends).
    pub fn does(&mut self, kind: &str, position_ms: i64) -> &mut Player {
        self.note(json!({ "kind": kind, "position_ms": position_ms }))
    }

    /// Notes a jump of the playhead.
    pub fn seeks(&mut self, from_ms: i64, to_ms: i64) -> &mut Player {
        self.note(json!({ "kind": "seek", "position_ms": from_ms, "position_to_ms": to_ms }))
    }

    /// Notes an event with any fields; number, rate and the device's clock are filled in where they are absent.
    pub fn note(&mut self, mut event: Value) -> &mut Player {
        self.seq += 1;
        let client_at = device_clock();
        for (field, value) in
            [("seq", json!(self.seq)), ("rate", json!(1.0)), ("client_at", json!(client_at))]
        {
            if event[field].is_null() {
                event[field] = value;
            }
        }
        self.waiting.push(event);
        self
    }

    /// POST /playback/sessions/{id}/events with all that was noted since the last time.
    pub async fn sends(&mut self) -> Answer {
        let events = std::mem::take(&mut self.waiting);
        self.sends_events(json!(events)).await
    }

    /// POST /playback/sessions/{id}/events with any events.
    pub async fn sends_events(&self, events: Value) -> Answer {
        self.viewer
            .posts(&format!("/playback/sessions/{}/events", self.id), json!({ "events": events }))
            .await
    }

    /// The highest number given to an event so far.
    pub fn last_seq(&self) -> i64 {
        self.seq
    }

    /// POST /playback/sessions/{id}/stop.
    pub async fn stops(&self, position_ms: i64) -> Answer {
        self.viewer
            .posts(&format!("/playback/sessions/{}/stop", self.id), json!({ "position_ms": position_ms }))
            .await
    }

    /// GET /playback/sessions/{id}.
    pub async fn looks(&self) -> Answer {
        self.viewer.gets(&format!("/playback/sessions/{}", self.id)).await
    }

    /// GET /playback/sessions/{id}/events: the event log.
    pub async fn reads_log(&self) -> Answer {
        self.viewer.gets(&format!("/playback/sessions/{}/events", self.id)).await
    }

    /// GET of the video's bytes.
    pub async fn streams(&self, range: Option<&str>) -> Answer {
        self.viewer.streams(&self.media_url, range).await
    }
}

/// What the viewer's device takes for the time. The server never believes it.
#[expect(clippy::disallowed_methods, reason = "a viewer's device has a clock of its own")]
fn device_clock() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
