//! A transaction with an outbox: what is written and what is announced commit together, or not at all.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, SecondsFormat, Utc};
use lectern_subjects::id::UserId;
use lectern_subjects::{Envelope, Fact, Reply, subject};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::app::App;
use crate::call::{Call, Claim, ClientInfo};
use crate::error::{Committed, Error};
use crate::outbox::{self, Private, Row, audit_row, fact_row};
use crate::{cache, faults, idempotency};

/// Why a transaction runs: copied into what it announces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub actor: Option<UserId>,
    pub causation: Option<Uuid>,
    pub trace: Option<Arc<str>>,
    pub deadline: Option<DateTime<Utc>>,
    pub claim: Option<Arc<Claim>>,
    pub existing: Option<Arc<std::sync::atomic::AtomicBool>>,
    pub client: Option<ClientInfo>,
}

impl Cause {
    pub fn of_call(call: &Call) -> Cause {
        Cause {
            actor: call.caller.as_ref().map(|caller| caller.user),
            causation: None,
            trace: call.trace.clone(),
            deadline: Some(call.deadline),
            claim: call.idempotency.clone(),
            existing: Some(call.existing.clone()),
            client: Some(call.client.clone()),
        }
    }
}

/// A transaction. Dropped without a commit it changes nothing.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    app: App,
    cause: Cause,
    now: DateTime<Utc>,
    outgoing: Vec<Row>,
    /// The personal parts of the audit entries among them.
    private: Vec<Private>,
    /// Entities of which a fact is announced, each with its version.
    changed: Vec<(Uuid, i64)>,
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

impl Tx {
    /// The BEGIN runs in a task of its own: when its caller is cancelled halfway (a timeout, a client that hangs up), the
    /// task still sees it through and the connection returns to the pool clean (sqlx #4385).
    #[expect(clippy::disallowed_methods, reason = "the one place that begins transactions")]
    pub(crate) async fn begin(app: App, cause: Cause) -> Result<Tx, Error> {
        let pool = app.pool().clone();
        let begun = tokio::spawn(async move { pool.begin().await }).await;
        let inner = begun.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
        let now = app.now();
        let mut tx =
            Tx { inner, app, cause, now, outgoing: Vec::new(), private: Vec::new(), changed: Vec::new() };
        if let Some(claim) = tx.cause.claim.clone() {
            idempotency::claim(&mut tx, &claim, now).await?;
        }
        Ok(tx)
    }

    /// When the transaction began.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The app that it belongs to.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Who acts; none for a timer, a sweep or an anonymous request.
    pub fn actor(&self) -> Option<UserId> {
        self.cause.actor
    }

    /// Says who acts in a follower or timer: it is copied into the facts.
    pub fn set_actor(&mut self, actor: Option<UserId>) {
        self.cause.actor = actor;
    }

    /// Says from where the request came that is carried out only now: it is kept beside the audit entries.
    pub fn set_client(&mut self, client: ClientInfo) {
        self.cause.client = Some(client);
    }

    /// Says what led to this transaction: it is copied into the facts.
    pub(crate) fn set_causation(&mut self, causation: Uuid, trace: Option<String>) {
        self.cause.causation = Some(causation);
        self.cause.trace = trace.map(Arc::from);
    }

