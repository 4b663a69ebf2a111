//! Playback between an academy of the test's making that plays courses, content and enrolment: real contract, real bus.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::TimeDelta;
use lectern_core::{App, Call, Clock, Env, Outcome, Service};
use lectern_harness::Answer;
use lectern_subjects::content::{Asset, ContentRefusal, GetAsset};
use lectern_subjects::courses::{CoursePublished, CourseSession, CoursesRefusal, ListSessions, SessionAdded};
use lectern_subjects::enrollment::{AccessDecision, CheckAccess};
use lectern_subjects::id::{AssetId, CourseId, CourseSessionId, UserId};
use lectern_subjects::{Page, Role};
use lectern_workbench::{Running, eventually};
use serde_json::{Value, json};

pub const MEDIA_KEYS: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Beats that a killed fold held come again after this.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// Servers, people, an academy, and whatever runs.
pub struct World {
    pub academy: Academy,
    bench: lectern_workbench::World,
}

impl Deref for World {
    type Target = lectern_workbench::World;

    fn deref(&self) -> &lectern_workbench::World {
        &self.bench
    }
}

/// What the other services answer.
#[derive(Clone, Default)]
pub struct Academy(Arc<Mutex<Answers>>);

#[derive(Default)]
pub struct Answers {
    pub sessions: Vec<CourseSession>,
    /// Courses that nobody but staff may see.
    pub drafts: BTreeSet<CourseId>,
    /// What enrolment decides; allowed when absent.
    pub access: BTreeMap<CourseId, AccessDecision>,
    /// How often courses was asked for its sessions.
    pub listed: usize,
}

impl Academy {
    pub fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap()
    }
}

impl World {
    /// Servers, and nobody but identity running.
    pub async fn new(clock: Clock) -> World {
        let bench = lectern_workbench::World::with("playback", clock, ACK_WAIT).await;
        World { academy: Academy::default(), bench }
    }

    /// The same with playback, courses, content and enrolment running and `clock` standing still until it is set.
    pub async fn at_a_standstill() -> World {
        let world = World::new(Clock::fixed(Clock::default().now())).await;
        world.academy_opens().await;
        world.playback(&[]).await;
        world
    }

    /// Courses, content and enrolment.
    pub async fn academy_opens(&self) {
        self.role(Service::new("courses").on(list_sessions)).await;
        self.role(Service::new("content").on(get_asset)).await;
        self.role(Service::new("enrollment").on(check_access)).await;
    }

    /// Playback's consumers, new: that of the fold gets the whole stream.
    pub async fn consumers(&self) {
        self.make_consumers(&lectern_playback::service().table()).await;
    }

    /// Playback, with these settings besides the key of media URLs.
    pub async fn playback(&self, settings: &[(&str, &str)]) -> Running {
        let pairs = settings.iter().chain(&[("MEDIA_SIGNING_KEYS", MEDIA_KEYS)]);
        let env = Env::of(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let core = self.core("playback").await;
        let app = lectern_playback::app(core.clone(), &env).await.expect("playback");
        self.start(lectern_playback::service(), app, core).await
    }

    /// One of the others.
    pub async fn role(&self, service: Service<Other>) -> Running {
        self.run(service, |core| Other { core, academy: self.academy.clone() }).await
    }

    /// A course with lessons of these lengths, known to courses; everyone may use it.
    pub fn course(&self, durations_ms: &[i64]) -> (CourseId, Vec<CourseSession>) {
        let course_id = CourseId(self.clock.new_id());
        let lesson = |(index, &duration_ms): (usize, &i64)| CourseSession {
            id: CourseSessionId(self.clock.new_id()),
            course_id,
            position: index as i32 + 1,
            title: format!("Lesson {}", index + 1),
            duration_ms,
            video_url: None,
            asset_id: Some(AssetId(self.clock.new_id())),
            required: true,
            preview: false,
            completion_threshold: 0.95,
            version: 1,
        };
        let sessions: Vec<CourseSession> = durations_ms.iter().enumerate().map(lesson).collect();
        self.academy.answers().sessions.extend(sessions.clone());
        (course_id, sessions)
    }

    /// Somebody who is signed in.
    pub fn someone(&self) -> Person {
        Person(self.bench.someone(Role::User))
    }

    /// Moves the clock on.
    pub fn wait_ms(&self, ms: i64) {
        self.clock.set(self.clock.now() + TimeDelta::milliseconds(ms));
    }

    /// Publishes a message of beats that arrived so many milliseconds ago, past the door.
    pub async fn stores(&self, user: UserId, playback: &str, arrived_ms_ago: i64, events: &Value) {
        let server_at = self.clock.now() - TimeDelta::milliseconds(arrived_ms_ago);
        let body = json!({ "server_at": server_at, "events": events }).to_string();
        let sent = self.broker().publish(format!("play.v1.{user}.{playback}"), body.into()).await;
        sent.expect("sent").await.expect("stored");
    }

    /// Waits until the events of a playback session are folded this far.
    pub async fn folded(&self, playback: &str, seq: i64) {
        let sql = format!("SELECT last_seq FROM playback.playback_sessions WHERE id = '{playback}'");
        let wanted = Some(seq.to_string());
        eventually(&format!("{playback} folded through {seq}"), async || {
            self.database.value(&sql).await.expect("read") == wanted
        })
        .await;
    }

    /// The data of everything that playback announced of one kind.
    pub async fn facts(&self, kind: &str) -> Vec<Value> {
        let facts = self.bench.facts("playback").await.into_iter().map(|(_, fact)| fact);
        facts.filter(|fact| fact["event_type"] == kind).map(|mut fact| fact["data"].take()).collect()
    }
}

/// Somebody who watches.
#[derive(Clone)]
pub struct Person(lectern_workbench::Person);

impl Deref for Person {
    type Target = lectern_workbench::Person;

