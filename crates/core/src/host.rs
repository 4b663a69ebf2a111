//! Hosts a service's requests on plain queue subscriptions: a bounded queue with an instant "overloaded", an absolute
//! deadline, and a stop that loses nothing (`spec/nats.md` §2, `spec/reliability.md` L9).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::{BoxFuture, CatchUnwind};
use futures_util::{FutureExt, StreamExt};
use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{Access, CommonRefusal, Effect, Problem, Refusal};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::app::App;
use crate::bus::{DEADLINE, DEFAULT_DEADLINE};
use crate::call::{Call, Caller, Claim, ClientInfo, MIN_VERSION, version_tag};
use crate::discovery::Stats;
use crate::error::{CallError, Error};
use crate::reply::Answer;
use crate::service::{Came, Endpoint, Service, common};
use crate::token::{TokenCheck, TokenFault};
use crate::{cache, consume, faults, idempotency, telemetry};

/// Queue group of every service.
pub(crate) const QUEUE: &str = "q";
/// Requests waiting in front of the handlers; the next one is shed.
const QUEUE_LENGTH: usize = 256;
/// Requests handled at once; the others wait in the order in which they came.
const CONCURRENCY: usize = 64;
/// Deliveries still taken after leaving a queue group: more than can be under way, so that none is dropped.
const LEAVE_AFTER: u64 = 256;
/// A slow subscription does not reach that count in this time; then a smaller one is enough. One that was idle for that
/// long may be drained: the client forgets a draining subscription before the broker has (`spec/nats.md` §2).
const LEAVE_PATIENCE: Duration = Duration::from_millis(1200);
/// Smaller counts that are tried before a plain drain.
const LEAVE_ROUNDS: u32 = 8;

/// What hosts one service in one process.
pub(crate) struct Host<A> {
    pub app: A,
    pub core: App,
    pub service: Arc<Service<A>>,
    pub tokens: TokenCheck,
    pub stats: Arc<Stats>,
}

/// Where requests are worked off: one task each, from the subscription to the answer.
struct Work {
    /// Waiting or handled.
    places: Arc<Semaphore>,
    /// Handled; fair, so that this is the queue.
    turns: Semaphore,
    tasks: TaskTracker,
}

/// A handler that was overtaken by its deadline.
type Unfinished = CatchUnwind<AssertUnwindSafe<BoxFuture<'static, Came>>>;

