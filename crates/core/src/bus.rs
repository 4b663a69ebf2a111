//! The bus: one connection per role, requests with a deadline, publishes that are acknowledged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use async_nats::Message;
use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, StatusCode};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use lectern_subjects::{Effect, Problem, Request, subject};
use tokio::sync::oneshot;

use crate::call::{self, Call, ClientInfo};
use crate::clock::Clock;
use crate::error::{CallError, Error};
use crate::reply;

/// Header of the absolute deadline, unix milliseconds.
pub const DEADLINE: &str = "Lectern-Deadline";
/// How long a request may take when nobody says otherwise (architecture §13).
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// One attempt of a read within its deadline.
const READ_ATTEMPT: Duration = Duration::from_millis(1500);
/// A retry costs ten requests' worth of budget: at most 10 % more load (`spec/reliability.md` K2).
const RETRY_COST: i64 = 10;
const RETRY_BUDGET: i64 = 1000;
/// How long a ping waits for a place among what is to be sent.
const PING_PATIENCE: Duration = Duration::from_millis(100);

/// How a role connects.
#[derive(Clone)]
pub struct BusConfig {
    /// Comma-separated server URLs.
    pub url: String,
    /// The role's name: part of the connection's name and the inbox prefix.
    pub role: String,
    /// This process's id within the role.
    pub instance: String,
    /// The role's nkey seed; none for a server without authorisation.
    pub nkey: Option<String>,
}

/// A connection to the bus; cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    clock: Clock,
    role: String,
    replies: Arc<Replies>,
    budget: AtomicI64,
    signals: Arc<Signals>,
}

/// What the connection reported on the side: permission violations and slow consumers arrive as events only.
#[derive(Default)]
struct Signals {
    slow_consumer: AtomicBool,
    violations: AtomicU64,
    dropped: AtomicU64,
}

/// Answers under way. Ours, because the client's own map keeps an entry for ever when a request times out (nats.rs #1617).
struct Replies {
    prefix: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

/// Removes its entry when the request is answered, times out or is cancelled.
struct Waiting {
    replies: Arc<Replies>,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.replies.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What travels with a request besides its body.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The caller's token.
    pub token: Option<Arc<str>>,
    /// From where the caller came.
    pub client: ClientInfo,
    /// After this moment nobody waits for the answer.
    pub deadline: DateTime<Utc>,
    /// The id for the logs.
    pub request_id: Arc<str>,
    /// W3C `traceparent`.
    pub trace: Option<Arc<str>>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `If-Match`, as it came.
    pub if_match: Option<String>,
    /// `X-Min-Version`: nothing older is to be answered.
    pub min_version: Option<i64>,
}

impl Outgoing {
    /// What a handler's own requests carry: its caller's token, its deadline, its trace.
    pub fn of(call: &Call) -> Outgoing {
        Outgoing {
            token: call.token.clone(),
            client: call.client.clone(),
            deadline: call.deadline,
            request_id: call.request_id.clone(),
            trace: call.trace.clone(),
            idempotency_key: None,
            if_match: None,
            min_version: None,
        }
    }