    fn deref(&self) -> &lectern_workbench::Person {
        &self.0
    }
}

impl Person {
    /// Asks playback.
    pub async fn asks(&self, verb: &str, body: Value) -> Answer {
        self.0.asks(&format!("svc.playback.v1.sessions.{verb}"), body).await
    }

    /// Starts watching a lesson.
    pub async fn starts(&self, lesson: &CourseSession) -> Answer {
        self.asks("start", json!({ "course_id": lesson.course_id, "session_id": lesson.id })).await
    }

    /// Sends events.
    pub async fn sends(&self, playback: &str, events: Value) -> Answer {
        self.asks("events", json!({ "id": playback, "events": events })).await
    }
}

/// Asserts a refusal with this status and code.
#[track_caller]
pub fn refused(answer: Answer, status: u16, code: &str) -> Answer {
    lectern_workbench::refused(&answer, status, code);
    answer
}

/// An event at this moment of the device's clock.
pub fn beat(world: &World, seq: i64, kind: &str, position_ms: i64) -> Value {
    json!({ "seq": seq, "kind": kind, "position_ms": position_ms, "rate": 1.0, "client_at": world.clock.now() })
}

/// The fact that a lesson was added.
pub fn added(lesson: &CourseSession) -> SessionAdded {
    SessionAdded {
        course_id: lesson.course_id,
        session_id: lesson.id,
        position: lesson.position,
        duration_ms: lesson.duration_ms,
        asset_id: lesson.asset_id,
        video_url: lesson.video_url.clone(),
        required: lesson.required,
        preview: lesson.preview,
        completion_threshold: lesson.completion_threshold,
    }
}

/// The fact that a course was published.
pub fn published(course_id: CourseId) -> CoursePublished {
    CoursePublished { course_id, title: "A course".to_owned(), price_minor: None, currency: None }
}

/// The app of a service that the test plays.
#[derive(Clone)]
pub struct Other {
    core: App,
    academy: Academy,
}

impl AsRef<App> for Other {
    fn as_ref(&self) -> &App {
        &self.core
    }
}

/// As the real one: what a draft holds is not told, and where external videos are is not either.
pub async fn list_sessions(app: Other, _: Call, req: ListSessions) -> Outcome<ListSessions> {
    let mut answers = app.academy.answers();
    answers.listed += 1;
    let of_course = |session: &&CourseSession| session.course_id == req.course_id;
    let mut items: Vec<CourseSession> = answers.sessions.iter().filter(of_course).cloned().collect();
    if items.is_empty() || answers.drafts.contains(&req.course_id) {
        return Err(CoursesRefusal::NotFound.into());
    }
    items.iter_mut().for_each(|session| session.video_url = None);
    Ok(Page { items, next_cursor: None })
}

async fn get_asset(app: Other, call: Call, req: GetAsset) -> Outcome<GetAsset> {
    let known = app.academy.answers().sessions.iter().any(|session| session.asset_id == Some(req.id));
    if !known {
        return Err(ContentRefusal::AssetNotFound.into());
    }
    Ok(Asset {
        id: req.id,
        owner: call.user()?.user,
        file_name: "lesson 1.mp4".to_owned(),
        mime: "video/mp4".to_owned(),
        size: 1,
        sha256: "0".repeat(64),
        path: format!("media/{}/lesson 1.mp4", req.id),
        created_at: call.now,
    })
}

async fn check_access(app: Other, call: Call, req: CheckAccess) -> Outcome<CheckAccess> {
    call.user()?;
    let allowed = AccessDecision {
        allowed: true,
        source: Some("free".to_owned()),
        until: None,
        subscription_expired: false,
    };
    Ok(app.academy.answers().access.get(&req.course_id).cloned().unwrap_or(allowed))
}