impl<A: Clone + Send + Sync + 'static> Host<A> {
    /// Joins the queue groups, says so, and answers until `leave` is cancelled; returns when the last answer is sent.
    pub async fn serve(
        self: &Arc<Self>,
        leave: CancellationToken,
        joined: impl FnOnce(),
    ) -> Result<(), Error> {
        let work = Arc::new(Work {
            places: Arc::new(Semaphore::new(QUEUE_LENGTH + CONCURRENCY)),
            turns: Semaphore::new(CONCURRENCY),
            tasks: TaskTracker::new(),
        });
        let mut readers = JoinSet::new();
        for (index, endpoint) in self.service.endpoints.iter().enumerate() {
            let subscriber = self
                .core
                .bus()
                .client()
                .queue_subscribe(endpoint.subject, QUEUE.to_owned())
                .await
                .map_err(|e| Error::Broker(format!("{}: {e}", endpoint.subject)))?;
            readers.spawn(self.clone().read(index, subscriber, work.clone(), leave.clone()));
        }
        let _flushed = self.core.bus().client().flush().await;
        joined();
        if readers.is_empty() {
            leave.cancelled().await;
        }
        while readers.join_next().await.is_some() {}
        work.tasks.close();
        work.tasks.wait().await;
        let _flushed = self.core.bus().client().flush().await;
        Ok(())
    }

    /// Reads one subscription and never waits for work: when every place is taken, that is answered at once.
    async fn read(
        self: Arc<Self>,
        endpoint: usize,
        mut subscriber: Subscriber,
        work: Arc<Work>,
        leave: CancellationToken,
    ) {
        let mut received: u64 = 0;
        loop {
            tokio::select! {
                message = subscriber.next() => {
                    let Some(message) = message else { return };
                    received += 1;
                    self.take(endpoint, message, &work).await;
                }
                () = leave.cancelled() => break,
            }
        }
        if subscriber.unsubscribe_after(received + LEAVE_AFTER).await.is_err() {
            return;
        }
        let patience = tokio::time::sleep(LEAVE_PATIENCE);
        tokio::pin!(patience);
        let (mut before, mut rounds, mut draining) = (received, 0, false);
        loop {
            tokio::select! {
                message = subscriber.next() => {
                    let Some(message) = message else { return };
                    received += 1;
                    self.take(endpoint, message, &work).await;
                }
                () = &mut patience => {
                    let came = received - before;
                    rounds += 1;
                    let left = if draining || came == 0 || rounds >= LEAVE_ROUNDS {
                        if std::mem::replace(&mut draining, true) {
                            return;
                        }
                        subscriber.drain().await
                    } else {
                        // too slow for that count: half of what just came is still far more than can be under way
                        subscriber.unsubscribe_after(received + (came / 2).clamp(2, LEAVE_AFTER)).await
                    };
                    if left.is_err() {
                        return;
                    }
                    before = received;
                    patience.as_mut().reset(tokio::time::Instant::now() + LEAVE_PATIENCE);
                }
            }
        }
    }

    /// Starts on a request, or answers that there are too many.
    async fn take(self: &Arc<Self>, endpoint: usize, message: Message, work: &Arc<Work>) {
        let arrived = Instant::now();
        let Ok(place) = work.places.clone().try_acquire_owned() else {
            self.stats.shed(endpoint);
            self.send(&message, Answer::shed(self.core.now())).await;
            return;
        };
        let (host, at) = (self.clone(), work.clone());
        work.tasks.spawn(async move {
            // never closed
            let Ok(turn) = at.turns.acquire().await else { return };
            host.answer(endpoint, &message, arrived).await;
            drop((turn, place));
        });
    }

    async fn answer(&self, index: usize, message: &Message, arrived: Instant) {
        let endpoint = &self.service.endpoints[index];
        let now = self.core.now();
        let deadline = deadline_of(message, now);
        if deadline <= now {
            self.stats.expired(index);
            return;
        }
        let waited = arrived.elapsed();
        let started = Instant::now();
        let span = telemetry::consumer_span(endpoint.subject, message.headers.as_ref());
        let request_id = request_id(message, self.core.clock());
        let (answer, unfinished) =
            self.handle(endpoint, message, &request_id, now, deadline).instrument(span.clone()).await;
        self.stats.answered(index, waited, started.elapsed(), answer.refused);
        if faults::hit("host.before_reply").await.is_ok() {
            self.send(message, answer).await;
        }
        if let Some(handler) = unfinished {
            // it goes on until its commit, which the deadline forbids: nothing is left half-written
            self.overtaken(endpoint, &request_id, handler).instrument(span).await;
        }
    }

    /// A handler's end after its deadline: nobody waits for what it answers, but what went wrong is heard of.
    async fn overtaken(&self, endpoint: &Endpoint<A>, request_id: &str, handler: Unfinished) {
        let error = match handler.await {
            Ok(Came::Answer(..) | Came::Refused(..)) => return,
            Ok(Came::Broken(error)) if matches!(error.downcast_ref(), Some(Error::DeadlinePassed)) => return,
            Ok(Came::Broken(error)) => error,
            Err(panic) => self.panicked(&*panic),
        };
        let (subject, error) = (endpoint.subject, format!("{error:#}"));
        tracing::error!(request_id, subject, error, "broken after its deadline");
    }

    fn panicked(&self, panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
        metrics::counter!("panics_total", "service" => self.service.name()).increment(1);
        anyhow::anyhow!(consume::panic_text(panic))
    }

    async fn handle(
        &self,
        endpoint: &Endpoint<A>,
        message: &Message,
        request_id: &Arc<str>,
        now: DateTime<Utc>,
        deadline: DateTime<Utc>,
    ) -> (Answer, Option<Unfinished>) {
        let mut call = Call {
            caller: None,
            token: None,
            client: ClientInfo::of(message.headers.as_ref()),
            now,
            deadline,
            request_id: request_id.clone(),
            trace: telemetry::current_traceparent().map(Arc::from),
            idempotency: None,
            if_match: None,
            min_version: None,
            existing: Arc::new(AtomicBool::new(false)),
        };
        let admitted = self.admit(endpoint, message, &mut call).await;
        telemetry::identify(request_id, call.caller.as_ref().map(|caller| &caller.user as _));
        let (came, unfinished) = match admitted {
            Ok(()) => self.run(endpoint, &call, message.payload.clone()).await,
            Err(came) => (came, None),
        };
        let answer = match came {
            Came::Answer(body, version) => {
                Answer::success(body, version, call.existing.load(std::sync::atomic::Ordering::Relaxed))
            }
            Came::Refused(mut problem, retry_after_s) => {
                problem.instance = Some(endpoint.subject.to_owned());
                problem.trace_id = telemetry::current_trace_id();
                tracing::debug!(request_id = &**request_id, code = problem.error_code, "refused");
                Answer::problem(&problem, retry_after_s)
            }
            Came::Broken(error) => self.broken(endpoint, request_id, &error, now),
        };
        (answer, unfinished)
    }

    /// Token, access rule, idempotency key, version: everything that is decided before the handler.
    async fn admit(&self, endpoint: &Endpoint<A>, message: &Message, call: &mut Call) -> Result<(), Came> {
        let now = call.now;
        let ignores_token = endpoint.access == Access::Public && endpoint.effect == Effect::Unkeyed;
        if let Some(header) = header(message, "Authorization").filter(|_| !ignores_token) {
            let token = bearer(header).ok_or_else(|| refused(IdentityRefusal::TokenInvalid, now))?;
            let caller = self.tokens.check(token).await.map_err(|fault| match fault {
                TokenFault::Refused(refused) => {
                    Came::Refused(Box::new(refused.problem(now)), refused.retry_after_s)
                }
                TokenFault::Unavailable(error) => {
                    tracing::warn!(%error, "a token can't be checked right now");
                    common(CommonRefusal::Unavailable, now)
                }
            })?;
            call.caller = Some(caller);
            call.token = Some(token.into());
        }
        check_access(endpoint.access, call.caller.as_deref(), now)?;
        call.if_match = header(message, "If-Match").and_then(version_tag);
        call.min_version = header(message, MIN_VERSION).and_then(version_tag);
        if let (Effect::Write, Some(key), Some(caller)) =
            (endpoint.effect, header(message, "Idempotency-Key"), &call.caller)
        {
            if !(1..=255).contains(&key.len()) || key.bytes().any(|b| b.is_ascii_control()) {
                let details = serde_json::json!([{ "pointer": "Idempotency-Key", "reason": "1 to 255 visible characters" }]);
                let problem = Problem::new(CommonRefusal::ValidationFailed.code(), Some(details), now);
                return Err(Came::Refused(Box::new(problem), None));
            }
            let mut fingerprint = [0; 32];
            fingerprint.copy_from_slice(digest(&SHA256, &message.payload).as_ref());
            let (actor, key) = (caller.user, key.to_owned());
            call.idempotency = Some(Arc::new(Claim { actor, request: endpoint.subject, key, fingerprint }));
        }
        Ok(())
    }

    /// The handler (a panic is a 500, not the end of the process), within the deadline, with the idempotency key looked
    /// up before, and after when somebody else committed it meanwhile. A handler that the deadline overtakes is handed
    /// back: it may be past its commit, with things to tell.
    async fn run(&self, endpoint: &Endpoint<A>, call: &Call, body: Bytes) -> (Came, Option<Unfinished>) {
        if let Some(came) = self.replay(call).await {
            return (came, None);
        }
        let left = call.time_left(self.core.now());
        let mut handler =
            AssertUnwindSafe((endpoint.handler)(self.app.clone(), call.clone(), body)).catch_unwind();
        let came = match tokio::time::timeout(left, &mut handler).await {
            Ok(Ok(came)) => came,
            Ok(Err(panic)) => Came::Broken(self.panicked(&*panic)),
            Err(_) => return (common(CommonRefusal::Timeout, call.now), Some(handler)),
        };
        let again = matches!(&came, Came::Broken(error)
            if matches!(error.downcast_ref(), Some(Error::Replay | Error::CommitUnknown(_))));
        match again {
            true => (self.replay(call).await.unwrap_or(came), None),
            false => (came, None),
        }
    }

    async fn replay(&self, call: &Call) -> Option<Came> {
        let claim = call.idempotency.as_ref()?;
        match idempotency::stored(self.core.pool(), claim, call.now).await {
            Ok(None) => None,
            Ok(Some(stored)) if !stored.same_request => {
                Some(common(CommonRefusal::IdempotencyConflict, call.now))
            }
            Ok(Some(stored)) => {
                // who did it may not have told the caches yet: nobody is told that it is done before they are
                self.core.wake_relay(cache::ping_of(stored.changed)).await;
                call.existing.store(stored.existing, std::sync::atomic::Ordering::Relaxed);
                Some(Came::Answer(stored.answer, stored.version))
            }
            Err(error) => Some(Came::Broken(error.into())),
        }
    }

    /// Our fault: logged once, here, and answered without detail.
    fn broken(
        &self,
        endpoint: &Endpoint<A>,
        request_id: &str,
        error: &anyhow::Error,
        now: DateTime<Utc>,
    ) -> Answer {
        let (refusal, retry_after_s) = classify(error);
        match refusal {
            CommonRefusal::Internal => {
                tracing::error!(
                    request_id,
                    subject = endpoint.subject,
                    error = format!("{error:#}"),
                    "broken"
                );
            }
            _ => tracing::warn!(
                request_id,
                subject = endpoint.subject,
                error = format!("{error:#}"),
                "not answered"
            ),
        }
        let mut problem = Problem::new(refusal.code(), None, now);
        problem.instance = Some(endpoint.subject.to_owned());
        problem.trace_id = telemetry::current_trace_id();
        Answer::problem(&problem, retry_after_s)
    }

    #[expect(clippy::disallowed_methods, reason = "answers are what a queue subscription publishes")]
    async fn send(&self, message: &Message, answer: Answer) {
        let Some(reply) = message.reply.clone() else { return };
        let client = self.core.bus().client();
        let sent = match answer.headers {
            Some(headers) => client.publish_with_headers(reply, headers, answer.body).await,
            None => client.publish(reply, answer.body).await,
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "an answer could not be sent");
        }
    }
}

