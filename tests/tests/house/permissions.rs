//! Each role may do on the bus and in the database what the contract says and nothing else (ASVS V13: a negative test
//! per service and foreign subject).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use lectern_harness::Stack;

use crate::shared::{NOBODY, house};

const WORKERS: [&str; 7] =
    ["identity", "courses", "content", "playback", "enrollment", "notifications", "audit"];

/// A connection of one role that notes what the broker refuses.
struct Listener {
    role: String,
    client: Client,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    async fn of(stack: &Stack, role: &str) -> Listener {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = heard.clone();
        let seed = stack.nats_seed(role).expect("a seed");
        let options = ConnectOptions::with_nkey(seed)
            .custom_inbox_prefix(format!("_INBOX_{role}"))
            .event_callback(move |event| {
                let notes = notes.clone();
                async move { notes.lock().expect("not poisoned").push(event.to_string().to_lowercase()) }
            });
        let client = options.connect(stack.nats_url()).await.expect("connected");
        Listener { role: role.to_owned(), client, heard }
    }

    async fn publishes(&self, subject: &str) {
        let sent =
            self.client.publish_with_headers(subject.to_owned(), async_nats::HeaderMap::new(), "{}".into());
        sent.await.expect("queued");
        self.client.flush().await.expect("flushed");
    }

    async fn must_not_publish(&self, subject: &str) {
        self.publishes(subject).await;
        self.is_refused(&format!("publish to \"{}\"", subject.to_lowercase())).await;
    }

    async fn must_not_subscribe(&self, subject: &str) {
        let subscription = self.client.subscribe(subject.to_owned()).await.expect("queued");
        self.client.flush().await.expect("flushed");
        self.is_refused(&format!("subscription to \"{}\"", subject.to_lowercase())).await;
        drop(subscription);
    }

    async fn must_not_serve(&self, subject: &str) {
        let subscription =
            self.client.queue_subscribe(subject.to_owned(), "q".to_owned()).await.expect("queued");
        self.client.flush().await.expect("flushed");
        self.is_refused(&format!("subscription to \"{}\"", subject.to_lowercase())).await;
        drop(subscription);
    }

    async fn is_refused(&self, what: &str) {
        for _ in 0..200 {
            if self
                .heard
                .lock()
                .expect("not poisoned")
                .iter()
                .any(|event| event.contains("violation") && event.contains(what))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "{} was not refused the {what}; heard {:?}",
            self.role,
            self.heard.lock().expect("not poisoned")
        );
    }

    /// Nothing was refused beyond `count`.
    fn refusals(&self) -> usize {
        self.heard.lock().expect("not poisoned").iter().filter(|event| event.contains("violation")).count()
    }
}

/// What no worker and no gateway may do.
async fn keeps_out(listener: &Listener, foreign: &str) {
    // the gateway reads facts for the security feed
    if listener.role != "gateway" {
        listener.must_not_publish("$JS.API.DIRECT.GET.EVENTS").await;
    }
    for subject in [
        format!("evt.{foreign}.v1.thing.happened.{NOBODY}"),
        format!("audit.{foreign}.v1.thing.done._"),
        format!("timers.{foreign}.at.period_end.{NOBODY}"),
        format!("timers.{foreign}.due.period_end"),
        format!("_INBOX_{foreign}.stolen"),
        format!("dead.EVENTS.{foreign}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.EVENTS.{foreign}"),
        format!("$JS.ACK.EVENTS.{foreign}.1.1.1.1.0"),
        "$JS.API.STREAM.CREATE.STOLEN".to_owned(),
        "$JS.API.STREAM.UPDATE.EVENTS".to_owned(),
        "$JS.API.STREAM.DELETE.EVENTS".to_owned(),
        "$JS.API.STREAM.PURGE.EVENTS".to_owned(),
        "$JS.API.STREAM.MSG.GET.EVENTS".to_owned(),
        "$JS.API.STREAM.MSG.DELETE.EVENTS".to_owned(),
        "$JS.API.CONSUMER.CREATE.EVENTS.stolen".to_owned(),
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.stolen".to_owned(),
        "_INBOX.stolen".to_owned(),
    ] {
        listener.must_not_publish(&subject).await;
    }
    for subject in [
        &format!("_INBOX_{foreign}.>"),
        "_INBOX.>",
        "evt.>",
        "svc.>",
        "play.>",
        "timers.>",
        "$JS.>",
        "$KV.>",
        ">",
    ] {
        listener.must_not_subscribe(subject).await;
    }
}

