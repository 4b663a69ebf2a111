//! Playback in process against a nats-server and a database of its own, between an academy of the test's making that
//! plays identity, courses, content and enrolment: real contract, real bus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull, stream};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use lectern_core::bus::{Bus, BusConfig};
use lectern_core::health::Health;
use lectern_core::jwt::{self, Claims};
use lectern_core::revocation::Revocations;
use lectern_core::run::{Process, run};
use lectern_core::token::TokenCheck;
use lectern_core::{App, Call, Clock, Env, Error, Outcome, Service};
use lectern_harness::actors::Bus as Tool;
use lectern_harness::testing::apply_migrations;
use lectern_harness::{Answer, Database, Nats, TestServers};
use lectern_subjects::content::{Asset, ContentRefusal, GetAsset};
use lectern_subjects::courses::{CoursePublished, CourseSession, CoursesRefusal, ListSessions, SessionAdded};
use lectern_subjects::enrollment::{AccessDecision, CheckAccess};
use lectern_subjects::id::{AssetId, AuthSessionId, CourseId, CourseSessionId, UserId};
use lectern_subjects::identity::{CheckToken, GetJwks, Jwk, Jwks, TokenState};
use lectern_subjects::{Fact, Page, Role};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const MEDIA_KEYS: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KID: &str = "test";
const CORE: &str = "crates/core/migrations";

/// Servers, people, an academy, and whatever runs.
pub struct World {
    pub database: Database,
    pub nats: Nats,
    pub clock: Clock,
    pub academy: Academy,
    tool: Tool,
    pkcs8: Vec<u8>,
    stop: CancellationToken,
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
    jwk: String,
}

impl Academy {
    pub fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap()
    }
}

/// One process of a role.
pub struct Running {
    pub core: App,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// As near to `kill -9` as one process allows: everything is dropped where it is.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }

    /// SIGTERM.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("it ended well");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// Servers with streams, bucket and consumers as provisioned, and everybody but playback running.
    pub async fn new(clock: Clock) -> World {
        let nats = TestServers::nats().await;
        let database = TestServers::database_with("playback", &[CORE, "migrations/playback"]).await;
        let client = async_nats::connect(nats.url()).await.expect("a connection");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key").as_ref().to_vec();
        let academy = Academy::default();
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).expect("a key");
        academy.answers().jwk = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let stop = CancellationToken::new();
        let world = World { database, nats, clock, academy, tool: Tool::new(client), pkcs8, stop };
        world.provision().await;
        world.role(Service::new("identity").on(jwks).on(check_token)).await;
        world
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

    async fn provision(&self) {
        let broker = self.jetstream();
        let events = stream::Config {
            name: "EVENTS".to_owned(),
            subjects: vec!["evt.>".to_owned()],
            ..Default::default()
        };
        broker.create_stream(events).await.expect("EVENTS");
        self.playback_stream().await;
        let revoked = jetstream::kv::Config { bucket: "revoked".to_owned(), ..Default::default() };
        broker.create_key_value(revoked).await.expect("the bucket");
        let follows = pull::Config {
            durable_name: Some("playback".to_owned()),
            filter_subject: "evt.>".to_owned(),
            ..Default::default()
        };
        broker.create_consumer_on_stream(follows, "EVENTS").await.expect("the follower");
        self.fold_consumer().await;
    }

    pub async fn playback_stream(&self) {
        let config = stream::Config {
            name: "PLAYBACK".to_owned(),
            subjects: vec!["play.v1.*.*".to_owned()],
            subject_transform: Some(stream::SubjectTransform {
                source: "play.v1.*.*".to_owned(),
                destination: "play.v1.{{partition(32,1)}}.{{wildcard(1)}}.{{wildcard(2)}}".to_owned(),
            }),
            ..Default::default()
        };
        self.jetstream().create_stream(config).await.expect("PLAYBACK");
    }

    /// The consumer of the fold, new: it gets the whole stream.
    pub async fn fold_consumer(&self) {
        let fold = pull::Config {
            durable_name: Some("fold".to_owned()),
            filter_subject: "play.v1.>".to_owned(),
            ack_wait: Duration::from_secs(2),
            max_ack_pending: 1000,
            ..Default::default()
        };
        self.jetstream().create_consumer_on_stream(fold, "PLAYBACK").await.expect("the fold");
    }

