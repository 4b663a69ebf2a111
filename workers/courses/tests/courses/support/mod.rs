//! A worker in process against a nats-server and a database of its own, with a small identity that vouches for the
//! people of the test. Used by the tests of courses and of content.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_core::bus::{Bus, BusConfig};
use lectern_core::health::Health;
use lectern_core::jwt::{self, Claims};
use lectern_core::revocation::Revocations;
use lectern_core::run::{Process, run};
use lectern_core::token::TokenCheck;
use lectern_core::{App, Call, Clock, Outcome, Service};
use lectern_harness::actors::Bus as Tool;
use lectern_harness::testing::apply_migrations;
use lectern_harness::{Answer, Database, Nats, TestServers};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{CheckToken, GetJwks, Jwk, Jwks, TokenState};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const KID: &str = "test";
const CORE: &str = "crates/core/migrations";

/// Servers, the key of the tokens, and whatever runs.
pub struct World {
    pub database: Database,
    nats: Nats,
    tool: Tool,
    pkcs8: Vec<u8>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// Servers with a stream, a bucket, the schema of `worker` and an identity that checks tokens. The worker itself is
    /// started with [`World::run`].
    pub async fn with_schema_of(worker: &str) -> World {
        let nats = TestServers::nats().await;
        let migrations = format!("migrations/{worker}");
        let database = TestServers::database_with(worker, &[CORE, migrations.as_str()]).await;
        let client = async_nats::connect(nats.url()).await.expect("a connection");
        let broker = jetstream::new(client.clone());
        let events = jetstream::stream::Config {
            name: "EVENTS".to_owned(),
            subjects: vec!["evt.>".to_owned()],
            ..Default::default()
        };
        broker.create_stream(events).await.expect("the stream EVENTS");
        let audit = jetstream::stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec!["audit.>".to_owned()],
            ..Default::default()
        };
        broker.create_stream(audit).await.expect("the stream AUDIT");
        let revoked = jetstream::kv::Config { bucket: "revoked".to_owned(), ..Default::default() };
        broker.create_key_value(revoked).await.expect("the bucket revoked");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key").as_ref().to_vec();
        let world = World { database, nats, tool: Tool::new(client), pkcs8, stop: CancellationToken::new() };

        let pair = Ed25519KeyPair::from_pkcs8(&world.pkcs8).expect("a key");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let identity = Service::new("identity").on(jwks).on(check_token);
        world.run(identity, |core| Identity { core, x: x.into() }).await;
        world
    }

    /// Runs a service in this process, in its schema of the test's database, and waits until it is ready.
    pub async fn run<A>(&self, service: Service<A>, app: impl FnOnce(App) -> A)
    where
        A: Clone + Send + Sync + AsRef<App> + 'static,
    {
        let name = service.name();
        if self
            .database
            .value(&format!("SELECT to_regclass('{name}.outbox')"))
            .await
            .expect("asked")
            .is_none()
        {
            apply_migrations(self.database.url(), name, &[CORE]).await.expect("a schema");
        }
        let clock = Clock::default();
        let config = BusConfig {
            url: self.nats.url().to_owned(),
            role: name.to_owned(),
            instance: "test".to_owned(),
            nkey: None,
        };
        let bus = Bus::connect(&config, clock.clone()).await.expect("a bus");
        let database = lectern_core::pg::Database {
            url: self.database.url().to_owned(),
            schema: name,
            password: None,
            connections: 5,
        };
        let core = App::new(name, database.pool().expect("a pool"), bus.clone(), clock.clone());
        let tokens = TokenCheck::new(bus, clock, Revocations::new(Duration::from_secs(1800)));
        let process =
            Process { instance: "test".to_owned(), health: Health::default(), stop: self.stop.clone() };
        let health = process.health.clone();
        tokio::spawn(run(service, app(core), tokens, process));
        let ready = async {
            while !health.is_ready() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap_or_else(|_| {
            panic!("{name} is not ready: {:?}", health.parts());
        });
    }

    /// Somebody with this role.
    pub fn someone(&self, role: Role) -> Person {
        let clock = Clock::default();
        let id = UserId(clock.new_id());
        let now = clock.now().timestamp();
        let claims = Claims {
            iss: jwt::ISSUER.to_owned(),
            aud: jwt::AUDIENCE.to_owned(),
            sub: id,
            sid: AuthSessionId(clock.new_id()),
            jti: clock.new_id(),
            iat: now,
            nbf: now,
            exp: now + 1800,
            client_id: "test".to_owned(),
            roles: vec![role],
            role,
            user_id: id,
            email_verified: true,
            uv: 1,
            auth_time: now,
            amr: vec!["pwd".to_owned()],
            acr: Some("aal1".to_owned()),
            email: None,
        };
        let token = jwt::sign(&claims, KID, &self.pkcs8).expect("a token");
        Person { id, tool: self.tool.with_token(token) }
    }

    /// Somebody who has not signed in.
    pub fn anonymous(&self) -> Person {
        Person { id: UserId(Clock::default().new_id()), tool: self.tool.clone() }
    }

    /// Every fact that a service announced, in its order: the subjects and the envelopes.
    pub async fn facts(&self, service: &str) -> Vec<(String, Value)> {
        let rows = format!(
            "SELECT json_agg(json_build_array(subject, convert_from(payload, 'UTF8')::json) ORDER BY seq)
             FROM (SELECT seq, subject, payload FROM {service}.outbox
                   UNION ALL SELECT seq, subject, payload FROM {service}.outbox_archive) AS announced
             WHERE subject LIKE 'evt.%'"
        );
        match self.database.value(&rows).await.expect("read") {
            Some(json) => serde_json::from_str(&json).expect("facts"),
            None => Vec::new(),
        }
    }

    /// A number from the database.
    pub async fn count(&self, sql: &str) -> i64 {
        let value = self.database.value(sql).await.expect("read").expect("a value");
        value.parse().expect("a number")
    }
}

