//! A worker's table of contents, as data: what it answers, follows, owns and drains. Running, NATS permissions, consumers,
//! documents and the completeness tests all read this table.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use lectern_subjects::{
    Access, CommonRefusal, Effect, Envelope, Fact, Problem, Refusal, Refused, Reply, Request, decode,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::call::Call;
use crate::error::{Fault, Followed, Outcome, Unhandled};
use crate::export::Held;
use crate::tx::Tx;

/// One worker.
pub struct Service<A> {
    name: &'static str,
    pub(crate) endpoints: Vec<Endpoint<A>>,
    pub(crate) followers: Vec<Follower<A>>,
    pub(crate) commands: Vec<Follower<A>>,
    pub(crate) timers: Vec<Timer<A>>,
    pub(crate) drains: Vec<DrainOf<A>>,
    calls: Vec<&'static str>,
    publishes: Vec<&'static str>,
    hears: Vec<&'static str>,
    sweeps: Vec<Sweep<A>>,
    holds: &'static [Held],
}

/// What a handler came to, before it is put on the wire.
pub(crate) enum Came {
    /// An answer, with the entity's version.
    Answer(Vec<u8>, Option<i64>),
    /// A refusal, with `Retry-After` in seconds.
    Refused(Box<Problem>, Option<u32>),
    /// Our fault.
    Broken(anyhow::Error),
}

pub(crate) type Handler<A> = Arc<dyn Fn(A, Call, Bytes) -> BoxFuture<'static, Came> + Send + Sync>;
pub(crate) type FactHandler<A> = Arc<dyn Fn(A, Tx, Bytes) -> BoxFuture<'static, Followed> + Send + Sync>;
pub(crate) type RingHandler<A> = Arc<dyn Fn(A, Tx, Ring) -> BoxFuture<'static, Followed> + Send + Sync>;
pub(crate) type DrainHandler<A> =
    Arc<dyn Fn(A, Vec<Drained>) -> BoxFuture<'static, anyhow::Result<Vec<Verdict>>> + Send + Sync>;
pub(crate) type SweepHandler<A> = Arc<dyn Fn(A) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

pub(crate) struct Endpoint<A> {
    pub subject: &'static str,
    pub access: Access,
    pub effect: Effect,
    pub handler: Handler<A>,
}

/// A kind of fact that a worker follows, or of command that it obeys.
pub(crate) struct Follower<A> {
    /// The fact's subject without its key; the command's verb.
    pub subject: &'static str,
    pub handler: FactHandler<A>,
}

pub(crate) struct Timer<A> {
    pub kind: &'static str,
    pub handler: RingHandler<A>,
}

pub(crate) struct DrainOf<A> {
    pub drain: Drain,
    pub handler: DrainHandler<A>,
}

pub(crate) struct Sweep<A> {
    pub name: &'static str,
    pub every: Duration,
    pub handler: SweepHandler<A>,
}

/// A timer that rang: the row is marked fired in the handler's transaction.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Which timer.
    pub kind: &'static str,
    /// What it is about.
    pub entity: Uuid,
    /// When it was due; now is never before it.
    pub due_at: DateTime<Utc>,
}

/// A stream that a worker drains in batches through a durable consumer.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// The stream.
    pub stream: &'static str,
    /// The durable consumer's name.
    pub consumer: &'static str,
    /// The subjects it takes.
    pub filter: &'static str,
    /// Most messages per batch, 1 to 1000.
    pub batch: usize,
}

/// One message of a drained stream.
#[derive(Debug, Clone)]
pub struct Drained {
    /// The stored subject.
    pub subject: String,
    /// The body.
    pub payload: Bytes,
    /// Its place in the stream.
    pub stream_sequence: u64,
    /// When the stream stored it.
    pub stored_at: DateTime<Utc>,
    /// How often it was delivered, from 1.
    pub delivered: i64,
    /// W3C `traceparent`.
    pub trace: Option<String>,
}

/// What becomes of one drained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its effect is committed (or it had it before).
    Done,
    /// Try again later.
    Again(String),
    /// To the dead letters.
    Never(String),
}