fn classify(error: &anyhow::Error) -> (CommonRefusal, Option<u32>) {
    if let Some(error) = error.downcast_ref::<Error>() {
        return match error {
            Error::DeadlinePassed | Error::CommitUnknown(_) => (CommonRefusal::Timeout, None),
            Error::KeyInFlight => (CommonRefusal::IdempotencyInFlight, Some(1)),
            Error::StaleVersion(_) => (CommonRefusal::PreconditionFailed, None),
            error if error.is_transient() => (CommonRefusal::Unavailable, Some(1)),
            _ => (CommonRefusal::Internal, None),
        };
    }
    match error.downcast_ref::<CallError>() {
        Some(CallError::Unavailable(_)) => return (CommonRefusal::Unavailable, Some(1)),
        Some(CallError::Timeout) => return (CommonRefusal::Timeout, None),
        _ => {}
    }
    match error.downcast_ref::<sqlx::Error>() {
        Some(error) if transient(error) => (CommonRefusal::Unavailable, Some(1)),
        _ => (CommonRefusal::Internal, None),
    }
}

fn transient(error: &sqlx::Error) -> bool {
    // `Error::is_transient` owns the rule; sqlx errors are not Clone, so the kinds are compared by reference here
    matches!(
        error,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed
    ) || error.as_database_error().and_then(|e| e.code()).is_some_and(|code| {
        code.starts_with("08")
            || code.starts_with("53")
            || code.starts_with("57")
            || code.starts_with("40")
            || code == "55P03"
    })
}