    /// A request of a process's own, on nobody's behalf.
    pub fn own(clock: &Clock) -> Outgoing {
        Outgoing {
            token: None,
            client: ClientInfo::default(),
            deadline: clock.now() + DEFAULT_DEADLINE,
            request_id: clock.new_id().to_string().into(),
            trace: None,
            idempotency_key: None,
            if_match: None,
            min_version: None,
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(DEADLINE, self.deadline.timestamp_millis().to_string().as_str());
        headers.insert("X-Request-Id", &*self.request_id);
        if let Some(token) = &self.token {
            headers.insert("Authorization", format!("Bearer {token}").as_str());
        }
        if let Some(address) = self.client.address {
            headers.insert(call::CLIENT_ADDRESS, address.to_string().as_str());
        }
        if let Some(agent) = &self.client.agent {
            headers.insert(call::CLIENT_AGENT, &**agent);
        }
        if let Some(trace) = &self.trace {
            headers.insert("traceparent", &**trace);
        }
        if let Some(key) = &self.idempotency_key {
            headers.insert("Idempotency-Key", key.as_str());
        }
        if let Some(version) = &self.if_match {
            headers.insert("If-Match", version.as_str());
        }
        if let Some(version) = self.min_version {
            headers.insert(call::MIN_VERSION, version.to_string().as_str());
        }
        headers
    }
}

impl Bus {
    /// Connects, and keeps connecting: returns at once, readiness tells when it is there.
    ///
    /// # Errors
    /// When the URL or the nkey can't be read.
    pub async fn connect(config: &BusConfig, clock: Clock) -> Result<Bus, Error> {
        let signals = Arc::new(Signals::default());
        let seen = signals.clone();
        let role = config.role.clone();
        let mut options = match &config.nkey {
            Some(seed) => ConnectOptions::with_nkey(seed.clone()),
            None => ConnectOptions::new(),
        };
        options = options
            .name(format!("lectern/{}/{}", config.role, config.instance))
            .custom_inbox_prefix(format!("_INBOX_{}", config.role))
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(2))
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(Duration::from_secs(2)))
            .subscription_capacity(4096)
            .reconnect_delay_callback(|attempt| {
                let base = 20_u64.saturating_mul(1 << attempt.min(7));
                Duration::from_millis(base / 2 + rand::random_range(0..=base / 2))
            })
            .event_callback(move |event| {
                let (seen, role) = (seen.clone(), role.clone());
                async move { seen.note(&role, &event) }
            });
        let servers: Vec<async_nats::ServerAddr> = config
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|e| Error::Broker(format!("NATS_URL {:?}: {e}", config.url)))?;
        let client = options.connect(servers).await.map_err(|e| Error::Broker(e.to_string()))?;
        let jetstream =
            jetstream::ContextBuilder::new().timeout(Duration::from_millis(1500)).build(client.clone());
        let replies = Arc::new(Replies {
            prefix: format!("{}.", client.new_inbox()),
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
        });
        let role = config.role.clone();
        let budget = AtomicI64::new(RETRY_BUDGET);
        let bus = Inner { client, jetstream, clock, role, replies, budget, signals };
        bus.receive_replies().await?;
        Ok(Bus(Arc::new(bus)))
    }

    /// Ends the connection; for one that was made for a single errand. A dropped bus would stay connected.
    pub async fn close(self) {
        let _already_gone = self.0.client.drain().await;
    }

    /// The client itself; for core only.
    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// JetStream; for core and provisioning.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.0.jetstream
    }

    /// The role that it is the connection of.
    pub fn role(&self) -> &str {
        &self.0.role
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Whether the connection is up right now.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// Whether the server dropped messages because we read too slowly since the last time this was asked.
    pub(crate) fn took_slow_consumer(&self) -> bool {
        self.0.signals.slow_consumer.swap(false, Ordering::Relaxed)
    }

    /// How often messages were dropped because we read too slowly.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.signals.dropped.load(Ordering::Relaxed)
    }

    /// How often the server refused us a subject; anything but 0 is a fault of the permissions.
    pub fn permission_violations(&self) -> u64 {
        self.0.signals.violations.load(Ordering::Relaxed)
    }

    /// Asks another service, as the caller of `call`, within its deadline.
    ///
    /// # Errors
    /// [`CallError`]: refused, unavailable (nothing was done), or no answer in time (the outcome is unknown).
    pub async fn call<R: Request>(&self, call: &Call, request: &R) -> Result<R::Reply, CallError> {
        self.call_with::<R>(Outgoing::of(call), request).await
    }

    /// Asks another service with headers of one's own making.
    ///
    /// # Errors
    /// As [`Bus::call`].
    pub async fn call_with<R: Request>(
        &self,
        outgoing: Outgoing,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        let body = serde_json::to_vec(request).map_err(|e| CallError::Unreadable(e.to_string()))?;
        let message = self.request(R::SUBJECT, R::EFFECT, &outgoing, body.into()).await?;
        if refusal_status(&message).is_some() {
            let problem: Problem =
                serde_json::from_slice(&message.payload).map_err(|e| CallError::Unreadable(e.to_string()))?;
            return Err(CallError::Refused(Box::new(problem)));
        }
        serde_json::from_slice(&message.payload).map_err(|e| CallError::Unreadable(e.to_string()))
    }

    /// Sends one request and waits for its answer, retrying what is safe to retry within the deadline and the budget:
    /// always when nobody listened or the request was shed, on silence only for reads and for writes with a key.
    ///
    /// # Errors
    /// [`CallError::Unavailable`] or [`CallError::Timeout`]; a refusal is an answer here.
    pub async fn request(
        &self,
        subject: &str,
        effect: Effect,
        outgoing: &Outgoing,
        body: Bytes,
    ) -> Result<Message, CallError> {
        let repeatable =
            effect == Effect::Read || (effect == Effect::Write && outgoing.idempotency_key.is_some());
        let headers = outgoing.headers();
        // whether an attempt that nobody answered may have changed something
        let mut unknown = false;
        for attempt in 1.. {
            let left = (outgoing.deadline - self.0.clock.now()).to_std().unwrap_or_default();
            if left.is_zero() {
                return Err(CallError::Timeout);
            }
            let patience = if repeatable && attempt < 3 { left.min(READ_ATTEMPT) } else { left };
            let answer = self.attempt(subject, headers.clone(), body.clone(), patience).await;
            let shed = answer
                .as_ref()
                .is_ok_and(|message| message.headers.as_ref().is_some_and(|h| h.get(reply::SHED).is_some()));
            let (again, undone) = match &answer {
                Ok(_) => (shed, shed),
                Err(CallError::Unavailable(_)) => (true, true),
                Err(CallError::Timeout) => (repeatable, false),
                Err(_) => (false, false),
            };
            let pause = Duration::from_millis(rand::random_range(20..=60) * attempt);
            if !again || attempt >= 3 || pause >= left || !self.spend_retry() {
                // this attempt did nothing, but an earlier one may have
                return if undone && unknown { Err(CallError::Timeout) } else { answer };
            }
            unknown |= effect != Effect::Read && !undone;
            tokio::time::sleep(pause).await;
        }
        unreachable!("the loop ends at the third attempt")
    }

    async fn attempt(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<Message, CallError> {
        self.0.earn_retry();
        self.exchange(subject, headers, body, patience).await
    }

    /// One message out, one message back.
    pub(crate) async fn exchange(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<Message, CallError> {
        // a request that is queued while the connection is away would be delivered after its caller has gone
        if !self.is_connected() {
            return Err(CallError::Unavailable("not connected to the broker".to_owned()));
        }
        let replies = &self.0.replies;
        let id = replies.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        replies.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let _entry = Waiting { replies: replies.clone(), id };
        self.0
            .client
            .publish_with_reply_and_headers(
                subject.to_owned(),
                format!("{}{id}", replies.prefix),
                headers,
                body,
            )
            .await
            .map_err(|e| CallError::Unavailable(e.to_string()))?;
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err(CallError::Unavailable(format!("nobody answers {subject}")))
            }
            Ok(Ok(message)) => Ok(message),
            Ok(Err(_)) | Err(_) => Err(CallError::Timeout),
        }
    }

    /// Whether any process of a service answers `$SRV.PING` within this time: that it lives, not that it is ready.
    pub async fn is_there(&self, service: &str, patience: Duration) -> bool {
        let ping = subject::discovery("PING", Some(service), None);
        self.exchange(&ping, HeaderMap::new(), Bytes::new(), patience).await.is_ok()
    }

    /// A message that may be lost: the outbox holds what it tells of. One that is queued while the connection is away goes
    /// before the answer that is queued after it.
    #[expect(clippy::disallowed_methods, reason = "pings may be lost")]
    pub(crate) async fn ping(&self, subject: String, body: Bytes) {
        let queued = self.0.client.publish(subject, body);
        let _lost = tokio::time::timeout(PING_PATIENCE, queued).await;
    }

    /// Opens a key-value bucket.
    ///
    /// # Errors
    /// [`Error::Broker`] when it is not there or not permitted.
    pub async fn bucket(&self, name: &str) -> Result<jetstream::kv::Store, Error> {
        self.0.jetstream.get_key_value(name).await.map_err(|e| Error::Broker(e.to_string()))
    }

    fn spend_retry(&self) -> bool {
        self.0
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= RETRY_COST).then(|| left - RETRY_COST)
            })
            .is_ok()
    }
}

