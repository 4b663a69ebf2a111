//! Courses and their videos: what operators and instructors do.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Actor, Answer};

impl Actor {
    /// POST /courses: a free one.
    pub async fn creates_course(&self, title: &str) -> Answer {
        self.posts("/courses", json!({ "title": title, "description": format!("About {title}.") })).await
    }

    /// POST /courses/{id}/sessions with a video elsewhere.
    pub async fn adds_session(
        &self,
        course: impl Display,
        title: &str,
        duration_ms: i64,
        video_url: &str,
    ) -> Answer {
        self.adds_session_with(
            course,
            json!({ "title": title, "duration_ms": duration_ms, "video_url": video_url }),
        )
        .await
    }

    /// POST /courses/{id}/sessions with any body.
    pub async fn adds_session_with(&self, course: impl Display, body: Value) -> Answer {
        self.posts(&format!("/courses/{course}/sessions"), body).await
    }

    /// POST /courses/{id}/publish.
    pub async fn publishes(&self, course: impl Display) -> Answer {
        self.posts(&format!("/courses/{course}/publish"), json!({})).await
    }

    /// Uploads a whole file by tus 1.0.0 (creation, then one PATCH), and answers the upload as
    /// GET /uploads/{id} shows it: with `asset_id`.
    ///
    /// # Panics
    /// When a step isn't as the protocol says.
    pub async fn uploads(&self, file_name: &str, content: impl Into<Bytes>) -> Answer {
        let content = content.into();
        let created = self.begins_upload(file_name, content.len()).await.created();
        let place = created.header("location").to_owned();
        self.sends_chunk(&place, 0, content).await.is(204);
        self.gets(&place).await.ok()
    }

    /// tus creation: POST /uploads. `Location` names the upload.
    pub async fn begins_upload(&self, file_name: &str, length: usize) -> Answer {
        self.asks(Method::POST, "/uploads")
            .header("tus-resumable", "1.0.0")
            .header("upload-length", length)
            .header("upload-metadata", format!("filename {}", STANDARD.encode(file_name)))
            .send()
            .await
    }

    /// tus PATCH: one chunk at `offset` of the upload at `place` (its `Location`).
    pub async fn sends_chunk(&self, place: &str, offset: usize, chunk: impl Into<Bytes>) -> Answer {
        self.asks(Method::PATCH, place)
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", offset)
            .bytes("application/offset+octet-stream", chunk)
            .send()
            .await
    }
}