    pub fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.tool.client().clone())
    }

    /// Playback, with these settings besides the key of media URLs.
    pub async fn playback(&self, settings: &[(&str, &str)]) -> Running {
        let pairs = settings.iter().chain(&[("MEDIA_SIGNING_KEYS", MEDIA_KEYS)]);
        let env = Env::of(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let core = self.core("playback").await;
        let app = lectern_playback::app(core.clone(), &env).await.expect("playback");
        self.run(lectern_playback::service(), app, core).await
    }

    /// One of the others.
    pub async fn role(&self, service: Service<Other>) -> Running {
        let core = self.core(service.name()).await;
        self.run(service, Other { core: core.clone(), academy: self.academy.clone() }, core).await
    }

    async fn core(&self, name: &'static str) -> App {
        let made = self.database.value(&format!("SELECT to_regclass('{name}.outbox')")).await.expect("asked");
        if made.is_none() {
            apply_migrations(self.database.url(), name, &[CORE]).await.expect("a schema");
        }
        let config = BusConfig {
            url: self.nats.url().to_owned(),
            role: name.to_owned(),
            instance: "test".to_owned(),
            nkey: None,
        };
        let bus = Bus::connect(&config, self.clock.clone()).await.expect("a bus");
        let database = lectern_core::pg::Database {
            url: self.database.url().to_owned(),
            schema: name,
            password: None,
            connections: 10,
        };
        App::new(name, database.pool().expect("a pool"), bus, self.clock.clone())
    }

    async fn run<A>(&self, service: Service<A>, app: A, core: App) -> Running
    where
        A: Clone + Send + Sync + AsRef<App> + 'static,
    {
        let name = service.name();
        let (health, stop) = (Health::default(), self.stop.child_token());
        let revocations = Revocations::new(Duration::from_secs(1800));
        let tokens = TokenCheck::new(core.bus().clone(), self.clock.clone(), revocations);
        let process = Process { instance: "test".to_owned(), health: health.clone(), stop: stop.clone() };
        let task = tokio::spawn(run(service, app, tokens, process));
        eventually(&format!("{name} is ready"), async || health.is_ready()).await;
        Running { core, stop, task }
    }

    /// Announces a fact as another service does.
    pub async fn announces<F: Fact>(&self, running: &Running, fact: &F) {
        let mut tx = running.core.begin_internal().await.expect("a transaction");
        tx.announce(fact, 1).await.expect("announced");
        tx.commit_followed().await.expect("committed");
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
        let user = UserId(self.clock.new_id());
        let sid = AuthSessionId(self.clock.new_id());
        let now = Clock::default().now().timestamp();
        let claims = Claims {
            iss: jwt::ISSUER.to_owned(),
            aud: jwt::AUDIENCE.to_owned(),
            sub: user,
            sid,
            jti: self.clock.new_id(),
            iat: now,
            nbf: now,
            exp: now + 86_400,
            client_id: "test".to_owned(),
            roles: vec![Role::User],
            role: Role::User,
            user_id: user,
            email_verified: true,
            uv: 1,
            auth_time: now,
            amr: vec!["pwd".to_owned()],
            acr: Some("aal1".to_owned()),
            email: None,
        };
        let token = jwt::sign(&claims, KID, &self.pkcs8).expect("a token");
        Person { user, sid, tool: self.tool.with_token(token) }
    }

    /// Moves the clock on.
    pub fn wait_ms(&self, ms: i64) {
        self.clock.set(self.clock.now() + TimeDelta::milliseconds(ms));
    }

    /// Publishes a message of beats that arrived so many milliseconds ago, past the door.
    pub async fn stores(&self, user: UserId, playback: &str, arrived_ms_ago: i64, events: &Value) {
        let server_at = self.clock.now() - TimeDelta::milliseconds(arrived_ms_ago);
        let body = json!({ "server_at": server_at, "events": events }).to_string();
        let sent = self.jetstream().publish(format!("play.v1.{user}.{playback}"), body.into()).await;
        sent.expect("sent").await.expect("stored");
    }

    /// What the database says, as JSON.
    pub async fn rows(&self, sql: &str) -> Value {
        let rows = self.database.value(&format!("SELECT json_agg(r) FROM ({sql}) AS r")).await.expect(sql);
        rows.map_or(Value::Null, |rows| serde_json::from_str(&rows).expect("JSON"))
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

    /// Everything that playback announced of one kind.
    pub async fn facts(&self, kind: &str) -> Vec<Value> {
        let rows = self
            .rows(&format!(
                "SELECT convert_from(payload, 'UTF8')::json AS fact
                 FROM (SELECT seq, subject, payload FROM playback.outbox
                       UNION SELECT seq, subject, payload FROM playback.outbox_archive) AS announced
                 WHERE subject LIKE 'evt.playback.v1.{kind}.%' ORDER BY seq"
            ))
            .await;
        let rows = rows.as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["fact"]["data"].clone()).collect()
    }
}

/// Waits until something is so. Slow machines take longer; nothing here is a measurement.
pub async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    let since = tokio::time::Instant::now();
    while !is().await {
        assert!(since.elapsed() < Duration::from_secs(60), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A caller.
#[derive(Clone)]
pub struct Person {
    pub user: UserId,
    pub sid: AuthSessionId,
    tool: Tool,
}

impl Person {
    /// Asks playback. "Nobody listens" is asked again for a while: a service joins its queue groups a moment after it is
    /// ready.
    pub async fn asks(&self, verb: &str, body: Value) -> Answer {
        let subject = format!("svc.playback.v1.sessions.{verb}");
        for _ in 0..100 {
            match self.tool.asks_with(&subject, body.clone(), async_nats::HeaderMap::new()).await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("nobody answers {subject}")
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

/// Asserts a refusal with this status and code, the same in the headers and in the body.
#[track_caller]
pub fn refused(answer: Answer, status: u16, code: &str) -> Answer {
    assert_eq!((answer.status, answer.json["error_code"].as_str()), (status, Some(code)), "{answer}");
    assert!(answer.header("nats-service-error").starts_with(code), "{answer}");
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

async fn jwks(app: Other, _: Call, _: GetJwks) -> Outcome<GetJwks> {
    let text = str::to_owned;
    Ok(Jwks {
        keys: vec![Jwk {
            kty: text("OKP"),
            crv: text("Ed25519"),
            alg: text("EdDSA"),
            r#use: text("sig"),
            kid: text(KID),
            x: app.academy.answers().jwk.clone(),
        }],
    })
}

async fn check_token(_: Other, _: Call, _: CheckToken) -> Outcome<CheckToken> {
    Ok(TokenState { active: true, reason: None })
}
