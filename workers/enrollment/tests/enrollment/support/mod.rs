//! A worker in process against a nats-server and a database of its own, with the streams and consumers that provisioning
//! makes, and a small identity that vouches for the people of the test. Used by the tests of enrolment, of
//! notifications and of audit.

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
use lectern_core::service::Table;
use lectern_core::token::TokenCheck;
use lectern_core::{App, Call, Clock, Outcome, Service};
use lectern_harness::actors::Bus as Tool;
use lectern_harness::testing::apply_migrations;
use lectern_harness::{Answer, Database, Nats, TestServers, checkout};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{CheckToken, GetJwks, Jwk, Jwks, TokenState};
use lectern_subjects::{Envelope, Fact, Role, subject};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const KID: &str = "test";
const CORE: &str = "crates/core/migrations";

/// Servers, the key of the tokens, and whatever runs.
pub struct World {
    pub database: Database,
    pub clock: Clock,
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
    /// Servers with streams, a bucket, the schema of `worker` and an identity that checks tokens. The worker itself is
    /// started with [`World::run`].
    pub async fn with_schema_of(worker: &str) -> World {
        let nats = TestServers::nats().await;
        let migrations = format!("migrations/{worker}");
        let database = TestServers::database_with(worker, &[CORE, migrations.as_str()]).await;
        let client = async_nats::connect(nats.url()).await.expect("a connection");
        let revoked = jetstream::kv::Config { bucket: "revoked".to_owned(), ..Default::default() };
        jetstream::new(client.clone()).create_key_value(revoked).await.expect("the bucket revoked");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key").as_ref().to_vec();
        let (clock, stop) = (Clock::default(), CancellationToken::new());
        let world = World { database, clock, nats, tool: Tool::new(client), pkcs8, stop };
        world.make_stream("EVENTS", "").await;
        world.make_stream("DEAD", "").await;
        world.make_stream("AUDIT", "").await;

        let pair = Ed25519KeyPair::from_pkcs8(&world.pkcs8).expect("a key");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let identity = Service::new("identity").on(jwks).on(check_token);
        world.run(identity, |core| Identity { core, x: x.into() }).await;
        world
    }

