//! A world for one test: its own broker and database, provisioned as in production, and roles that run in this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy};
use async_nats::jetstream::{self, kv};
use futures_util::StreamExt;
use lectern_core::bus::{Bus, BusConfig, Outgoing};
use lectern_core::health::Health;
use lectern_core::pg;
use lectern_core::revocation::Revocations;
use lectern_core::run::{self, Process};
use lectern_core::token::TokenCheck;
use lectern_core::{App, Clock, Error, Service};
use lectern_harness::testing::apply_migrations;
use lectern_harness::{Nats, TestServers, testing};
use lectern_subjects::courses::CoursePublished;
use lectern_subjects::id::CourseId;
use lectern_subjects::subject;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Fault points are the process's: a test that sets one runs alone.
static FAULTS: RwLock<()> = RwLock::const_new(());

/// Held by every test that sets no fault.
pub async fn no_faults() -> RwLockReadGuard<'static, ()> {
    FAULTS.read().await
}

/// Held by a test that sets faults.
pub async fn with_faults() -> RwLockWriteGuard<'static, ()> {
    FAULTS.write().await
}

/// Slow machines take longer; nothing here is a measurement.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let since = tokio::time::Instant::now();
    while !is().await {
        assert!(since.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

pub struct World {
    pub nats: Nats,
    pub db: testing::Database,
}

impl World {
    /// A broker with its streams and a database with core's tables in these schemas.
    pub async fn new(schemas: &[&str]) -> World {
        let migrations = ["crates/core/migrations"];
        let db = TestServers::empty_database().await;
        for schema in schemas {
            apply_migrations(db.url(), schema, &migrations).await.expect("migrated");
        }
        let world = World { nats: TestServers::nats().await, db };
        world.stream("EVENTS", &["evt.>"], Duration::from_secs(120)).await;
        world.stream("DEAD", &["dead.>"], Duration::from_secs(120)).await;
        let bucket = kv::Config { bucket: "revoked".to_owned(), ..Default::default() };
        world.jetstream().await.create_key_value(bucket).await.expect("a bucket");
        world
    }

    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.nats.url()).await.expect("connected")
    }

    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    pub async fn stream(&self, name: &str, subjects: &[&str], duplicate_window: Duration) {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            duplicate_window,
            ..Default::default()
        };
        self.jetstream().await.create_stream(config).await.expect("a stream");
    }

    /// The timers stream of a service with its consumer, as `spec/nats.md` §4 has it.
    pub async fn timers(&self, service: &str) {
        let config = stream::Config {
            name: subject::timer_stream(service),
            subjects: vec![format!("timers.{service}.>")],
            retention: RetentionPolicy::WorkQueue,
            allow_message_schedules: true,
            allow_message_ttl: true,
            allow_rollup: true,
            ..Default::default()
        };
        self.jetstream().await.create_stream(config).await.expect("a timers stream");
        let due = format!("timers.{service}.due.>");
        self.consumer(&subject::timer_stream(service), "due", &due, 20).await;
    }

    /// A durable consumer. What isn't acknowledged comes again after two seconds: tests don't wait for half a minute.
    pub async fn consumer(&self, stream: &str, name: &str, filter: &str, max_deliver: i64) {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            filter_subject: filter.to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(2),
            max_deliver,
            max_ack_pending: 2000,
            ..Default::default()
        };
        self.jetstream().await.create_consumer_on_stream(config, stream).await.expect("a consumer");
    }

    /// Delivers the `count` messages of a consumer this often, to nobody who says what became of them.
    pub async fn deliver(&self, stream: &str, name: &str, count: usize, times: usize) {
        let consumer: PullConsumer =
            self.jetstream().await.get_consumer_from_stream(name, stream).await.expect("the consumer");
        for _ in 0..times {
            // as many as there are: an open pull would take the next delivery with it
            let some =
                consumer.fetch().max_messages(count).expires(PATIENCE).messages().await.expect("a fetch");
            let some: Vec<_> = some.take(count).collect().await;
            for message in some {
                let message = message.expect("readable");
                message.double_ack_with(AckKind::Nak(None)).await.expect("given back");
            }
        }
    }

    pub async fn messages(&self, stream: &str) -> u64 {
        self.jetstream().await.get_stream(stream).await.expect("the stream").cached_info().state.messages
    }

    /// Deliveries of a consumer that are not acknowledged, and messages not delivered.
    pub async fn open_ends(&self, stream: &str, consumer: &str) -> u64 {
        let jetstream = self.jetstream().await;
        let consumer: jetstream::consumer::PullConsumer =
            jetstream.get_consumer_from_stream(consumer, stream).await.expect("the consumer");
        let info = consumer.cached_info();
        info.num_ack_pending as u64 + info.num_pending
    }

    pub async fn bus(&self, role: &str) -> Bus {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let config = BusConfig {
            url: self.nats.url().to_owned(),
            role: role.to_owned(),
            instance: COUNT.fetch_add(1, Ordering::Relaxed).to_string(),
            nkey: None,
        };
        let bus = Bus::connect(&config, Clock::default()).await.expect("a bus");
        eventually("connected", || async { bus.is_connected() }).await;
        bus
    }

    pub async fn app(&self, service: &'static str) -> App {
        let database =
            pg::Database { url: self.db.url().to_owned(), schema: service, password: None, connections: 10 };
        App::new(service, database.pool().expect("a pool"), self.bus(service).await, Clock::default())
    }

    /// Runs a role in this process until it is stopped.
    pub async fn run(&self, app: &App, service: Service<App>) -> Running {
        let tokens = TokenCheck::new(
            app.bus().clone(),
            app.clock().clone(),
            Revocations::new(Duration::from_secs(1800)),
        );
        self.run_with(app, service, tokens).await
    }

    pub async fn run_with(&self, app: &App, service: Service<App>, tokens: TokenCheck) -> Running {
        let name = service.name();
        let (health, stop) = (Health::default(), CancellationToken::new());
        let process = Process {
            instance: app.clock().new_id().to_string(),
            health: health.clone(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(run::run(service, app.clone(), tokens, process));
        eventually("ready", || async {
            assert!(!task.is_finished(), "the role ended");
            health.is_ready() && health.of(name).is_none()
        })
        .await;
        Running { stop, task }
    }

    pub async fn value(&self, sql: &str) -> i64 {
        let value = self.db.value(sql).await.expect(sql);
        value.unwrap_or_default().parse().expect(sql)
    }

    /// Waits until a query gives this number.
    pub async fn until(&self, sql: &str, wanted: i64) {
        let since = tokio::time::Instant::now();
        loop {
            let value = self.value(sql).await;
            if value == wanted {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{sql} gives {value}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A role that runs in this process.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// SIGTERM.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("it ended well");
    }

    /// As near to `kill -9` as one process allows: everything is dropped where it is.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

/// A fact of the real contract.
pub fn published(course: CourseId, title: &str) -> CoursePublished {
    CoursePublished { course_id: course, title: title.to_owned(), price_minor: None, currency: None }
}

/// Announces in a transaction of its own.
pub async fn announce(app: &App, course: CourseId, title: &str, version: i64) {
    let mut tx = app.begin_internal().await.expect("a transaction");
    tx.announce(&published(course, title), version).await.expect("announced");
    tx.commit_followed().await.expect("committed");
}

pub fn course(number: u128) -> CourseId {
    CourseId(Uuid::from_u128(number))
}

/// An anonymous request's headers, with this much time.
pub fn outgoing(time: Duration) -> Outgoing {
    let clock = Clock::default();
    Outgoing { deadline: clock.now() + time, ..Outgoing::own(&clock) }
}