impl<A: Clone + Send + Sync + 'static> Service<A> {
    /// A worker with nothing in it yet. `name` is the service's name in the contract.
    pub fn new(name: &'static str) -> Service<A> {
        Service {
            name,
            endpoints: Vec::new(),
            followers: Vec::new(),
            commands: Vec::new(),
            timers: Vec::new(),
            drains: Vec::new(),
            calls: Vec::new(),
            publishes: Vec::new(),
            hears: Vec::new(),
            sweeps: Vec::new(),
            holds: &[],
        }
    }

    /// Answers a request: which one, the handler's third parameter says.
    ///
    /// # Panics
    /// When the request has a handler already, or is another service's.
    pub fn on<R, F, Fut>(mut self, handler: F) -> Self
    where
        R: Request,
        F: Fn(A, Call, R) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Outcome<R>> + Send + 'static,
    {
        let own = format!("svc.{}.", self.name);
        assert!(R::SUBJECT.starts_with(&own), "{} is not a request of {}", R::SUBJECT, self.name);
        assert!(self.endpoints.iter().all(|e| e.subject != R::SUBJECT), "{} has two handlers", R::SUBJECT);
        let erased: Handler<A> = Arc::new(move |app, call, body| {
            let handler = handler.clone();
            Box::pin(async move {
                let now = call.now;
                let request: R = match decode(&body) {
                    Ok(request) => request,
                    Err(bad) => {
                        return Came::Refused(Box::new(Problem::new(bad.code, bad.details, now)), None);
                    }
                };
                match handler(app, call, request).await {
                    Ok(reply) => match serde_json::to_vec(&reply) {
                        Ok(body) => Came::Answer(body, reply.version()),
                        Err(error) => Came::Broken(error.into()),
                    },
                    Err(Fault::Refused(refused)) => refuse(&refused, now),
                    Err(Fault::Common(refused)) => refuse(&refused, now),
                    Err(Fault::Broken(error)) => Came::Broken(error),
                }
            })
        });
        self.endpoints.push(Endpoint {
            subject: R::SUBJECT,
            access: R::ACCESS,
            effect: R::EFFECT,
            handler: erased,
        });
        self
    }

    /// Follows a fact: which one, the handler's third parameter says. The handler's transaction already holds the inbox
    /// row, so that a redelivery has no effect.
    ///
    /// # Panics
    /// When the fact is followed already.
    pub fn follow<F, H, Fut>(mut self, handler: H) -> Self
    where
        F: Fact,
        H: Fn(A, Tx, Envelope<F>) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Followed> + Send + 'static,
    {
        assert!(self.followers.iter().all(|f| f.subject != F::SUBJECT), "{} is followed twice", F::SUBJECT);
        self.followers.push(Follower { subject: F::SUBJECT, handler: erase_type(handler) });
        self
    }

    /// Obeys a durable command (architecture §2): whoever may publish it, the broker's permissions say. The handler's
    /// transaction already holds the inbox row.
    ///
    /// # Panics
    /// When the verb has a handler already or is no subject token.
    pub fn command<C, H, Fut>(mut self, verb: &'static str, handler: H) -> Self
    where
        C: DeserializeOwned + Send + 'static,
        H: Fn(A, Tx, Envelope<C>) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Followed> + Send + 'static,
    {
        assert!(lectern_subjects::subject::is_token(verb), "{verb:?} is no subject token");
        assert!(self.commands.iter().all(|c| c.subject != verb), "command {verb} has two handlers");
        self.commands.push(Follower { subject: verb, handler: erase_type(handler) });
        self
    }

    /// Owns a kind of timer: the handler runs once per arming, not before it is due.
    ///
    /// # Panics
    /// When the kind has a handler already or is no subject token.
    pub fn timer<H, Fut>(mut self, kind: &'static str, handler: H) -> Self
    where
        H: Fn(A, Tx, Ring) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Followed> + Send + 'static,
    {
        assert!(lectern_subjects::subject::is_token(kind), "{kind:?} is no subject token");
        assert!(self.timers.iter().all(|t| t.kind != kind), "timer {kind} has two handlers");
        let erased: RingHandler<A> = Arc::new(move |app, tx, ring| Box::pin(handler(app, tx, ring)));
        self.timers.push(Timer { kind, handler: erased });
        self
    }

    /// Drains a stream: the handler gets batches and says of each message what becomes of it. An error is "again" for
    /// the whole batch.
    pub fn drain<H, Fut>(mut self, drain: Drain, handler: H) -> Self
    where
        H: Fn(A, Vec<Drained>) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = anyhow::Result<Vec<Verdict>>> + Send + 'static,
    {
        let erased: DrainHandler<A> = Arc::new(move |app, batch| Box::pin(handler(app, batch)));
        self.drains.push(DrainOf { drain, handler: erased });
        self
    }

    /// Does something at start and then regularly, in every process of the role: must be safe to run in several at once.
    pub fn sweep<H, Fut>(mut self, name: &'static str, every: Duration, handler: H) -> Self
    where
        H: Fn(A) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let erased: SweepHandler<A> = Arc::new(move |app| Box::pin(handler(app)));
        self.sweeps.push(Sweep { name, every, handler: erased });
        self
    }

    /// Asks another service: gives this role's NATS user the right to.
    pub fn calls<R: Request>(mut self) -> Self {
        self.calls.push(R::SUBJECT);
        self
    }

    /// Publishes to subjects of its own besides facts, timers and dead letters, for example `play.v1.*.*`.
    pub fn publishes(mut self, subject: &'static str) -> Self {
        self.publishes.push(subject);
        self
    }

    /// Hears these facts as they pass, for a [`Cache`](crate::cache::Cache): gives this role's NATS user the right to.
    pub fn hears(mut self, facts: &'static str) -> Self {
        self.hears.push(facts);
        self
    }

    /// Says which rows are somebody's: what its handler of `privacy.export` shows (`docs/privacy.md`).
    pub fn holds(mut self, rows: &'static [Held]) -> Self {
        self.holds = rows;
        self
    }

    /// The table without its handlers.
    pub fn table(&self) -> Table {
        Table {
            service: self.name,
            answers: self.endpoints.iter().map(|e| e.subject).collect(),
            follows: self.followers.iter().map(|f| f.subject).collect(),
            commands: self.commands.iter().map(|c| c.subject).collect(),
            timers: self.timers.iter().map(|t| t.kind).collect(),
            drains: self.drains.iter().map(|d| d.drain).collect(),
            calls: self.calls.clone(),
            publishes: self.publishes.clone(),
            hears: self.hears.clone(),
            holds: self.holds,
        }
    }

    pub(crate) fn take_sweeps(&mut self) -> Vec<Sweep<A>> {
        std::mem::take(&mut self.sweeps)
    }

    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// A handler of one type's messages as one of bytes.
fn erase_type<A, D, H, Fut>(handler: H) -> FactHandler<A>
where
    A: Send + 'static,
    D: DeserializeOwned + Send + 'static,
    H: Fn(A, Tx, Envelope<D>) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Followed> + Send + 'static,
{
    Arc::new(move |app, tx, body| {
        let handler = handler.clone();
        Box::pin(async move {
            let message: Envelope<D> =
                serde_json::from_slice(&body).map_err(|error| Unhandled::Never(error.into()))?;
            handler(app, tx, message).await
        })
    })
}

fn refuse<R: Refusal>(refused: &Refused<R>, now: DateTime<Utc>) -> Came {
    Came::Refused(Box::new(refused.problem(now)), refused.retry_after_s)
}

/// A common refusal as what a handler came to.
pub(crate) fn common(refusal: CommonRefusal, now: DateTime<Utc>) -> Came {
    refuse(&Refused::from(refusal), now)
}

/// A worker's table of contents without its handlers: for permissions, consumers, documents and tests.
#[derive(Debug, Clone)]
pub struct Table {
    /// The service.
    pub service: &'static str,
    /// The requests it answers.
    pub answers: Vec<&'static str>,
    /// The facts it follows, without their keys.
    pub follows: Vec<&'static str>,
    /// The verbs of the durable commands that it obeys.
    pub commands: Vec<&'static str>,
    /// The kinds of timers it owns.
    pub timers: Vec<&'static str>,
    /// The streams it drains.
    pub drains: Vec<Drain>,
    /// The requests it sends.
    pub calls: Vec<&'static str>,
    /// Other subjects it publishes to.
    pub publishes: Vec<&'static str>,
    /// Facts that it hears as they pass.
    pub hears: Vec<&'static str>,
    /// The rows of its schema that are somebody's.
    pub holds: &'static [Held],
}
