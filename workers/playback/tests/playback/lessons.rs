//! Where lessons are known from, and progress over all of them.

use lectern_core::{Clock, Service};
use lectern_subjects::content::UploadCompleted;
use lectern_subjects::id::CourseId;
use serde_json::json;

use crate::support::{World, added, list_sessions, published, refused};
use lectern_workbench::eventually;

#[tokio::test]
async fn progress_shows_every_lesson_in_order_and_courses_is_asked_on_a_miss_only() {
    let world = World::new(Clock::default()).await;
    let courses = world.role(Service::new("courses").on(list_sessions)).await;
    world.playback(&[]).await;
    let (course, lessons) = world.course(&[60_000, 30_000, 10_000]);
    let alice = world.someone();
    let missed = alice.asks("progress", json!({ "course_id": course })).await.ok();
    let ids: Vec<_> = lessons.iter().map(|lesson| json!(lesson.id)).collect();
    let shown: Vec<_> =
        missed.at("/sessions").as_array().unwrap().iter().map(|s| s["session_id"].clone()).collect();
    assert_eq!((shown, missed.at("/progress")), (ids.clone(), &json!(0.0)));
    assert_eq!(
        missed.at("/sessions/1"),
        &json!({ "session_id": ids[1], "unique_ms": 0, "progress": 0.0, "resume_ms": 0, "completed_at": null })
    );
    assert_eq!(world.academy.answers().listed, 1);

    for lesson in lessons.iter().rev() {
        courses.announces(&added(lesson)).await;
    }
    courses.announces(&published(course)).await;
    let known = format!("SELECT count(*) FROM playback.published_courses WHERE course_id = '{course}'");
    eventually("published is known", async || {
        world.database.value(&known).await.unwrap().as_deref() == Some("1")
    })
    .await;
    let followed = alice.asks("progress", json!({ "course_id": course })).await.ok();
    assert_eq!(followed.json, missed.json);
    assert_eq!(world.academy.answers().listed, 1, "what is followed is not asked for");
}

#[tokio::test]
async fn an_unknown_course_a_draft_and_a_session_of_another_course_are_not_found() {
    let world = World::at_a_standstill().await;
    let (draft, mut hidden) = world.course(&[60_000]);
    hidden[0].preview = true;
    world.academy.answers().sessions[0].preview = true;
    world.academy.answers().drafts.insert(draft);
    let (course, lessons) = world.course(&[60_000]);
    let alice = world.someone();
    let nowhere = CourseId(world.clock.new_id());
    refused(alice.asks("progress", json!({ "course_id": nowhere })).await, 404, "COURSE_2006");
    refused(alice.asks("progress", json!({ "course_id": "no id" })).await, 404, "COURSE_2006");
    refused(alice.asks("progress", json!({ "course_id": draft })).await, 404, "COURSE_2006");
    refused(alice.starts(&hidden[0]).await, 404, "COURSE_2006");
    let crossed = json!({ "course_id": course, "session_id": hidden[0].id });
    refused(alice.asks("start", crossed).await, 404, "COURSE_2006");
    alice.starts(&lessons[0]).await.ok();
}

#[tokio::test]
async fn files_are_known_from_contents_facts() {
    let world = World::new(Clock::default()).await;
    world.role(Service::new("courses").on(list_sessions)).await;
    // content announces and answers nothing
    let content = world.role(Service::new("content")).await;
    world.playback(&[]).await;
    let (_, mut lessons) = world.course(&[60_000]);
    lessons[0].preview = true;
    world.academy.answers().sessions = lessons.clone();
    let alice = world.someone();
    refused(alice.starts(&lessons[0]).await, 503, "COMMON_0010");
    let asset_id = lessons[0].asset_id.unwrap();
    let path = format!("media/{asset_id}/eins.mp4");
    let uploaded = UploadCompleted { asset_id, mime: "video/mp4".to_owned(), size: 1, path: path.clone() };
    content.announces(&uploaded).await;
    eventually("the file is known", async || alice.starts(&lessons[0]).await.status != 503).await;
    let started = world.someone().starts(&lessons[0]).await.ok();
    assert!(started.text("/media_url").starts_with(&format!("/{path}?psid={}", started.id())));
}
