//! What learners do with courses.

use std::fmt::Display;

use reqwest::Method;
use serde_json::json;

use super::player::Player;
use super::{Actor, Answer};

impl Actor {
    /// GET /courses.
    pub async fn browses_courses(&self) -> Answer {
        self.gets("/courses").await
    }

    /// GET /courses/{id}.
    pub async fn reads_course(&self, course: impl Display) -> Answer {
        self.gets(&format!("/courses/{course}")).await
    }

    /// GET /courses/{id}/sessions.
    pub async fn reads_sessions(&self, course: impl Display) -> Answer {
        self.gets(&format!("/courses/{course}/sessions")).await
    }

    /// POST /enrollments.
    pub async fn enrols(&self, course: impl Display) -> Answer {
        self.posts("/enrollments", json!({ "course_id": course.to_string() })).await
    }

    /// GET /enrollments.
    pub async fn lists_enrolments(&self) -> Answer {
        self.gets("/enrollments").await
    }

    /// POST /playback/sessions.
    pub async fn starts_playback(&self, course: impl Display, session: impl Display) -> Answer {
        let body = json!({ "course_id": course.to_string(), "session_id": session.to_string() });
        self.posts("/playback/sessions", body).await
    }

    /// Starts playback and answers the player, which counts its events.
    ///
    /// # Panics
    /// When playback can't be started.
    pub async fn watches(&self, course: impl Display, session: impl Display) -> Player {
        let started = self.starts_playback(course, session).await.created();
        Player::new(self.clone(), &started)
    }

    /// GET of a media URL, with a range (`bytes=0-99`) or whole. The signature is the credential, no token is sent.
    pub async fn streams(&self, media_url: &str, range: Option<&str>) -> Answer {
        let ask = self.asks(Method::GET, media_url).authorization(None);
        match range {
            Some(range) => ask.header("range", range).send().await,
            None => ask.send().await,
        }
    }

    /// GET /courses/{id}/progress/me.
    pub async fn looks_at_progress(&self, course: impl Display) -> Answer {
        self.gets(&format!("/courses/{course}/progress/me")).await
    }
}
