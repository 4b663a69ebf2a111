//! A person is forgotten in every service (identity spec I-109, `spec/protocols.md` P5, architecture §13): identity's own
//! part at once, a durable command to each other service, their receipts as facts; then the streams. A missing receipt
//! keeps the erasure open, and is asked for again.

mod account;
mod get;
mod me;
mod receipts;
mod sweep;

use lectern_core::Tx;
use lectern_core::call::ClientInfo;
use lectern_core::privacy::scrub;
use lectern_subjects::SERVICES;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{Erasure, UserDeleted};
use lectern_subjects::privacy::{ERASE, ErasePerson, Erased};
use serde_json::json;
use sqlx::{PgConnection, query};
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::session::revocation;
use crate::session::{self, Reason};

pub(crate) use get::get;
pub(crate) use me::erase_me;
pub(crate) use receipts::received;
pub(crate) use sweep::{PACE, sweep};

const OWN: &str = "identity";

/// Who has to answer: every service of the contract but identity, which does its part at once.
pub(crate) fn others() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|service| service.name).filter(|name| *name != OWN)
}

/// Forgets a person here, and tells every other service to, in one transaction. The caller holds the lock of the user's
/// row, which is not deleted yet.
pub(crate) async fn begin(tx: &mut Tx, app: &App, user: UserId, reason: &'static str) -> Result<Uuid, Fault> {
    let now = tx.now();
    let id: Uuid = app.new_id();
    let sids = session::live(tx, user).await?;
    session::revoke(tx, user, &sids, Reason::Erase).await?;
    revocation::change_claims(tx, user).await?;
    let mut erased = account::forget(tx, user).await?;
    scrub(tx, user, &mut erased).await?;
    query!(
        "INSERT INTO identity.erasures (id, user_id, requested_by, requested_at, told_at) VALUES ($1, $2, $3, $4, $4)",
        id,
        user.0,
        tx.actor().map(|actor| actor.0),
        now
    )
    .execute(&mut **tx)
    .await?;
    note(tx, id, OWN, &erased).await?;
    tell(tx, id, user, others()).await?;
    // after the scrub: what it says holds no personal data
    let version = crate::account::next_version(tx, user).await?;
    let email = account::tombstone(user);
    tx.announce(&UserDeleted { user_id: user, email, deleted_at: now }, version).await?;
    // from where somebody asked to be forgotten is forgotten, too
    if tx.actor() == Some(user) {
        tx.set_client(ClientInfo::default());
    }
    tx.audit("user.deleted", Some(user), json!({ "reason": reason, "erasure": id })).await?;
    Ok(id)
}

/// Commands to services.
async fn tell(
    tx: &mut Tx,
    job_id: Uuid,
    user_id: UserId,
    services: impl Iterator<Item = &'static str>,
) -> Result<(), lectern_core::Error> {
    for service in services {
        tx.command(service, ERASE, user_id.into(), &ErasePerson { job_id, user_id }).await?;
    }
    Ok(())
}

/// Notes a receipt; a repeated one changes nothing.
async fn note(tx: &mut Tx, id: Uuid, service: &str, erased: &Erased) -> Result<(), lectern_core::Error> {
    let now = tx.now();
    query!(
        "INSERT INTO identity.erasure_receipts (erasure_id, service, erased, received_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (erasure_id, service) DO NOTHING",
        id,
        service,
        serde_json::to_value(erased)?,
        now
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An erasure as it stands.
async fn show(connection: &mut PgConnection, id: Uuid) -> Result<Option<Erasure>, Fault> {
    let Some(row) = query!(
        r#"SELECT user_id AS "user_id: UserId", requested_at, done_at FROM identity.erasures WHERE id = $1"#,
        id
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let receipts = query!(
        "SELECT service, erased, received_at FROM identity.erasure_receipts WHERE erasure_id = $1 ORDER BY received_at, service",
        id
    )
    .fetch_all(connection)
    .await?;
    let waiting_for: Vec<String> = others()
        .filter(|service| receipts.iter().all(|receipt| receipt.service != *service))
        .map(str::to_owned)
        .collect();
    let receipts = receipts.into_iter().map(|row| {
        Ok(lectern_subjects::identity::ErasureReceipt {
            service: row.service,
            erased: serde_json::from_value(row.erased)?,
            received_at: row.received_at,
        })
    });
    Ok(Some(Erasure {
        id: id.into(),
        user_id: row.user_id,
        requested_at: row.requested_at,
        done_at: row.done_at,
        receipts: receipts.collect::<Result<_, serde_json::Error>>()?,
        waiting_for,
    }))
}
