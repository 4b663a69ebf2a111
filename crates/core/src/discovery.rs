//! `$SRV.PING|INFO|STATS` in the ADR-32 schemas, so that `nats micro ls|info|stats` work; fed by our own counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Message;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::StreamExt;
use futures_util::stream::select_all;
use lectern_subjects::{Access, subject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::Error;
use crate::health::Health;
use crate::host::QUEUE;
use crate::service::Service;

/// Counters of one service in one process.
pub(crate) struct Stats {
    pub service: &'static str,
    pub instance: String,
    started: DateTime<Utc>,
    endpoints: Vec<Counters>,
}

struct Counters {
    subject: &'static str,
    requests: AtomicU64,
    errors: AtomicU64,
    shed: AtomicU64,
    expired: AtomicU64,
    busy_ns: AtomicU64,
    waited_ns: AtomicU64,
    last_error: Mutex<String>,
}

impl Stats {
    pub fn new<A: Clone + Send + Sync + 'static>(
        service: &Service<A>,
        instance: &str,
        started: DateTime<Utc>,
    ) -> Stats {
        let endpoints = service
            .endpoints
            .iter()
            .map(|endpoint| Counters {
                subject: endpoint.subject,
                requests: AtomicU64::new(0),
                errors: AtomicU64::new(0),
                shed: AtomicU64::new(0),
                expired: AtomicU64::new(0),
                busy_ns: AtomicU64::new(0),
                waited_ns: AtomicU64::new(0),
                last_error: Mutex::default(),
            })
            .collect();
        Stats { service: service.name(), instance: instance.to_owned(), started, endpoints }
    }

    /// A request was answered; `refused` is the status of a refusal.
    pub fn answered(&self, endpoint: usize, waited: Duration, took: Duration, refused: Option<u16>) {
        let counters = &self.endpoints[endpoint];
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.busy_ns.fetch_add(nanos(took), Ordering::Relaxed);
        counters.waited_ns.fetch_add(nanos(waited), Ordering::Relaxed);
        let outcome = match refused {
            None => "ok",
            Some(status) if status < 500 => "refused",
            Some(_) => "failed",
        };
        if let Some(status) = refused {
            counters.errors.fetch_add(1, Ordering::Relaxed);
            *counters.last_error.lock().unwrap_or_else(PoisonError::into_inner) = status.to_string();
        }
        let labels = [("subject", counters.subject), ("outcome", outcome)];
        metrics::counter!("service_requests_total", &labels).increment(1);
        metrics::histogram!("service_request_duration_seconds", "subject" => counters.subject).record(took);
        metrics::histogram!("service_queue_wait_seconds", "service" => self.service).record(waited);
    }

    /// A request was shed because the queue is full.
    pub fn shed(&self, endpoint: usize) {
        self.endpoints[endpoint].shed.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("service_shed_total", "service" => self.service).increment(1);
    }

    /// A request came after its deadline and was dropped.
    pub fn expired(&self, endpoint: usize) {
        self.endpoints[endpoint].expired.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("service_expired_total", "service" => self.service).increment(1);
    }

    fn head(&self, kind: &str) -> Value {
        json!({
            "type": format!("io.nats.micro.v1.{kind}_response"),
            "name": self.service,
            "id": self.instance,
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": { "lectern": "worker" },
        })
    }

    fn info(&self) -> Value {
        let mut info = self.head("info");
        info["description"] = json!(format!("Lectern {}", self.service));
        info["endpoints"] = self
            .endpoints
            .iter()
            .map(|c| json!({ "name": name(c.subject), "subject": c.subject, "queue_group": QUEUE, "metadata": metadata(c.subject) }))
            .collect();
        info
    }

    fn stats(&self, health: &Health) -> Value {
        let mut stats = self.head("stats");
        stats["started"] = json!(self.started.to_rfc3339_opts(SecondsFormat::Micros, true));
        let not_ready = health.of(self.service);
        stats["endpoints"] = self
            .endpoints
            .iter()
            .map(|c| {
                let (requests, busy) =
                    (c.requests.load(Ordering::Relaxed), c.busy_ns.load(Ordering::Relaxed));
                json!({
                    "name": name(c.subject),
                    "subject": c.subject,
                    "queue_group": QUEUE,
                    "num_requests": requests,
                    "num_errors": c.errors.load(Ordering::Relaxed),
                    "last_error": *c.last_error.lock().unwrap_or_else(PoisonError::into_inner),
                    "processing_time": busy,
                    "average_processing_time": busy.checked_div(requests).unwrap_or(0),
                    "data": {
                        "waited_ns": c.waited_ns.load(Ordering::Relaxed),
                        "shed": c.shed.load(Ordering::Relaxed),
                        "expired": c.expired.load(Ordering::Relaxed),
                        "not_ready": not_ready,
                    },
                })
            })
            .collect();
        stats
    }
}

/// Answers discovery requests until told to stop; also while the service itself is not ready.
pub(crate) async fn answer(
    core: App,
    stats: Arc<Stats>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut subscriptions = Vec::with_capacity(9);
    for verb in ["PING", "INFO", "STATS"] {
        let names = [
            subject::discovery(verb, None, None),
            subject::discovery(verb, Some(stats.service), None),
            subject::discovery(verb, Some(stats.service), Some(&stats.instance)),
        ];
        for name in names {
            let subscribed =
                core.bus().client().subscribe(name).await.map_err(|e| Error::Broker(e.to_string()))?;
            subscriptions.push(subscribed.map(move |message| (verb, message)));
        }
    }
    let mut requests = select_all(subscriptions);
    loop {
        tokio::select! {
            request = requests.next() => match request {
                Some((verb, message)) => reply(&core, &message, match verb {
                    "PING" => stats.head("ping"),
                    "INFO" => stats.info(),
                    _ => stats.stats(&health),
                }).await,
                None => return Ok(()),
            },
            () = stop.cancelled() => return Ok(()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "discovery answers are published as they are")]
async fn reply(core: &App, message: &Message, body: Value) {
    if let Some(reply) = message.reply.clone()
        && let Err(error) = core.bus().client().publish(reply, body.to_string().into()).await
    {
        tracing::warn!(%error, "a discovery answer could not be sent");
    }
}

/// `courses_create` of `svc.courses.v1.courses.create`: endpoint names are tokens (ADR-32); a later version says so.
fn name(subject: &str) -> String {
    match subject::request(subject) {
        Some((_, "v1", resource, verb)) => format!("{resource}_{verb}"),
        Some((_, version, resource, verb)) => format!("{resource}_{verb}_{version}"),
        None => subject.replace('.', "_"),
    }
}

fn metadata(subject: &str) -> Value {
    let Some(info) = lectern_subjects::request(subject) else {
        return json!({});
    };
    let mut generator = schemars::SchemaGenerator::default();
    let mut schema = (info.request_schema)(&mut generator).to_value();
    schema["$defs"] = generator.take_definitions(true).into();
    json!({
        "request": info.name,
        "summary": info.summary.trim(),
        "access": format!("{:?}", info.access),
        "roles": needed_roles(info.access),
        "effect": format!("{:?}", info.effect),
        "schema": schema.to_string(),
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The roles of which one is needed, separated by spaces; empty when it takes none.
fn needed_roles(access: Access) -> String {
    let roles: Vec<&str> = access.needs().unwrap_or_default().iter().map(|role| role.name()).collect();
    roles.join(" ")
}
