//! What each user of the broker may publish and subscribe to, from the tables of the workers (architecture §8,
//! `spec/nats.md` §7). What is not listed is refused by the broker.

use lectern_core::revocation;
use lectern_core::service::Table;
use lectern_subjects::Request;
use lectern_subjects::identity::{CheckToken, GetJwks};
use lectern_subjects::subject;

use super::tools::Tool;

/// The queue group of every service.
const QUEUE: &str = "q";

/// The rights of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects that it may publish to.
    pub publish: Vec<String>,
    /// Subjects that it may subscribe to; with a queue group after a space it may join that group only.
    pub subscribe: Vec<String>,
    /// Whether it may answer what it was asked, once, within 30 seconds.
    pub answers: bool,
}

impl Permissions {
    fn new(inbox: &str) -> Permissions {
        Permissions { publish: Vec::new(), subscribe: vec![format!("{inbox}.>")], answers: false }
    }

    fn may_publish<S: Into<String>>(&mut self, subjects: impl IntoIterator<Item = S>) {
        self.publish.extend(subjects.into_iter().map(Into::into));
    }

    fn may_subscribe<S: Into<String>>(&mut self, subjects: impl IntoIterator<Item = S>) {
        self.subscribe.extend(subjects.into_iter().map(Into::into));
    }

    fn sorted(mut self) -> Permissions {
        for subjects in [&mut self.publish, &mut self.subscribe] {
            subjects.sort();
            subjects.dedup();
        }
        self
    }

    /// Every role checks tokens: it asks identity for keys and watches the bucket of revocations.
    fn checks_tokens(&mut self) {
        let stream = format!("KV_{}", revocation::BUCKET);
        self.may_publish([GetJwks::SUBJECT, CheckToken::SUBJECT]);
        self.may_publish([
            format!("$JS.API.STREAM.INFO.{stream}"),
            format!("$JS.API.CONSUMER.CREATE.{stream}"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.>"),
            format!("$JS.API.CONSUMER.INFO.{stream}.*"),
            format!("$JS.API.CONSUMER.DELETE.{stream}.*"),
            format!("$JS.FC.{stream}.>"),
        ]);
    }

    /// Takes messages of one durable consumer, and no other's.
    fn consumes(&mut self, stream: &str, consumer: &str) {
        self.may_publish([
            format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            format!("$JS.ACK.{stream}.{consumer}.>"),
        ]);
    }
}

/// A worker's: answers its own requests, announces its own facts, follows what its table says.
pub fn worker(table: &Table) -> Permissions {
    let service = table.service;
    let mut rights = Permissions::new(&format!("_INBOX_{service}"));
    rights.answers = true;
    rights.checks_tokens();
    rights.may_publish([format!("evt.{service}.>"), format!("audit.{service}.>"), subject::wake(service)]);
    // each process asks itself at start whether it can be found
    rights.may_publish([subject::discovery("PING", Some(service), Some(&"*"))]);
    rights.may_publish(table.calls.iter().copied());
    rights.may_publish(table.publishes.iter().copied());
    rights.may_subscribe([subject::wake(service)]);
    rights.may_subscribe(table.hears.iter().copied());
    rights.may_subscribe(table.answers.iter().map(|answered| format!("{answered} {QUEUE}")));
    for verb in ["PING", "INFO", "STATS"] {
        rights.may_subscribe([
            subject::discovery(verb, None, None),
            subject::discovery(verb, Some(service), None),
            subject::discovery(verb, Some(service), Some(&"*")),
        ]);
    }
    if !table.follows.is_empty() {
        rights.consumes("EVENTS", service);
        rights.may_publish([subject::dead("EVENTS", service)]);
    }
    if !table.commands.is_empty() {
        rights.consumes("COMMANDS", service);
        rights.may_publish([subject::dead("COMMANDS", service)]);
    }
    if !table.timers.is_empty() {
        let stream = subject::timer_stream(service);
        rights.consumes(&stream, "due");
        // the repair asks whether the stream is still the one that it knows
        rights.may_publish([format!("$JS.API.STREAM.INFO.{stream}")]);
        rights.may_publish([format!("timers.{service}.at.>"), format!("timers.{service}.due.*")]);
        rights.may_publish([subject::dead(&stream, "due")]);
    }
    for drain in &table.drains {
        rights.consumes(drain.stream, drain.consumer);
        rights.may_publish([subject::dead(drain.stream, drain.consumer)]);
    }
    rights.sorted()
}

/// The gateway's: asks every service, answers nobody, looks on at what concerns the safety of accounts.
pub fn gateway() -> Permissions {
    let mut rights = Permissions::new("_INBOX_gateway");
    rights.checks_tokens();
    rights.may_publish(["svc.*.>"]);
    // a circuit asks a service that fell silent whether it is there
    rights.may_publish([subject::discovery("PING", Some("*"), None)]);
    // the security feed reads facts of identity, and makes no consumer
    rights.may_publish(["$JS.API.STREAM.INFO.EVENTS", "$JS.API.DIRECT.GET.EVENTS"]);
    rights.may_subscribe(["evt.identity.v1.>"]);
    rights.sorted()
}

/// The provisioner's: streams, consumers, buckets, and who is there.
pub fn admin() -> Permissions {
    let mut rights = Permissions::new("_INBOX_admin");
    rights.may_publish(["$JS.API.>", "$SRV.>"]);
    rights.sorted()
}

/// Identity's while it erases a person: looks at messages and deletes them, and nothing else (architecture §13).
pub fn eraser() -> Permissions {
    let mut rights = Permissions::new("_INBOX_eraser");
    for stream in ["EVENTS", "PLAYBACK", "DEAD"] {
        rights.may_publish(["GET", "DELETE"].map(|verb| format!("$JS.API.STREAM.MSG.{verb}.{stream}")));
    }
    rights.sorted()
}

/// The development tools user's: asks everything, reads every fact, looks at streams. It may use the default inbox, so
/// that the nats CLI works without options.
pub fn development_tools() -> Permissions {
    let mut rights = Permissions::new("_INBOX");
    rights.may_publish(["svc.>", "$SRV.>"]);
    rights.may_publish([
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS.>",
        "$JS.API.STREAM.MSG.GET.AUDIT",
        "$JS.API.DIRECT.GET.AUDIT",
        "$JS.API.DIRECT.GET.AUDIT.>",
        "$JS.API.CONSUMER.NAMES.*",
        "$JS.API.CONSUMER.LIST.*",
        "$JS.API.CONSUMER.INFO.*.*",
    ]);
    rights.may_subscribe(["_INBOX_tools.>", "evt.>"]);
    rights.sorted()
}

/// An internal tool's: calls what it was given, takes facts through its own durable consumer.
pub fn tool(tool: &Tool) -> Permissions {
    let mut rights = Permissions::new(&format!("_INBOX_{}", tool.name));
    rights.may_publish(tool.calls.iter().cloned());
    rights.may_publish(tool.publishes.iter().cloned());
    rights.may_publish(["$SRV.PING", "$SRV.INFO", "$SRV.STATS"]);
    if !tool.follows.is_empty() {
        rights.consumes("EVENTS", &tool.consumer());
    }
    rights.sorted()
}
