//! The chain grows: what the stream brings is added behind the newest entry, each once.

use std::collections::HashMap;

use lectern_core::{Drained, Error, Tx, Verdict};
use lectern_subjects::audit::AuditEntry;
use lectern_subjects::subject;
use ring::digest::{Context, SHA256};
use sqlx::query;
use uuid::Uuid;

use crate::App;

/// SHA-256.
pub(crate) type Hash = [u8; 32];
/// What the first entry names as the hash before it.
pub(crate) const GENESIS: Hash = [0; 32];

/// Adds a batch of the stream in one transaction.
pub(crate) async fn append(app: App, batch: Vec<Drained>) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts = vec![Verdict::Done; batch.len()];
    let mut read = Vec::with_capacity(batch.len());
    for (place, message) in batch.iter().enumerate() {
        match entry_of(&message.subject, &message.payload) {
            Ok(entry) => read.push((place, entry)),
            Err(reason) => verdicts[place] = Verdict::Never(reason),
        }
    }
    let mut tx = app.begin_internal().await?;
    let (mut seq, mut prev_hash) = lock_head(&mut tx).await?;
    let mut known = known(&mut tx, &read).await?;
    let now = tx.now();
    let mut new = Columns::default();
    for (place, entry) in read {
        let message = &batch[place];
        match known.get(&entry.entry_id) {
            Some(body) if **body == *message.payload => continue,
            Some(_) => {
                verdicts[place] = Verdict::Never(format!("another entry has the id {}", entry.entry_id));
                continue;
            }
            None => known.insert(entry.entry_id, message.payload.to_vec()),
        };
        seq += 1;
        let hash = chain(&prev_hash, &message.payload);
        new.seq.push(seq);
        new.prev_hash.push(prev_hash.to_vec());
        new.hash.push(hash.to_vec());
        new.body.push(message.payload.to_vec());
        new.stream_sequence.push(i64::try_from(message.stream_sequence)?);
        new.entry_id.push(entry.entry_id);
        new.service.push(entry.service);
        new.event_type.push(entry.event_type);
        new.user_id.push(entry.user_id.map(|user| user.0));
        new.actor_id.push(entry.actor_id.map(|user| user.0));
        new.timestamp.push(entry.timestamp);
        prev_hash = hash;
    }
    query!(
        "INSERT INTO audit.entries (seq, prev_hash, hash, body, entry_id, stream_sequence, recorded_at, service, event_type,
                                    user_id, actor_id, timestamp)
         SELECT e.seq, e.prev_hash, e.hash, e.body, e.entry_id, e.stream_sequence, $7, e.service, e.event_type, e.user_id,
                e.actor_id, e.timestamp
         FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::uuid[], $6::bigint[], $8::text[], $9::text[],
                     $10::uuid[], $11::uuid[], $12::timestamptz[])
              AS e (seq, prev_hash, hash, body, entry_id, stream_sequence, service, event_type, user_id, actor_id, timestamp)",
        &new.seq,
        &new.prev_hash,
        &new.hash,
        &new.body,
        &new.entry_id,
        &new.stream_sequence,
        now,
        &new.service,
        &new.event_type,
        &new.user_id as &[Option<Uuid>],
        &new.actor_id as &[Option<Uuid>],
        &new.timestamp
    )
    .execute(&mut *tx)
    .await?;
    tx.commit_followed().await?;
    Ok(verdicts)
}

/// The new rows, column by column.
#[derive(Default)]
struct Columns {
    seq: Vec<i64>,
    prev_hash: Vec<Vec<u8>>,
    hash: Vec<Vec<u8>>,
    body: Vec<Vec<u8>>,
    entry_id: Vec<Uuid>,
    stream_sequence: Vec<i64>,
    service: Vec<String>,
    event_type: Vec<String>,
    user_id: Vec<Option<Uuid>>,
    actor_id: Vec<Option<Uuid>>,
    timestamp: Vec<chrono::DateTime<chrono::Utc>>,
}

/// Reads a message of the stream. Who may publish a subject, the broker decides; so an entry is believed only as far as
/// its subject says the same.
///
/// # Errors
/// Says why it is no entry.
pub(crate) fn entry_of(subject: &str, body: &[u8]) -> Result<AuditEntry, String> {
    let entry: AuditEntry = serde_json::from_slice(body).map_err(|error| format!("no entry: {error}"))?;
    let own = subject::audit(&entry.service, &entry.event_type, entry.user_id);
    if own == subject { Ok(entry) } else { Err(format!("an entry of {own} came as {subject}")) }
}

/// The link: SHA-256 of the hash before and the entry's bytes.
pub(crate) fn chain(prev_hash: &[u8], body: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(prev_hash);
    context.update(body);
    let mut hash = GENESIS;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Waits until no other process adds to the chain, and answers its end. An advisory lock, because a row's lock needs the
/// right to update it. Patience is longer than elsewhere: entries that wait in vain six times would be dead letters.
async fn lock_head(tx: &mut Tx) -> Result<(i64, Hash), Error> {
    query!(
        "SELECT set_config('lock_timeout', '15s', true) AS lock, set_config('statement_timeout', '20s', true) AS statement"
    )
    .fetch_one(&mut **tx)
    .await?;
    query!("SELECT pg_advisory_xact_lock(hashtext('lectern.audit'), hashtext('entries'))")
        .fetch_one(&mut **tx)
        .await?;
    // a statement of its own: it sees what was committed before the lock was given
    let head = query!("SELECT seq, hash FROM audit.entries ORDER BY seq DESC LIMIT 1")
        .fetch_optional(&mut **tx)
        .await?;
    let Some(head) = head else { return Ok((0, GENESIS)) };
    let hash = Hash::try_from(head.hash).map_err(|_| sqlx::Error::Decode("a hash has 32 bytes".into()))?;
    Ok((head.seq, hash))
}

/// What the chain has of these entries already, with its bytes.
async fn known(tx: &mut Tx, read: &[(usize, AuditEntry)]) -> Result<HashMap<Uuid, Vec<u8>>, Error> {
    let ids: Vec<Uuid> = read.iter().map(|(_, entry)| entry.entry_id).collect();
    let rows = query!("SELECT entry_id, body FROM audit.entries WHERE entry_id = ANY($1)", &ids)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.into_iter().map(|row| (row.entry_id, row.body)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"entry_id":"01a21750-c9a8-71e7-9c6d-6c1656540711","service":"identity","event_type":"user.created",
        "user_id":null,"actor_id":null,"details":{},"timestamp":"2026-11-20T10:05:00Z","private_hash":null,"trace":null}"#;

    #[test]
    fn an_entry_is_believed_only_under_its_own_subject() {
        assert!(entry_of("audit.identity.v1.user.created._", BODY.as_bytes()).is_ok());
        for foreign in
            ["audit.courses.v1.user.created._", "audit.identity.v1.user.deleted._", "audit.identity"]
        {
            assert!(entry_of(foreign, BODY.as_bytes()).is_err(), "{foreign}");
        }
        assert!(entry_of("audit.identity.v1.user.created._", b"{}").is_err());
    }

    #[test]
    fn the_example_of_the_contract_is_chained_by_the_documented_rule() {
        let golden = include_str!("../../../subjects/golden/v1/svc.audit.v1.entries.query.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let item = &golden["reply"]["items"][0];
        let entry: AuditEntry = serde_json::from_value(item["entry"].clone()).unwrap();
        let hash = chain(&GENESIS, &serde_json::to_vec(&entry).unwrap());
        assert_eq!(item["hash"], hex::encode(hash));
    }
}
