//! `entries.verify`: recomputes the chain, and compares it with the stream that it was made from.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use lectern_core::{Call, Error, Outcome};
use lectern_subjects::audit::{AuditEntry, Break, BreakReason, Verification, VerifyEntries};
use sqlx::{query, query_as};
use uuid::Uuid;

use crate::App;
use crate::append::{GENESIS, chain};
use crate::compare::{Seen, compare};

/// Entries per call.
pub(crate) const PAGE: i64 = 500;

/// Answers for one part of the chain.
pub(crate) async fn verify(app: App, _call: Call, req: VerifyEntries) -> Outcome<VerifyEntries> {
    Ok(part(&app, req.from_seq.unwrap_or(1), req.to_seq).await?)
}

/// An entry as it stands in the table.
pub(crate) struct Row {
    pub seq: i64,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
    pub body: Vec<u8>,
    pub entry_id: Uuid,
    pub stream_sequence: i64,
    pub recorded_at: DateTime<Utc>,
    service: String,
    event_type: String,
    user_id: Option<Uuid>,
    actor_id: Option<Uuid>,
    timestamp: DateTime<Utc>,
}

/// Verifies the entries from one on, at most a page of them.
pub(crate) async fn part(app: &App, from: i64, to: Option<i64>) -> Result<Verification, Error> {
    // the stream first: whatever it says is settled, is in the table when that is read
    let stream = Seen::now(app).await;
    // and the end before what leads to it: the chain may grow meanwhile
    let head = head(app).await?;
    let head_seq = head.as_ref().map_or(0, |(seq, _)| *seq);
    let end = to.unwrap_or(i64::MAX).min(from.saturating_add(PAGE - 1)).min(head_seq);
    let rows = query_as!(
        Row,
        "SELECT seq, prev_hash, hash, body, entry_id, stream_sequence, recorded_at, service, event_type, user_id, actor_id,
                timestamp
         FROM audit.entries WHERE seq BETWEEN $1 AND $2 ORDER BY seq",
        from,
        end
    )
    .fetch_all(app.pool())
    .await?;
    let mut broken = recompute(app, from, end, &rows).await?;
    let sound = broken.as_ref().map_or(rows.len(), |broken| rows.partition_point(|row| row.seq < broken.seq));
    let mut compared = 0;
    if let Some(stream) = stream {
        match compare(app, &stream, &rows[..sound], from, end == head_seq && broken.is_none()).await {
            Ok((count, differs)) => (compared, broken) = (count, differs.or(broken)),
            Err(Error::Broker(error)) => tracing::debug!(error, "the chain was not compared with its stream"),
            Err(error) => return Err(error),
        }
    }
    Ok(Verification {
        ok: broken.is_none(),
        checked: u32::try_from(broken.as_ref().map_or(rows.len(), |_| sound)).unwrap_or(u32::MAX),
        compared,
        from_seq: from,
        through_seq: end.max(from - 1),
        next_from_seq: (broken.is_none() && end < head_seq.min(to.unwrap_or(i64::MAX))).then_some(end + 1),
        head_seq,
        head_hash: head.map(|(_, hash)| hex::encode(hash)),
        broken,
    })
}

/// The newest entry's number and hash; none while the record is empty.
pub(crate) async fn head(app: &App) -> Result<Option<(i64, Vec<u8>)>, sqlx::Error> {
    let head = query!("SELECT seq, hash FROM audit.entries ORDER BY seq DESC LIMIT 1");
    Ok(head.fetch_optional(app.pool()).await?.map(|row| (row.seq, row.hash)))
}

/// Recomputes every link from the entry before `from` to `end`; answers the first that is wrong.
async fn recompute(app: &App, from: i64, end: i64, rows: &[Row]) -> Result<Option<Break>, Error> {
    if end < from {
        return Ok(None);
    }
    let mut prev_hash = GENESIS.to_vec();
    if from > 1 {
        let before = query!("SELECT hash FROM audit.entries WHERE seq = $1", from - 1);
        let Some(before) = before.fetch_optional(app.pool()).await? else {
            return Ok(Some(Break { seq: from - 1, reason: BreakReason::MissingEntry, entry_id: None }));
        };
        prev_hash = before.hash;
    }
    let mut rows = rows.iter();
    for seq in from..=end {
        let Some(row) = rows.next().filter(|row| row.seq == seq) else {
            return Ok(Some(Break { seq, reason: BreakReason::MissingEntry, entry_id: None }));
        };
        if let ControlFlow::Break(reason) = judge(&prev_hash, row) {
            return Ok(Some(Break { seq, reason, entry_id: Some(row.entry_id) }));
        }
        prev_hash.clone_from(&row.hash);
    }
    Ok(None)
}

fn judge(prev_hash: &[u8], row: &Row) -> ControlFlow<BreakReason> {
    if row.prev_hash != prev_hash {
        return ControlFlow::Break(BreakReason::WrongLink);
    }
    let same = chain(prev_hash, &row.body) == *row.hash
        && serde_json::from_slice(&row.body).is_ok_and(|entry: AuditEntry| {
            (entry.entry_id, entry.user_id.map(|user| user.0), entry.actor_id.map(|user| user.0))
                == (row.entry_id, row.user_id, row.actor_id)
                && (entry.service, entry.event_type) == (row.service.clone(), row.event_type.clone())
                && entry.timestamp.timestamp_micros() == row.timestamp.timestamp_micros()
        });
    if same { ControlFlow::Continue(()) } else { ControlFlow::Break(BreakReason::ChangedEntry) }
}