    /// Announces a fact about an entity that now has `version`. It is published after the commit, in the order of its key.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub async fn announce<F: Fact>(&mut self, fact: &F, version: i64) -> Result<(), Error> {
        let row = fact_row(self.app.service(), self.app.clock(), &self.cause, self.now, fact, version)?;
        self.changed.push((fact.key(), version));
        self.outgoing.push(row);
        Ok(())
    }

    /// Sends a durable command to a service: it is delivered after the commit, until it had its effect there, once.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub async fn command<C: Serialize>(
        &mut self,
        service: &str,
        verb: &'static str,
        key: Uuid,
        command: &C,
    ) -> Result<(), Error> {
        let id = self.app.clock().new_id();
        let subject = subject::command(service, verb, key);
        let body = Envelope {
            event_id: id,
            event_type: verb.to_owned(),
            version: "1.0.0".to_owned(),
            occurred_at: self.now,
            actor_id: self.cause.actor,
            subject_id: key,
            entity_version: 0,
            causation_id: self.cause.causation,
            trace: self.cause.trace.as_deref().map(str::to_owned),
            data: command,
        };
        let mut headers = json!({ "Nats-Msg-Id": id });
        if let Some(trace) = &self.cause.trace {
            headers["traceparent"] = json!(&**trace);
        }
        let payload = serde_json::to_vec(&body)?;
        let stream = "COMMANDS".to_owned();
        self.outgoing.push(Row { id, stream, subject: subject.clone(), key: subject, headers, payload });
        Ok(())
    }

    /// Writes an audit entry: no audit, no commit. `event_type` is `<entity>.<act>`, for example `user.role_changed`;
    /// `details` hold no personal data. From where the request came is kept beside it, not in it (architecture §13).
    ///
    /// # Errors
    /// [`Error::Json`].
    pub async fn audit(
        &mut self,
        event_type: &'static str,
        user: Option<UserId>,
        details: serde_json::Value,
    ) -> Result<(), Error> {
        let id = self.app.clock().new_id();
        let private_hash = match &self.cause.client {
            Some(client) if client.address.is_some() || client.agent.is_some() => {
                // whose address it is: the actor's; of an act by nobody, as near as we know, the user's
                let whose = self.cause.actor.or(user);
                let private = Private::new(id, whose, client);
                let hash = private.hash();
                self.private.push(private);
                Some(hash)
            }
            _ => None,
        };
        let (service, now) = (self.app.service(), self.now);
        let row = audit_row(service, &self.cause, now, id, event_type, user, details, private_hash)?;
        self.outgoing.push(row);
        Ok(())
    }

    /// Arms a timer, or moves it: one live timer per (kind, entity). It rings once, not before `due_at`.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::Json`].
    pub async fn arm(
        &mut self,
        kind: &'static str,
        entity: Uuid,
        due_at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let id = self.app.clock().new_id();
        let (timer, generation): (Uuid, i64) = sqlx::query_as(
            "INSERT INTO timers (id, kind, entity, due_at, generation, state, trace, armed_at)
             VALUES ($1, $2, $3, $4, 1, 'armed', $5, $6)
             ON CONFLICT (kind, entity) DO UPDATE
             SET due_at = excluded.due_at, generation = timers.generation + 1, state = 'armed',
                 trace = excluded.trace, armed_at = excluded.armed_at, fired_at = NULL, attempts = 0, retry_at = NULL
             RETURNING id, generation",
        )
        .bind(id)
        .bind(kind)
        .bind(entity)
        .bind(due_at)
        .bind(self.cause.trace.as_deref())
        .bind(self.now)
        .fetch_one(&mut *self.inner)
        .await?;
        self.schedule(timer, kind, entity, due_at, generation).await
    }

    /// Publishes the schedule of an armed timer again, for a stream that lost it.
    pub(crate) async fn schedule(
        &mut self,
        timer: Uuid,
        kind: &str,
        entity: Uuid,
        due_at: DateTime<Utc>,
        generation: i64,
    ) -> Result<(), Error> {
        let service = self.app.service();
        let id = self.app.clock().new_id();
        let at = subject::timer_at(service, kind, entity);
        let mut headers = json!({
            "Nats-Msg-Id": id,
            "Nats-Schedule": format!("@at {}", due_at.to_rfc3339_opts(SecondsFormat::Micros, true)),
            "Nats-Schedule-Target": subject::timer_due(service, kind),
            "Nats-Schedule-TTL": "72h",
        });
        if let Some(trace) = &self.cause.trace {
            headers["traceparent"] = json!(&**trace);
        }
        let body = serde_json::to_vec(
            &json!({ "timer": timer, "entity": entity, "generation": generation, "due": due_at }),
        )?;
        let stream = subject::timer_stream(service);
        self.outgoing.push(Row { id, stream, subject: at.clone(), key: at, headers, payload: body });
        Ok(())
    }

    /// Cancels a timer; one that is not armed stays as it is.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::Json`].
    pub async fn disarm(&mut self, kind: &'static str, entity: Uuid) -> Result<(), Error> {
        let cancelled = sqlx::query(
            "UPDATE timers SET state = 'cancelled', generation = generation + 1
             WHERE kind = $1 AND entity = $2 AND state = 'armed'",
        )
        .bind(kind)
        .bind(entity)
        .execute(&mut *self.inner)
        .await?;
        if cancelled.rows_affected() == 0 {
            return Ok(());
        }
        let service = self.app.service();
        let id = self.app.clock().new_id();
        let at = subject::timer_at(service, kind, entity);
        let headers = json!({ "Nats-Msg-Id": id, "Nats-Schedule-Next": "purge", "Nats-Scheduler": at });
        let body = serde_json::to_vec(&json!({ "cancelled": entity }))?;
        let (stream, due) = (subject::timer_stream(service), subject::timer_due(service, kind));
        self.outgoing.push(Row { id, stream, subject: due, key: at, headers, payload: body });
        Ok(())
    }

    /// Commits and answers. Nothing is committed after the deadline; the answer is stored under the idempotency key.
    ///
    /// # Errors
    /// [`Error::DeadlinePassed`] with nothing changed, [`Error::CommitUnknown`] when the connection broke in between.
    pub async fn commit<R: Reply>(mut self, reply: R) -> Result<R, Error> {
        if let Some(claim) = self.cause.claim.clone() {
            let existing = self.cause.existing.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
            let answer = serde_json::to_vec(&reply)?;
            let changed = cache::lines(&self.changed);
            idempotency::store(&mut self, &claim, &answer, reply.version(), existing, &changed).await?;
        }
        self.finish().await?;
        Ok(reply)
    }

    /// Commits what a follower, timer or drain did.
    ///
    /// # Errors
    /// [`Error::CommitUnknown`] when the connection broke in between.
    pub async fn commit_followed(self) -> Result<Committed, Error> {
        if self.cause.causation.is_some() {
            faults::hit("follow.before_commit").await?;
        }
        self.finish().await?;
        Ok(Committed(()))
    }

    async fn finish(mut self) -> Result<(), Error> {
        let announced = !self.outgoing.is_empty();
        if announced {
            outbox::write(&mut self.inner, &self.outgoing, &self.private, self.now).await?;
        }
        if self.cause.deadline.is_some_and(|deadline| self.app.now() >= deadline) {
            return Err(Error::DeadlinePassed);
        }
        faults::hit("tx.before_commit").await?;
        let committed = self.inner.commit().await;
        let lost = |_| sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let committed = match committed.and(faults::hit("tx.commit_unheard").await.map_err(lost)) {
            Ok(()) => Ok(()),
            // it may stand in the database, and whoever asks again is told so: the caches are told first
            Err(error @ (sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed)) => {
                Err(Error::CommitUnknown(error))
            }
            Err(error) => return Err(Error::Sql(error)),
        };
        faults::hit("tx.after_commit").await?;
        if announced {
            self.app.wake_relay(cache::ping(&self.changed)).await;
        }
        committed
    }
}

/// What stands in a timer's message.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(crate) struct TimerBody {
    pub timer: Uuid,
    pub entity: Uuid,
    pub generation: i64,
    pub due: DateTime<Utc>,
}
