//! One identity, or several, with a broker and a database of the test's own.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream;
use lectern_core::bus::{Bus, BusConfig, Outgoing, refusal_status};
use lectern_core::call::ClientInfo;
use lectern_core::health::Health;
use lectern_core::pg;
use lectern_core::revocation::{BUCKET, Revocations, session_key};
use lectern_core::run::{Process, run};
use lectern_core::token::TokenCheck;
use lectern_core::{Clock, Env};
use lectern_harness::{Database, Nats, TestServers};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::*;
use lectern_subjects::{Problem, Request};
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "Correct-Horse-7!";
pub const WRONG: &str = "Wrong-Horse-7!";

pub struct World {
    pub nats: Nats,
    pub db: Database,
    pub bus: Bus,
    pub env: BTreeMap<String, String>,
    clock: Clock,
    stop: Mutex<CancellationToken>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.lock().unwrap().cancel();
    }
}

/// An answer: the reply's type or a problem document, and what the refusal said about coming back.
pub struct Refusal {
    pub problem: Problem,
    pub retry_after: Option<u64>,
    pub body: serde_json::Value,
}

impl World {
    /// One identity in `development` with cheap password hashes and a mailbox.
    pub async fn start() -> World {
        World::start_with(&[]).await
    }

    /// The same with other settings; an empty value unsets one.
    pub async fn start_with(settings: &[(&str, &str)]) -> World {
        let world = World::prepare(settings).await;
        world.run_identity().await;
        world.is_ready().await;
        world
    }

    /// Everything but identity itself.
    pub async fn prepare(settings: &[(&str, &str)]) -> World {
        World::prepare_at(settings, Clock::default()).await
    }