#[tokio::test]
async fn each_role_is_refused_what_is_another_roles_on_the_bus() {
    let house = house().await;
    for (index, role) in WORKERS.iter().enumerate() {
        let listener = Listener::of(&house.stack, role).await;
        let foreign = WORKERS[(index + 1) % WORKERS.len()];
        keeps_out(&listener, foreign).await;
        listener.must_not_serve(&format!("svc.{foreign}.v1.things.get")).await;
        for operation in
            house.contract.operations.keys().filter(|it| it.starts_with(&format!("svc.{foreign}.")))
        {
            listener.must_not_serve(operation).await;
        }
        listener.must_not_publish("svc.identity.v1.admin.user_create").await;
        if *role != "playback" {
            listener.must_not_publish(&format!("play.v1.{NOBODY}.{NOBODY}")).await;
        }
        if *role != "identity" {
            listener.must_not_publish(&format!("$KV.revoked.sid.{NOBODY}")).await;
        }
        // what it may do raises nothing
        let before = listener.refusals();
        let keys =
            listener.client.send_request("svc.identity.v1.token.jwks", async_nats::Request::new()).await;
        assert!(keys.is_ok(), "{role} can't ask for keys: {keys:?}");
        assert_eq!(listener.refusals(), before, "{role}: {:?}", listener.heard.lock());
    }
}

#[tokio::test]
async fn the_gateway_answers_nobody_and_announces_nothing() {
    let house = house().await;
    let gateway = Listener::of(&house.stack, "gateway").await;
    keeps_out(&gateway, "identity").await;
    gateway.must_not_publish(&format!("evt.gateway.v1.thing.happened.{NOBODY}")).await;
    gateway.must_not_publish(&format!("play.v1.{NOBODY}.{NOBODY}")).await;
    gateway.must_not_publish(&format!("$KV.revoked.sid.{NOBODY}")).await;
    for operation in house.contract.operations.keys() {
        gateway.must_not_serve(operation).await;
    }
}

#[tokio::test]
async fn the_tools_user_calls_and_reads_but_announces_and_serves_nothing() {
    let house = house().await;
    let tools = Listener::of(&house.stack, "tools").await;
    for subject in [
        &format!("evt.courses.v1.course.published.{NOBODY}"),
        &format!("play.v1.{NOBODY}.{NOBODY}"),
        &format!("timers.enrollment.due.period_end.{NOBODY}"),
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.CREATE.STOLEN",
        "$JS.API.STREAM.MSG.GET.PLAYBACK",
        "$JS.API.CONSUMER.CREATE.PLAYBACK.stolen",
        &format!("$KV.revoked.sid.{NOBODY}"),
        "_INBOX_courses.stolen",
    ] {
        tools.must_not_publish(subject).await;
    }
    for subject in ["svc.courses.v1.courses.list", "_INBOX_identity.>", "_INBOX_gateway.>", "play.>", ">"] {
        tools.must_not_subscribe(subject).await;
    }
}

#[tokio::test]
async fn nobody_connects_to_the_bus_without_a_key() {
    let house = house().await;
    let refused = async_nats::connect(house.stack.nats_url()).await;
    assert!(refused.is_err(), "the bus lets anyone in");
}

#[tokio::test]
async fn each_database_role_sees_its_own_schema_only() {
    let house = house().await;
    let database = house.stack.database();
    let value = async |sql: &str| database.value(sql).await.expect("read").unwrap_or_default();
    let trespass = "SELECT string_agg(r.rolname || ' may use ' || n.nspname, ', ')
        FROM pg_roles r CROSS JOIN pg_namespace n
        WHERE r.rolname LIKE 'lectern\\_%' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
          AND r.rolname <> 'lectern_' || n.nspname
          AND (has_schema_privilege(r.oid, n.oid, 'CREATE')
               OR (n.nspname <> 'public' AND has_schema_privilege(r.oid, n.oid, 'USAGE')))";
    assert_eq!(value(trespass).await, "");
    let mighty = "SELECT string_agg(rolname, ', ') FROM pg_roles WHERE rolname LIKE 'lectern\\_%'
        AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication)";
    assert_eq!(value(mighty).await, "");
    let members = "SELECT string_agg(m.member::regrole::text, ', ') FROM pg_auth_members m
        WHERE m.member::regrole::text LIKE 'lectern\\_%'";
    assert_eq!(value(members).await, "");

    for (index, role) in WORKERS.iter().enumerate() {
        let as_role = |sql: &str| format!("SET ROLE lectern_{role}; {sql}");
        database.execute(&as_role(&format!("SELECT count(*) FROM {role}.outbox"))).await.expect("its own");
        let foreign = WORKERS[(index + 1) % WORKERS.len()];
        for sql in [
            format!("SELECT count(*) FROM {foreign}.outbox"),
            format!("INSERT INTO {foreign}.inbox VALUES ('x', '{NOBODY}', now())"),
            format!("CREATE TABLE {role}.mine (id int)"),
            format!("DROP TABLE {role}.outbox"),
            "CREATE TABLE public.mine (id int)".to_owned(),
            "SELECT pg_read_file('/etc/passwd')".to_owned(),
            format!(
                "SET ROLE lectern_{foreign}; SELECT 1 FROM {foreign}.outbox; RESET ROLE; SET SESSION AUTHORIZATION lectern_{role}; SET ROLE lectern_{foreign}"
            ),
        ] {
            let refused = database.execute(&as_role(&sql)).await;
            let error = refused.expect_err(&format!("{role} may {sql}"));
            let text = format!("{error:#}");
            assert!(
                text.contains("permission denied") || text.contains("must be owner"),
                "{role}, {sql}: {text}"
            );
        }
    }
}