/// A caller.
#[derive(Clone)]
pub struct Person {
    pub id: UserId,
    tool: Tool,
}

impl Person {
    pub async fn asks(&self, subject: &str, body: Value) -> Answer {
        self.asks_with(subject, body, &[]).await
    }

    /// Asks with headers. "Nobody listens" is asked again for a while: a service joins its queue groups a moment after it
    /// is ready.
    pub async fn asks_with(&self, subject: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        for _ in 0..100 {
            match self.tool.asks_with(subject, body.clone(), map.clone()).await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("nobody answers {subject}")
    }

    /// Asks with an idempotency key until the answer is another than 503, as a client does in front of a busy worker.
    pub async fn insists(&self, subject: &str, body: Value, key: &str) -> Answer {
        for _ in 0..200 {
            let answer = self.asks_with(subject, body.clone(), &[("Idempotency-Key", key)]).await;
            match answer.status {
                503 | 504 => tokio::time::sleep(Duration::from_millis(50)).await,
                409 if answer.json["error_code"] == "COMMON_0016" => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                _ => return answer,
            }
        }
        panic!("{subject} stays unavailable")
    }
}

/// Asserts a refusal with this status and code, and gives its details.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!((answer.status, answer.json["error_code"].as_str()), (status, Some(code)), "{answer}");
    answer.json["details"].clone()
}

/// The same for a field: the first of the details names it.
#[track_caller]
pub fn refused_at(answer: &Answer, status: u16, code: &str, pointer: &str) {
    let details = refused(answer, status, code);
    assert_eq!(details[0]["pointer"], pointer, "{answer}");
}

#[derive(Clone)]
struct Identity {
    core: App,
    x: Arc<str>,
}

impl AsRef<App> for Identity {
    fn as_ref(&self) -> &App {
        &self.core
    }
}

async fn jwks(app: Identity, _call: Call, _req: GetJwks) -> Outcome<GetJwks> {
    let text = str::to_owned;
    Ok(Jwks {
        keys: vec![Jwk {
            kty: text("OKP"),
            crv: text("Ed25519"),
            alg: text("EdDSA"),
            r#use: text("sig"),
            kid: text(KID),
            x: app.x.to_string(),
        }],
    })
}

async fn check_token(_app: Identity, _call: Call, _req: CheckToken) -> Outcome<CheckToken> {
    Ok(TokenState { active: true, reason: None })
}
