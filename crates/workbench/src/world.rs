//! Servers, people, and processes of workers.

use std::time::Duration;

use lectern_core::bus::{Bus, BusConfig};
use lectern_core::health::Health;
use lectern_core::pg;
use lectern_core::revocation::Revocations;
use lectern_core::run::{Process, run};
use lectern_core::token::TokenCheck;
use lectern_core::{App, Clock, Error, Service};
use lectern_harness::actors::Bus as Tool;
use lectern_harness::testing::apply_migrations;
use lectern_harness::{Database, Nats, TestServers};
use lectern_subjects::fact::event_type;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::{Fact, Role};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::identity::{self, Signer};
use crate::{Person, eventually};

const CORE: &str = "crates/core/migrations";
/// As in production (`spec/nats.md`).
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Servers of one test, the key of its tokens, and whatever runs.
pub struct World {
    /// With the worker's schema, and core's tables for every service that was run.
    pub database: Database,
    /// The broker.
    pub nats: Nats,
    /// Everybody's.
    pub clock: Clock,
    pub(crate) tool: Tool,
    pub(crate) ack_wait: Duration,
    signer: Signer,
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
    ///
    /// # Panics
    /// When a server does not come up.
    pub async fn with_schema_of(worker: &str) -> World {
        World::with(worker, Clock::default(), ACK_WAIT).await
    }

    /// The same with a clock of the test's, and consumers that deliver again after `ack_wait`.
    ///
    /// # Panics
    /// When a server does not come up.
    pub async fn with(worker: &str, clock: Clock, ack_wait: Duration) -> World {
        let migrations = format!("migrations/{worker}");
        let own = [CORE, migrations.as_str()];
        let (nats, database) = tokio::join!(TestServers::nats(), TestServers::database_with(worker, &own));
        let client = async_nats::connect(nats.url()).await.expect("a connection");
        let (signer, stop) = (Signer::new(), CancellationToken::new());
        let world = World { database, nats, clock, tool: Tool::new(client), ack_wait, signer, stop };
        world.provision().await;
        world.run(identity::service(), |core| world.signer.app(core)).await;
        world
    }

    /// Runs a process of a service, in its schema of the test's database, with its consumers, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn run<A>(&self, service: Service<A>, app: impl FnOnce(App) -> A) -> Running
    where
        A: Clone + Send + Sync + AsRef<App> + 'static,
    {
        let core = self.core(service.name()).await;
        let app = app(core.clone());
        self.start(service, app, core).await
    }

    /// What a process of a service runs on: its schema, and a connection to the bus.
    ///
    /// # Panics
    /// When a server does not answer.
    pub async fn core(&self, service: &'static str) -> App {
        let outbox = format!("SELECT to_regclass('{service}.outbox')");
        if self.database.value(&outbox).await.expect("asked").is_none() {
            apply_migrations(self.database.url(), service, &[CORE]).await.expect("a schema");
        }
        let config = BusConfig {
            url: self.nats.url().to_owned(),
            role: service.to_owned(),
            instance: self.clock.new_id().to_string(),
            nkey: None,
        };
        let bus = Bus::connect(&config, self.clock.clone()).await.expect("a bus");
        let database = pg::Database {
            url: self.database.url().to_owned(),
            schema: service,
            password: None,
            connections: 10,
        };
        App::new(service, database.pool().expect("a pool"), bus, self.clock.clone())
    }

    /// Runs a process of a service whose app takes more than [`World::run`] gives it.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start<A>(&self, service: Service<A>, app: A, core: App) -> Running
    where
        A: Clone + Send + Sync + AsRef<App> + 'static,
    {
        let name = service.name();
        self.make_consumers(&service.table()).await;
        let (health, stop) = (Health::default(), self.stop.child_token());
        let revocations = Revocations::new(Duration::from_secs(1800));
        let tokens = TokenCheck::new(core.bus().clone(), self.clock.clone(), revocations);
        let process =
            Process { instance: self.clock.new_id().to_string(), health: health.clone(), stop: stop.clone() };
        let task = tokio::spawn(run(service, app, tokens, process));
        eventually(&format!("{name} is ready"), async || health.is_ready()).await;
        Running { core, stop, task }
    }

    /// Somebody with this role who has just signed in.
    pub fn someone(&self, role: Role) -> Person {
        let (id, sid) = (UserId(self.clock.new_id()), AuthSessionId(self.clock.new_id()));
        let token = self.signer.token(&self.clock, id, sid, role);
        Person { id, sid, tool: self.tool.with_token(token) }
    }

    /// Somebody who has not signed in.
    pub fn anonymous(&self) -> Person {
        let (id, sid) = (UserId(self.clock.new_id()), AuthSessionId(self.clock.new_id()));
        Person { id, sid, tool: self.tool.clone() }
    }

    /// Every fact that a service announced, in its order: the subjects and the envelopes.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn facts(&self, service: &str) -> Vec<(String, Value)> {
        let facts = format!(
            "SELECT subject, convert_from(payload, 'UTF8')::json AS fact
             FROM (SELECT seq, subject, payload FROM {service}.outbox
                   UNION SELECT seq, subject, payload FROM {service}.outbox_archive) AS announced
             WHERE subject LIKE 'evt.%' ORDER BY seq"
        );
        let rows = self.rows(&facts).await.as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .map(|mut row| (row["subject"].as_str().expect("a subject").to_owned(), row["fact"].take()))
            .collect()
    }

    /// The data of every fact of one kind that a service announced, in its order.
    ///
    /// # Panics
    /// When one has another shape.
    pub async fn announced<F: Fact>(&self, service: &str) -> Vec<F> {
        let kind = event_type(F::SUBJECT);
        let facts = self.facts(service).await.into_iter().map(|(_, fact)| fact);
        facts
            .filter(|fact| fact["event_type"] == kind)
            .map(|mut fact| serde_json::from_value(fact["data"].take()).expect("a fact"))
            .collect()
    }

    /// What the database says, as JSON.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn rows(&self, sql: &str) -> Value {
        let rows = self.database.value(&format!("SELECT json_agg(r) FROM ({sql}) AS r")).await.expect(sql);
        rows.map_or(Value::Null, |rows| serde_json::from_str(&rows).expect("JSON"))
    }

    /// A number from the database.
    ///
    /// # Panics
    /// When it is none.
    pub async fn count(&self, sql: &str) -> i64 {
        let value = self.database.value(sql).await.expect(sql).expect("a value");
        value.parse().expect("a number")
    }
}

/// One process of a role.
pub struct Running {
    /// What it runs on.
    pub core: App,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// SIGTERM, and the end of the process.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("it ended well");
    }

    /// As near to `kill -9` as one process allows: everything is dropped where it is.
    ///
    /// # Panics
    /// When it had ended already.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }

    /// Announces a fact as this service does.
    ///
    /// # Panics
    /// When it can't be committed.
    pub async fn announces<F: Fact>(&self, fact: &F) {
        let mut tx = self.core.begin_internal().await.expect("a transaction");
        tx.announce(fact, 1).await.expect("announced");
        tx.commit_followed().await.expect("committed");
    }
}