fn check_access(access: Access, caller: Option<&Caller>, now: DateTime<Utc>) -> Result<(), Came> {
    let Some(needed) = access.needs() else { return Ok(()) };
    let Some(caller) = caller else { return Err(refused(IdentityRefusal::TokenInvalid, now)) };
    if needed.is_empty() || caller.has_any(needed) {
        return Ok(());
    }
    let problem = Problem::new(CommonRefusal::Forbidden.code(), Some(access.lacking()), now);
    Err(Came::Refused(Box::new(problem), None))
}

fn refused(refusal: impl Refusal, now: DateTime<Utc>) -> Came {
    Came::Refused(Box::new(Problem::new(refusal.code(), None, now)), None)
}

fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

/// The sender's deadline, never further away than a minute.
fn deadline_of(message: &Message, now: DateTime<Utc>) -> DateTime<Utc> {
    header(message, DEADLINE)
        .and_then(|ms| DateTime::from_timestamp_millis(ms.parse().ok()?))
        .unwrap_or(now + DEFAULT_DEADLINE)
        .min(now + TimeDelta::minutes(1))
}

fn request_id(message: &Message, clock: &crate::clock::Clock) -> Arc<str> {
    match header(message, "X-Request-Id") {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => id.into(),
        _ => clock.new_id().to_string().into(),
    }
}