    /// The same by another clock.
    pub async fn prepare_at(settings: &[(&str, &str)], clock: Clock) -> World {
        let (nats, db) = tokio::join!(
            TestServers::nats(),
            TestServers::database_with("identity", &["crates/core/migrations", "migrations/identity"])
        );
        let bus = connect(&nats.url(), "tester", &clock).await;
        let mut env: BTreeMap<String, String> = [
            ("ENVIRONMENT", "development"),
            ("IDENTITY_KEK", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            // the least that the settings allow, so that a hundred sign-ins take no minute
            ("ARGON2_M_KIB", "64"),
            ("ARGON2_T", "1"),
            ("MAILBOX_FILE", nats.dir().join("mailbox.jsonl").to_str().unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let world = World { nats, db, bus, env, clock, stop: Mutex::default() };
        world.make_bucket().await;
        for (name, subjects) in [("EVENTS", "evt.>"), ("AUDIT", "audit.>")] {
            let stream =
                stream::Config { name: name.into(), subjects: vec![subjects.into()], ..Default::default() };
            world.bus.jetstream().get_or_create_stream(stream).await.expect(name);
        }
        world
    }

    pub async fn make_bucket(&self) {
        let bucket = kv::Config { bucket: BUCKET.into(), history: 1, ..Default::default() };
        self.bus.jetstream().create_key_value(bucket).await.expect("bucket revoked");
    }

    pub async fn delete_bucket(&self) {
        self.bus.jetstream().delete_key_value(BUCKET).await.expect("deleting the bucket");
    }

    /// Runs one more process's worth of identity.
    pub async fn run_identity(&self) {
        self.run_identity_at(&self.nats.url()).await;
    }

    /// The same with its own way to the broker.
    pub async fn run_identity_at(&self, nats_url: &str) {
        let env = self.env();
        let bus = connect(nats_url, "identity", &self.clock).await;
        let database = pg::Database {
            url: self.db.url().to_owned(),
            schema: "identity",
            password: None,
            connections: 5,
        };
        let core =
            lectern_core::App::new("identity", database.pool().unwrap(), bus.clone(), self.clock.clone());
        let app = lectern_identity::app(core, &env).await.expect("identity starts");
        let issuer = lectern_core::jwt::issuer(&env).expect("an issuer");
        let revocations = Revocations::new(Duration::from_secs(1800));
        let tokens = TokenCheck::new(bus, self.clock.clone(), revocations).issued_by(&issuer);
        let process = Process {
            instance: self.clock.new_id().to_string(),
            health: Health::default(),
            stop: self.stop.lock().unwrap().clone(),
        };
        tokio::spawn(run(lectern_identity::service(), app, tokens, process));
    }

    /// Stops every identity of this world and waits until the database has seen the last of them.
    pub async fn stops_identity(&self) {
        std::mem::take(&mut *self.stop.lock().unwrap()).cancel();
        let connected = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND application_name = 'lectern/identity'";
        for _ in 0..1200 {
            if self.count(connected).await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("identity did not stop");
    }

    pub async fn is_ready(&self) {
        for _ in 0..600 {
            if self.ask(&GetJwks {}, None).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("identity did not become ready");
    }

    pub fn env(&self) -> Env {
        Env::of(self.env.clone())
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends one request with a deadline that a slow machine keeps.
    pub async fn ask<R: Request>(&self, request: &R, token: Option<&str>) -> Result<R::Reply, Box<Refusal>> {
        self.ask_with(request, token, |_| {}).await
    }

    /// The same as if it came through a gateway from this address.
    pub async fn ask_from<R: Request>(&self, address: &str, request: &R) -> Result<R::Reply, Box<Refusal>> {
        let address = address.parse().expect("an address");
        let client = ClientInfo::new(Some(address), Some("a test"));
        self.ask_with(request, None, |outgoing| outgoing.client = client).await
    }

    /// The same with other headers.
    pub async fn ask_with<R: Request>(
        &self,
        request: &R,
        token: Option<&str>,
        dress: impl FnOnce(&mut Outgoing),
    ) -> Result<R::Reply, Box<Refusal>> {
        let mut outgoing = Outgoing {
            token: token.map(Into::into),
            deadline: self.clock.now() + Duration::from_secs(50),
            ..Outgoing::own(&self.clock)
        };
        dress(&mut outgoing);
        let body = serde_json::to_vec(request).unwrap();
        let answer = match self.bus.request(R::SUBJECT, R::EFFECT, &outgoing, body.into()).await {
            Ok(answer) => answer,
            Err(error) => {
                let body = serde_json::json!({ "unanswered": error.to_string() });
                let problem = Problem::new(
                    lectern_subjects::Refusal::code(lectern_subjects::CommonRefusal::Unavailable),
                    Some(body.clone()),
                    self.clock.now(),
                );
                return Err(Box::new(Refusal { problem, retry_after: None, body }));
            }
        };
        if refusal_status(&answer).is_none() {
            return Ok(serde_json::from_slice(&answer.payload).expect("the reply's type"));
        }
        let header = answer.headers.as_ref().and_then(|headers| headers.get("Retry-After"));
        Err(Box::new(Refusal {
            problem: serde_json::from_slice(&answer.payload).expect("a problem document"),
            retry_after: header.map(|value| value.as_str().parse().expect("whole seconds")),
            body: serde_json::from_slice(&answer.payload).unwrap(),
        }))
    }

    /// The code of the refusal; panics on success.
    pub async fn refused<R: Request>(&self, request: &R, token: Option<&str>) -> String {
        match self.ask(request, token).await {
            Ok(_) => panic!("{} was not refused", R::SUBJECT),
            Err(refusal) => refusal.problem.error_code,
        }
    }

    pub async fn ok<R: Request>(&self, request: &R, token: Option<&str>) -> R::Reply {
        match self.ask(request, token).await {
            Ok(reply) => reply,
            Err(refusal) => panic!("{} was refused: {}", R::SUBJECT, refusal.body),
        }
    }

    pub async fn registers(&self, email: &str) -> User {
        self.ok(&register(email), None).await
    }

    pub async fn logs_in(&self, email: &str) -> TokenPair {
        self.ok(&login(email, PASSWORD), None).await
    }

    /// Signs in with a program, from an address.
    pub async fn logs_in_from(&self, email: &str, address: &str, agent: &str) -> TokenPair {
        let client = ClientInfo::new(Some(address.parse().unwrap()), Some(agent));
        let signed_in =
            self.ask_with(&login(email, PASSWORD), None, |outgoing| outgoing.client = client).await;
        signed_in.unwrap_or_else(|refusal| panic!("not signed in: {}", refusal.body))
    }

    pub async fn refreshes(&self, pair: &TokenPair) -> Result<TokenPair, String> {
        let request = Refresh { refresh_token: pair.refresh_token.clone() };
        self.ask(&request, None).await.map_err(|refusal| refusal.problem.error_code)
    }

    /// An account that was made as `lectern admin create-user` makes one.
    pub async fn staff(&self, email: &str, role: lectern_subjects::Role) -> UserId {
        let pool = self.db.pool("identity", 1).await.unwrap();
        let env = self.env();
        let made = lectern_identity::create_user_direct(
            &pool,
            &env,
            &self.clock,
            email,
            "Somebody Else",
            role,
            PASSWORD,
        );
        made.await.expect("the account is made")
    }

    /// Letters to an address, once there are `count` of them.
    pub async fn letters(&self, to: &str, count: usize) -> Vec<serde_json::Value> {
        for _ in 0..600 {
            let letters = self.letters_now(to);
            if letters.len() >= count {
                return letters;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} letters to {to} instead of {count}", self.letters_now(to).len());
    }

    pub fn letters_now(&self, to: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.env["MAILBOX_FILE"]).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut letters: Vec<serde_json::Value> = whole
            .map(|line| serde_json::from_str(line).expect("a JSON object per line"))
            .filter(|letter: &serde_json::Value| letter["to"] == to)
            .collect();
        // several are delivered at once
        letters.sort_by(|a, b| a["at"].as_str().cmp(&b["at"].as_str()));
        letters
    }

    /// The code of the newest of `count` letters.
    pub async fn code(&self, to: &str, count: usize) -> String {
        let letters = self.letters(to, count).await;
        let text = letters[count - 1]["text"].as_str().unwrap().to_owned();
        let mut runs = text.split(|c: char| !c.is_ascii_digit());
        runs.find(|run| run.len() == 6).expect("six digits").to_owned()
    }

    /// The token in the newest of `count` letters with a link.
    pub async fn link_token(&self, to: &str, count: usize) -> String {
        for _ in 0..600 {
            let letters = self.letters_now(to);
            let tokens = letters.iter().filter_map(|letter| letter["text"].as_str()?.split_once("#token="));
            let tokens: Vec<&str> = tokens.map(|(_, rest)| rest.lines().next().unwrap_or_default()).collect();
            if tokens.len() >= count {
                return tokens[count - 1].to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no {count} letters with a link to {to}");
    }

    /// Looks behind the doors: one number.
    pub async fn count(&self, sql: &str) -> i64 {
        self.db.value(sql).await.unwrap().expect("a number").parse().unwrap()
    }

    /// How often a fact was announced, published or not.
    pub async fn announced(&self, fact: &str) -> i64 {
        self.count(&format!(
            "SELECT count(*) FROM (SELECT id, subject FROM identity.outbox
             UNION SELECT id, subject FROM identity.outbox_archive) AS all_of_them
             WHERE subject LIKE 'evt.identity.v1.{fact}.%'"
        ))
        .await
    }

    /// The facts of one kind, published or not.
    pub async fn facts(&self, fact: &str) -> Vec<serde_json::Value> {
        self.messages(&format!("evt.identity.v1.{fact}.%")).await
    }

    /// The audit entries of one kind, published or not.
    pub async fn audited(&self, event_type: &str) -> Vec<serde_json::Value> {
        self.messages(&format!("audit.identity.v1.{event_type}.%")).await
    }

    async fn messages(&self, subjects: &str) -> Vec<serde_json::Value> {
        let sql = format!(
            "SELECT jsonb_agg(convert_from(payload, 'UTF8')::jsonb ORDER BY id) FROM (
                 SELECT id, subject, payload FROM identity.outbox
                 UNION SELECT id, subject, payload FROM identity.outbox_archive) AS all_of_them
             WHERE subject LIKE '{subjects}'"
        );
        let text = self.db.value(&sql).await.unwrap();
        text.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
    }

    /// Whether the bucket says right now that the session is ended.
    pub async fn is_told(&self, sid: AuthSessionId) -> bool {
        let bucket = self.bus.bucket(BUCKET).await.expect("the bucket");
        bucket.get(session_key(sid)).await.expect("reading the bucket").is_some()
    }
}

async fn connect(nats_url: &str, role: &str, clock: &Clock) -> Bus {
    let config = BusConfig {
        url: nats_url.to_owned(),
        role: role.to_owned(),
        instance: clock.new_id().to_string(),
        nkey: None,
    };
    Bus::connect(&config, clock.clone()).await.expect("connecting to the broker")
}

pub fn register(email: &str) -> Register {
    Register {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        name: "Somebody".to_owned(),
        phone: None,
        business_type: None,
        business_number: None,
        industry: None,
        region: None,
        role: None,
    }
}

pub fn login(email: &str, password: &str) -> Login {
    Login { email: email.to_owned(), password: password.to_owned(), device_token: None }
}

/// What a token says of itself.
pub fn claims(token: &str) -> serde_json::Value {
    part(token, 1)
}

pub fn header(token: &str) -> serde_json::Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> serde_json::Value {
    use base64::Engine;
    let text = token.split('.').nth(index).expect("three parts");
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

pub fn sid(pair: &TokenPair) -> AuthSessionId {
    claims(&pair.access_token)["sid"].as_str().unwrap().parse().unwrap()
}
