//! What a transaction sends out: rows of the outbox, and the personal parts of audit entries, written with its commit.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lectern_subjects::audit::AuditEntry;
use lectern_subjects::id::UserId;
use lectern_subjects::{Envelope, Fact, subject};
use ring::digest::{SHA256, digest};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::call::ClientInfo;
use crate::clock::Clock;
use crate::error::Error;
use crate::tx::Cause;

/// One row of the outbox.
pub(crate) struct Row {
    pub id: Uuid,
    pub stream: String,
    pub subject: String,
    pub key: String,
    pub headers: serde_json::Value,
    pub payload: Vec<u8>,
}

/// The personal part of an audit entry, kept to be erased with the person `whose` it is.
pub(crate) struct Private {
    entry: Uuid,
    whose: Option<UserId>,
    address: Option<String>,
    agent: Option<Arc<str>>,
    salt: [u8; 16],
}

impl Private {
    pub fn new(entry: Uuid, whose: Option<UserId>, client: &ClientInfo) -> Private {
        let address = client.address.map(|address| address.to_string());
        Private { entry, whose, address, agent: client.agent.clone(), salt: rand::random() }
    }

    /// What binds it to the entry.
    pub fn hash(&self) -> String {
        let mut private = self.salt.to_vec();
        private.extend(self.address.as_deref().unwrap_or_default().as_bytes());
        private.push(0);
        private.extend(self.agent.as_deref().unwrap_or_default().as_bytes());
        hex::encode(digest(&SHA256, &private))
    }
}

/// Writes what is sent out, however much it is, in one statement: the outbox in this order.
pub(crate) async fn write(
    connection: &mut PgConnection,
    rows: &[Row],
    private: &[Private],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH private AS (
             INSERT INTO audit_private (entry_id, user_id, address, agent, salt)
             SELECT * FROM unnest($8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::bytea[]))
         INSERT INTO outbox (id, stream, subject, key, headers, payload, created_at)
         SELECT id, stream, subject, key, headers, payload, $1
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::bytea[])
              WITH ORDINALITY AS row (id, stream, subject, key, headers, payload, place)
         ORDER BY place",
    )
    .bind(now)
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| &*row.stream))
    .bind(column(rows, |row| &*row.subject))
    .bind(column(rows, |row| &*row.key))
    .bind(column(rows, |row| &row.headers))
    .bind(column(rows, |row| &*row.payload))
    .bind(column(private, |part| part.entry))
    .bind(column(private, |part| part.whose.map(|user| user.0)))
    .bind(column(private, |part| part.address.as_deref()))
    .bind(column(private, |part| part.agent.as_deref()))
    .bind(column(private, |part| &part.salt[..]))
    .execute(connection)
    .await
    .map(drop)
}

fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Announces a fact from a command that runs beside the services, without a bus: the relay of a running role publishes
/// it. `connection` is a transaction of the caller's, in the service's schema.
///
/// # Errors
/// [`Error::Sql`], [`Error::Json`].
pub async fn announce_offline<F: Fact>(
    connection: &mut PgConnection,
    service: &'static str,
    clock: &Clock,
    fact: &F,
    version: i64,
) -> Result<(), Error> {
    let now = clock.now();
    let row = fact_row(service, clock, &Cause::default(), now, fact, version)?;
    Ok(write(connection, &[row], &[], now).await?)
}

/// Writes the audit entry of a command that runs beside the services: as [`Tx::audit`], by nobody and from nowhere.
///
/// # Errors
/// [`Error::Sql`], [`Error::Json`].
pub async fn audit_offline(
    connection: &mut PgConnection,
    service: &'static str,
    clock: &Clock,
    event_type: &'static str,
    user: Option<UserId>,
    details: serde_json::Value,
) -> Result<(), Error> {
    let (id, now) = (clock.new_id(), clock.now());
    let row = audit_row(service, &Cause::default(), now, id, event_type, user, details, None)?;
    Ok(write(connection, &[row], &[], now).await?)
}

#[expect(clippy::too_many_arguments, reason = "an entry has this many parts")]
pub(crate) fn audit_row(
    service: &'static str,
    cause: &Cause,
    now: DateTime<Utc>,
    id: Uuid,
    event_type: &'static str,
    user: Option<UserId>,
    details: serde_json::Value,
    private_hash: Option<String>,
) -> Result<Row, Error> {
    let entry = AuditEntry {
        entry_id: id,
        service: service.to_owned(),
        event_type: event_type.to_owned(),
        user_id: user,
        actor_id: cause.actor,
        details,
        timestamp: now,
        private_hash,
        trace: cause.trace.as_deref().map(str::to_owned),
    };
    let subject = subject::audit(service, event_type, user);
    // the entries about one user are published in their order
    let key = subject::audit(service, "", user);
    let (headers, payload) = (json!({ "Nats-Msg-Id": id }), serde_json::to_vec(&entry)?);
    Ok(Row { id, stream: "AUDIT".to_owned(), subject, key, headers, payload })
}

pub(crate) fn fact_row<F: Fact>(
    service: &'static str,
    clock: &Clock,
    cause: &Cause,
    now: DateTime<Utc>,
    fact: &F,
    version: i64,
) -> Result<Row, Error> {
    let id = clock.new_id();
    let event_type = lectern_subjects::fact::event_type(F::SUBJECT);
    let envelope = Envelope {
        event_id: id,
        event_type: event_type.to_owned(),
        version: "1.0.0".to_owned(),
        occurred_at: now,
        actor_id: cause.actor,
        subject_id: fact.key(),
        entity_version: version,
        causation_id: cause.causation,
        trace: cause.trace.as_deref().map(str::to_owned),
        data: fact,
    };
    let mut headers = json!({
        "Nats-Msg-Id": id,
        "ce-specversion": "1.0",
        "ce-id": id,
        "ce-type": event_type,
        "ce-source": service,
        "ce-time": now,
    });
    if let Some(trace) = &cause.trace {
        headers["traceparent"] = json!(&**trace);
    }
    let payload = serde_json::to_vec(&envelope)?;
    let (subject, key) = (fact.subject(), fact.key().to_string());
    Ok(Row { id, stream: "EVENTS".to_owned(), subject, key, headers, payload })
}