impl Inner {
    fn earn_retry(&self) {
        let _full = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < RETRY_BUDGET).then_some(left + 1)
        });
    }

    /// One subscription for all answers.
    async fn receive_replies(&self) -> Result<(), Error> {
        let mut inbox = self
            .client
            .subscribe(format!("{}*", self.replies.prefix))
            .await
            .map_err(|e| Error::Broker(e.to_string()))?;
        let replies = self.replies.clone();
        tokio::spawn(async move {
            while let Some(message) = inbox.next().await {
                let id = message.subject.strip_prefix(replies.prefix.as_str()).and_then(|id| id.parse().ok());
                let waiting = id.and_then(|id: u64| {
                    replies.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
                });
                if let Some(waiting) = waiting {
                    let _gave_up = waiting.send(message);
                }
            }
        });
        Ok(())
    }
}

impl Signals {
    fn note(&self, role: &str, event: &Event) {
        let kind = match event {
            Event::Connected => "connected",
            Event::Disconnected => "disconnected",
            Event::LameDuckMode => "lame_duck",
            Event::Draining => "draining",
            Event::Closed => "closed",
            Event::SlowConsumer(_) => {
                self.slow_consumer.store(true, Ordering::Relaxed);
                self.dropped.fetch_add(1, Ordering::Relaxed);
                "slow_consumer"
            }
            Event::ServerError(_) => "server_error",
            Event::ClientError(_) => "client_error",
        };
        metrics::counter!("nats_events_total", "role" => role.to_owned(), "kind" => kind).increment(1);
        match event {
            Event::ServerError(error) => {
                if error.to_string().to_ascii_lowercase().contains("permissions violation") {
                    self.violations.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("nats_permission_violations_total", "role" => role.to_owned())
                        .increment(1);
                }
                tracing::error!(role, %error, "the broker refused something");
            }
            Event::ClientError(error) => tracing::warn!(role, %error, "connection to the broker"),
            Event::SlowConsumer(_) => {
                tracing::error!(role, "messages were dropped: this process reads too slowly")
            }
            _ => tracing::info!(role, kind, "connection to the broker"),
        }
    }
}

/// The status of a refusal; none for a success.
pub fn refusal_status(message: &Message) -> Option<u16> {
    message.headers.as_ref()?.get(reply::ERROR_CODE)?.as_str().parse().ok()
}
