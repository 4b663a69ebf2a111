//! The worker `courses` on a real bus and database, asked as any caller asks.

mod catalogue;
mod rules;
mod sessions;

use std::collections::HashMap;
use std::sync::Arc;

use lectern_core::{App, Call, Outcome, Service};
use lectern_subjects::Role;
use lectern_subjects::content::{Asset, ContentRefusal, GetAsset};
use lectern_subjects::id::AssetId;
use lectern_workbench::{Person, World};
use serde_json::{Value, json};

const CREATE: &str = "svc.courses.v1.courses.create";
const UPDATE: &str = "svc.courses.v1.courses.update";
const PUBLISH: &str = "svc.courses.v1.courses.publish";
const GET: &str = "svc.courses.v1.courses.get";
const LIST: &str = "svc.courses.v1.courses.list";
const INSTRUCTORS: &str = "svc.courses.v1.instructors.set";
const ADD: &str = "svc.courses.v1.sessions.add";
const SESSIONS: &str = "svc.courses.v1.sessions.list";
const SESSION: &str = "svc.courses.v1.sessions.get";

/// The worker runs; content does not.
async fn world() -> World {
    let world = World::with_schema_of("courses").await;
    world.run(lectern_courses::service(), |core| core).await;
    world
}

/// An operator with a draft of this title.
async fn draft(world: &World, title: &str) -> (Person, String) {
    let operator = world.someone(Role::Operator);
    let course = operator.asks(CREATE, json!({ "title": title, "description": "About it." })).await.ok();
    let id = course.id();
    (operator, id)
}

/// The body of a request for another course session with an external video.
fn lesson(course: &str, title: &str) -> Value {
    json!({ "course_id": course, "title": title, "duration_ms": 60_000,
            "video_url": "https://videos.example.com/lesson.mp4" })
}

/// A content service that has these files, by id and media type.
#[derive(Clone)]
struct Content {
    core: App,
    files: Arc<HashMap<AssetId, &'static str>>,
}

impl AsRef<App> for Content {
    fn as_ref(&self) -> &App {
        &self.core
    }
}

async fn with_content(world: &World, files: impl IntoIterator<Item = (AssetId, &'static str)>) {
    let files = Arc::new(files.into_iter().collect());
    world.run(Service::new("content").on(asset), |core| Content { core, files }).await;
}

async fn asset(app: Content, call: Call, req: GetAsset) -> Outcome<GetAsset> {
    let mime = *app.files.get(&req.id).ok_or(ContentRefusal::AssetNotFound)?;
    Ok(Asset {
        id: req.id,
        owner: call.user()?.user,
        file_name: "file".to_owned(),
        mime: mime.to_owned(),
        size: 1,
        sha256: "0".repeat(64),
        path: format!("media/{}/file", req.id),
        created_at: call.now,
    })
}
