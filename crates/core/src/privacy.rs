//! Erasure of a person: what core itself keeps of them in a worker's schema, and what the streams hold (architecture §13).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lectern_subjects::id::UserId;
use lectern_subjects::privacy::Erased;
use serde_json::{Value, json};

use crate::bus::Bus;
use crate::error::Error;
use crate::tx::Tx;

/// The broker's "no message found".
const NO_MESSAGE: u64 = 10037;

/// What core keeps about somebody, and how it is found.
const KEPT: [(&str, &str); 3] = [
    // published facts whose key is the user; the streams' copies are the erasure job's
    ("outbox_archive", "DELETE FROM outbox_archive WHERE key = $1::text"),
    // stored answers may show anything; those that staff got name whom they are about
    (
        "idempotency",
        "DELETE FROM idempotency WHERE actor = $1::uuid OR position(convert_to($1, 'UTF8') IN answer) > 0",
    ),
    ("audit_private", "DELETE FROM audit_private WHERE user_id = $1::uuid"),
];

/// Deletes what core keeps about a user in this schema, and counts it.
///
/// # Errors
/// [`Error::Sql`].
pub async fn scrub(tx: &mut Tx, user: UserId, erased: &mut Erased) -> Result<(), Error> {
    for (table, statement) in KEPT {
        let deleted = sqlx::query(statement).bind(user.to_string()).execute(&mut **tx).await?;
        count(erased, table, deleted.rows_affected());
    }
    Ok(())
}

/// Notes that so many of something were erased; nothing when there were none.
pub fn count(erased: &mut Erased, what: &str, rows: u64) {
    if rows > 0 {
        *erased.entry(what.to_owned()).or_default() += rows;
    }
}

/// Deletes every message of a stream under `filter` that `is_about` the person, each overwritten on the disk (a purge would
/// leave it there). Safe to repeat. `bus` is connected as a user that may get and delete messages.
///
/// # Errors
/// [`Error::Broker`]; what was deleted until then stays deleted.
pub async fn delete_messages(
    bus: &Bus,
    stream: &str,
    filter: &str,
    is_about: impl Fn(&str) -> bool,
) -> Result<u64, Error> {
    let (mut next, mut deleted) = (1_u64, 0);
    loop {
        let asked = json!({ "seq": next, "next_by_subj": filter });
        let found = api(bus, &format!("STREAM.MSG.GET.{stream}"), &asked).await?;
        let Some(message) = found.get("message") else {
            return match found["error"]["err_code"].as_u64() {
                Some(NO_MESSAGE) => Ok(deleted),
                _ => Err(Error::Broker(format!("{stream}: {}", found["error"]))),
            };
        };
        let sequence =
            message["seq"].as_u64().ok_or_else(|| Error::Broker(format!("{stream}: no sequence")))?;
        let text = |field: &str| {
            let bytes = message[field].as_str().and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let subject = message["subject"].as_str().unwrap_or_default();
        if is_about(&format!("{subject}\n{}\n{}", text("hdrs"), text("data"))) {
            let gone = api(bus, &format!("STREAM.MSG.DELETE.{stream}"), &json!({ "seq": sequence })).await?;
            if gone["success"] != true && gone["error"]["err_code"] != NO_MESSAGE {
                return Err(Error::Broker(format!("{stream}: {}", gone["error"])));
            }
            deleted += 1;
        }
        next = sequence + 1;
    }
}

async fn api(bus: &Bus, subject: &str, asked: &Value) -> Result<Value, Error> {
    bus.jetstream()
        .request(subject.to_owned(), asked)
        .await
        .map_err(|e| Error::Broker(format!("{subject}: {e}")))
}