    /// Runs a process of a service, in its schema of the test's database, with its stream and consumers, and waits until
    /// it is ready. Cancelling the answer stops it.
    pub async fn run<A>(&self, service: Service<A>, app: impl FnOnce(App) -> A) -> CancellationToken
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
        self.make_consumers(&service.table()).await;
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
            connections: 5,
        };
        let core = App::new(name, database.pool().expect("a pool"), bus.clone(), self.clock.clone());
        let tokens = TokenCheck::new(bus, self.clock.clone(), Revocations::new(Duration::from_secs(1800)));
        let (instance, stop) = (self.clock.new_id().to_string(), self.stop.child_token());
        let process = Process { instance, health: Health::default(), stop: stop.clone() };
        let health = process.health.clone();
        tokio::spawn(run(service, app(core), tokens, process));
        until(&format!("{name} is ready"), async || health.is_ready().then_some(())).await;
        stop
    }

    /// Makes a stream as `nats/` describes it.
    pub async fn make_stream(&self, file: &str, service: &str) {
        let path = checkout::root().join(format!("nats/{file}.json"));
        let text = std::fs::read_to_string(path).expect("a stream's file");
        let text = text.replace("{SERVICE}", &service.to_ascii_uppercase()).replace("{service}", service);
        let mut config: Value = serde_json::from_str(&text).expect("a stream's configuration");
        for field in ["max_age", "duplicate_window"] {
            config[field] = json!(nanoseconds(config[field].as_str().expect(field)));
        }
        let name = config["name"].as_str().expect("a name").to_owned();
        self.asks_broker(&format!("STREAM.CREATE.{name}"), config).await;
    }

    /// Deletes a stream.
    pub async fn delete_stream(&self, name: &str) {
        self.asks_broker(&format!("STREAM.DELETE.{name}"), json!({})).await;
    }

    /// Makes what provisioning makes for a worker's table: the timers stream, and the consumers of facts and rings.
    pub async fn make_consumers(&self, table: &Table) {
        if !table.follows.is_empty() {
            let filters: Vec<String> = table.follows.iter().map(|fact| subject::every(fact)).collect();
            self.make_consumer("EVENTS", table.service, json!({ "filter_subjects": filters }), 6).await;
        }
        if !table.timers.is_empty() {
            self.make_stream("TIMERS", table.service).await;
            let filter = json!({ "filter_subject": format!("timers.{}.due.>", table.service) });
            self.make_consumer(&subject::timer_stream(table.service), "due", filter, 20).await;
        }
        for drain in &table.drains {
            let filter = json!({ "filter_subject": drain.filter });
            self.make_consumer(drain.stream, drain.consumer, filter, 6).await;
        }
    }

    async fn make_consumer(&self, stream: &str, name: &str, mut config: Value, deliveries: u32) {
        config["durable_name"] = json!(name);
        config["ack_policy"] = json!("explicit");
        config["ack_wait"] = json!(nanoseconds("30s"));
        config["max_deliver"] = json!(deliveries);
        let body = json!({ "stream_name": stream, "config": config });
        self.asks_broker(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), body).await;
    }

    async fn asks_broker(&self, what: &str, body: Value) {
        let answer = self.tool.asks(&format!("$JS.API.{what}"), body).await;
        assert!(answer.json.get("error").is_none(), "{what}: {}", answer.json);
    }

    /// Somebody with this role.
    pub fn someone(&self, role: Role) -> Person {
        let id = UserId(self.clock.new_id());
        let now = self.clock.now().timestamp();
        let claims = Claims {
            iss: jwt::ISSUER.to_owned(),
            aud: jwt::AUDIENCE.to_owned(),
            sub: id,
            sid: AuthSessionId(self.clock.new_id()),
            jti: self.clock.new_id(),
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

    /// Announces a fact as another service would: the same envelope, as often as it is called.
    pub async fn tells<F: Fact>(&self, fact: &Envelope<F>) {
        let body = serde_json::to_vec(fact).expect("JSON");
        let subject = fact.data.subject();
        let sent = jetstream::new(self.tool.client().clone()).publish(subject, body.into()).await;
        sent.expect("sent").await.expect("stored");
    }

    /// A fact in its envelope.
    pub fn fact<F: Fact>(&self, data: F, version: i64) -> Envelope<F> {
        Envelope {
            event_id: self.clock.new_id(),
            event_type: lectern_subjects::fact::event_type(F::SUBJECT).to_owned(),
            version: "1.0.0".to_owned(),
            occurred_at: self.clock.now(),
            actor_id: None,
            subject_id: data.key(),
            entity_version: version,
            causation_id: None,
            trace: None,
            data,
        }
    }

    /// The data of every fact of one kind that a service announced, in its order.
    pub async fn announced<F: Fact>(&self, service: &str) -> Vec<F> {
        let subject = F::SUBJECT;
        let rows = format!(
            "SELECT json_agg(convert_from(payload, 'UTF8')::json -> 'data' ORDER BY seq)
             FROM (SELECT seq, subject, payload FROM {service}.outbox
                   UNION SELECT seq, subject, payload FROM {service}.outbox_archive) AS announced
             WHERE subject LIKE '{subject}.%'"
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

    /// How far a consumer is.
    pub async fn consumer(&self, stream: &str, name: &str) -> jetstream::consumer::Info {
        let stream = self.broker().get_stream(stream).await.expect("a stream");
        stream.consumer_info(name).await.expect("a consumer")
    }

    /// The connection to the broker.
    pub fn broker(&self) -> jetstream::Context {
        jetstream::new(self.tool.client().clone())
    }
}

/// Asks again and again until there is an answer; a minute is enough for anything here.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn nanoseconds(text: &str) -> u64 {
    let (count, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "d" => 86_400,
        other => panic!("{other} is no unit"),
    };
    count.parse::<u64>().expect("a number") * seconds * 1_000_000_000
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
}

/// Asserts a refusal with this status and code, and gives its details.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!((answer.status, answer.json["error_code"].as_str()), (status, Some(code)), "{answer}");
    answer.json["details"].clone()
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

async fn jwks(app: Identity, _: Call, _: GetJwks) -> Outcome<GetJwks> {
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

async fn check_token(_: Identity, _: Call, _: CheckToken) -> Outcome<CheckToken> {
    Ok(TokenState { active: true, reason: None })
}
