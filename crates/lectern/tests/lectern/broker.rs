//! What the broker lets each role do, on paper and for real.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, Event};
use lectern_harness::{Stack, StackOptions};
use tokio::sync::mpsc;

use crate::servers_only;
use crate::source::{root, text};

/// Every user with its rights, one line each: a change of the contract shows here, where a reviewer reads it.
fn rights() -> String {
    let mut lines = String::from(
        "# Who may do what on the broker. UPDATE_SNAPSHOTS=1 cargo test -p lectern writes it anew.\n",
    );
    for (name, rights) in lectern::server_conf::users(true) {
        lines.push_str(&format!(
            "\n[{name}]{}\n",
            if rights.answers { " answers once, within 30 s" } else { "" }
        ));
        for subject in &rights.publish {
            lines.push_str(&format!("publish   {subject}\n"));
        }
        for subject in &rights.subscribe {
            lines.push_str(&format!("subscribe {subject}\n"));
        }
    }
    lines
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a switch of this test, no configuration")]
fn the_rights_on_the_broker_are_what_was_reviewed() {
    let path = root().join("nats/permissions.txt");
    if std::env::var("UPDATE_SNAPSHOTS").is_ok() {
        std::fs::write(&path, rights()).expect("writing the snapshot");
    }
    assert_eq!(
        text(&path),
        rights(),
        "look at the difference; UPDATE_SNAPSHOTS=1 writes nats/permissions.txt anew"
    );
}

#[test]
fn no_role_may_announce_answer_or_consume_for_another() {
    let users = lectern::server_conf::users(false);
    assert!(!users.contains_key("tools"), "the development tools user is for development");
    let services: Vec<&str> = lectern_subjects::SERVICES.iter().map(|service| service.name).collect();
    for (name, rights) in &users {
        for other in services.iter().filter(|other| *other != name) {
            for kind in ["evt", "audit", "timers", "wake"] {
                let theirs = format!("{kind}.{other}");
                assert!(
                    rights.publish.iter().all(|s| !s.starts_with(&theirs)),
                    "{name} may publish {theirs}"
                );
            }
            let consumer = format!(".EVENTS.{other}");
            assert!(rights.publish.iter().all(|s| !s.contains(&consumer)), "{name} may use {consumer}");
            let asked = format!("svc.{other}.");
            assert!(rights.subscribe.iter().all(|s| !s.starts_with(&asked)), "{name} may answer for {other}");
        }
        let wide = |s: &String| matches!(s.as_str(), ">" | "$JS.>" | "evt.>" | "svc.>" | "_INBOX.>");
        assert!(!rights.publish.iter().chain(&rights.subscribe).any(wide), "{name}: {rights:?}");
        let manages = rights.publish.iter().any(|s| s == "$JS.API.>" || s.contains("STREAM.CREATE"));
        assert_eq!(manages, *name == "admin", "{name} manages streams");
    }
}

/// A connection as a role, with what the broker says about it.
async fn connect(stack: &Stack, role: &str) -> (Client, mpsc::Receiver<String>) {
    let (sender, heard) = mpsc::channel(64);
    let client = async_nats::ConnectOptions::with_nkey(stack.nats_seed(role).expect("a key"))
        .custom_inbox_prefix(format!("_INBOX_{role}"))
        .event_callback(move |event| {
            let sender = sender.clone();
            async move {
                if let Event::ServerError(error) = event {
                    drop(sender.try_send(error.to_string()));
                }
            }
        })
        .connect(stack.nats_url())
        .await
        .expect("the broker lets the role in");
    (client, heard)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a stranger's publishes are what is tried here")]
async fn the_broker_refuses_what_is_not_the_roles_own() {
    let stack = Stack::start(servers_only()).await;
    let (courses, mut heard) = connect(&stack, "courses").await;
    for foreign in [
        "evt.identity.v1.user.created.x",
        "svc.identity.v1.auth.login",
        "timers.enrollment.due.period_end",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.enrollment",
        "$KV.revoked.sid.x",
        "_INBOX_gateway.x",
    ] {
        courses.publish(foreign, "x".into()).await.expect("queued");
        let said = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await;
        let said = said.unwrap_or_else(|_| panic!("publishing {foreign} was not refused")).expect("an event");
        assert!(said.contains("Permissions Violation") && said.contains(foreign), "{foreign}: {said}");
    }
    for (subject, queue) in [
        ("svc.identity.v1.auth.login", "q"),
        ("svc.courses.v1.courses.list", "another"),
        ("_INBOX_gateway.>", "q"),
        ("evt.identity.>", "q"),
    ] {
        let _silent = courses.queue_subscribe(subject, queue.to_owned()).await.expect("sent");
        let said = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await;
        let said = said.unwrap_or_else(|_| panic!("subscribing {subject} as {queue} was not refused"));
        assert!(said.expect("an event").contains("Permissions Violation"), "{subject} {queue}");
    }
    // its own is allowed: nothing is said about it before the next refusal
    courses.publish("evt.courses.v1.course.updated.x", "x".into()).await.expect("queued");
    courses.publish("evt.playback.v1.x.y.z", "x".into()).await.expect("queued");
    let said = tokio::time::timeout(Duration::from_secs(10), heard.recv())
        .await
        .expect("a refusal")
        .expect("an event");
    assert!(said.contains("evt.playback"), "{said}");

    let nobody = async_nats::connect(stack.nats_url()).await;
    assert!(nobody.is_err(), "the broker lets strangers in");
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_twice_changes_nothing_and_mends_what_was_changed() {
    let stack = Stack::start(servers_only()).await;
    let again = stack.lectern(&["provision"]).await.done().expect("provisions");
    assert!(again.lines().count() >= 8, "{again}");
    assert!(again.lines().all(|line| line.starts_with("unchanged")), "{again}");

    let admin = async_nats::jetstream::new(stack.bus_as("admin").await.expect("admin"));
    let mut events = admin.get_stream("EVENTS").await.expect("EVENTS");
    let mut config = events.info().await.expect("info").config.clone();
    config.max_age = Duration::from_secs(3600);
    config.description = Some("by hand".to_owned());
    admin.update_stream(config).await.expect("updated by hand");
    admin.delete_consumer_from_stream("enrollment", "EVENTS").await.expect("deleted by hand");

    let mended = stack.lectern(&["provision"]).await.done().expect("provisions");
    let counted = mended.lines().fold(BTreeMap::new(), |mut counted, line| {
        *counted.entry(line.split_whitespace().next().unwrap_or_default()).or_insert(0) += 1;
        counted
    });
    assert_eq!((counted["changed"], counted["created"]), (2, 1), "{mended}");
    assert!(mended.contains("EVENTS: max_age 3600000000000 → 7776000000000000"), "{mended}");
    assert!(mended.contains("created    consumer EVENTS/enrollment"), "{mended}");
    let after = stack.lectern(&["provision"]).await.done().expect("provisions");
    assert!(after.lines().all(|line| line.starts_with("unchanged")), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n04_a_running_system_asks_for_nothing_that_it_may_not() {
    let mut stack = Stack::start(StackOptions::default()).await;
    let answer = stack.lectern(&["call", "svc.courses.v1.courses.list", "{}"]).await;
    assert!(answer.success, "{}{}", answer.stdout, answer.stderr);
    let status = stack.lectern(&["status", "--json"]).await;
    assert!(status.success, "{}{}", status.stdout, status.stderr);
    let process = &stack.processes()[0];
    for role in
        ["identity", "courses", "content", "playback", "enrollment", "notifications", "audit", "gateway"]
    {
        let refused = process.metric("nats_permission_violations_total", &format!("role=\"{role}\"")).await;
        assert!(refused.is_err() || refused.is_ok_and(|count| count == 0.0), "{role} was refused a subject");
    }
}
