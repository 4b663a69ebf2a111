//! `entries.verify`: recomputes the chain, and compares it with the stream that it was made from. Who can rewrite the
//! database can make a whole chain anew; who has no rights on the broker can't make the stream agree.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use lectern_core::stored::Stored;
use lectern_core::{Call, Error, Outcome};
use lectern_subjects::audit::{AuditEntry, Break, BreakReason, Verification, VerifyEntries};
use sqlx::{query, query_as};
use uuid::Uuid;

use crate::append::{GENESIS, chain, entry_of, has};
use crate::{App, STREAM};

/// Entries per call.
pub(crate) const PAGE: i64 = 500;
/// Messages of the stream that are asked for at the same time.
const AT_ONCE: usize = 16;
/// Messages without an entry that one call looks at.
const HOLES: usize = 200;

/// Answers for one part of the chain.
pub(crate) async fn verify(app: App, _call: Call, req: VerifyEntries) -> Outcome<VerifyEntries> {
    Ok(part(&app, req.from_seq.unwrap_or(1), req.to_seq).await?)
}

/// An entry as it stands in the table.
struct Row {
    seq: i64,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
    body: Vec<u8>,
    entry_id: Uuid,
    stream_sequence: i64,
    recorded_at: DateTime<Utc>,
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
    let last = to.unwrap_or(i64::MAX).min(from.saturating_add(PAGE - 1));
    let rows = query_as!(
        Row,
        "SELECT seq, prev_hash, hash, body, entry_id, stream_sequence, recorded_at, service, event_type, user_id, actor_id,
                timestamp
         FROM audit.entries WHERE seq BETWEEN $1 AND $2 ORDER BY seq",
        from,
        last
    )
    .fetch_all(app.pool())
    .await?;
    let head = head(app).await?;
    let head_seq = head.as_ref().map_or(0, |(seq, _)| *seq);
    let end = head_seq.min(last);
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

/// The stream as it was when the verification began.
struct Seen {
    stream: Stored,
    /// Every message up to here has become an entry, or a dead letter.
    settled: u64,
}

impl Seen {
    /// None while the broker is away: then the chain is judged by itself.
    async fn now(app: &App) -> Option<Seen> {
        let stream = app.bus().stored(STREAM).await.ok()?;
        let settled = stream.settled(crate::CHAIN.consumer).await.ok()?;
        Some(Seen { stream, settled })
    }
}

/// Compares entries with the messages that they were made from, and looks for messages of which nothing was made: between
/// the entries, before the first and, when these are the newest entries, behind the last.
async fn compare(
    app: &App,
    seen: &Seen,
    rows: &[Row],
    from: i64,
    newest: bool,
) -> Result<(u32, Option<Break>), Error> {
    // sequences of a stream that was lost say nothing about this one
    let placed: Vec<(u64, &Row)> = rows
        .iter()
        .filter(|row| row.recorded_at >= seen.stream.created)
        .filter_map(|row| Some((u64::try_from(row.stream_sequence).ok()?, row)))
        .collect();
    let mut compared = 0;
    for chunk in placed.chunks(AT_ONCE) {
        let messages = join_all(chunk.iter().map(|(sequence, _)| seen.stream.message(*sequence))).await;
        for ((_, row), message) in chunk.iter().zip(messages) {
            compared += 1;
            if message?.is_none_or(|(_, body)| *body != *row.body) {
                let (reason, entry_id) = (BreakReason::DiffersFromStream, Some(row.entry_id));
                return Ok((compared, Some(Break { seq: row.seq, reason, entry_id })));
            }
        }
    }
    let sequences: BTreeSet<u64> = placed.iter().map(|(sequence, _)| *sequence).collect();
    let first = if from == 1 { Some(seen.stream.first_sequence) } else { sequences.first().copied() };
    let last =
        if newest { Some(seen.settled) } else { sequences.last().map(|last| (*last).min(seen.settled)) };
    // an empty part says nothing; the newest end of an empty record does
    let (Some(first), Some(last)) = (first, last) else { return Ok((compared, None)) };
    for hole in (first..=last).filter(|sequence| !sequences.contains(sequence)).take(HOLES) {
        let Some((subject, body)) = seen.stream.message(hole).await? else { continue };
        // what is no entry is among the dead letters
        let Ok(entry) = entry_of(&subject, &body) else { continue };
        if !has(app, entry.entry_id).await? {
            let behind = placed.iter().filter(|(sequence, _)| *sequence > hole).map(|(_, row)| row.seq).min();
            let seq = behind.unwrap_or_else(|| rows.last().map_or(from, |row| row.seq + 1));
            let (reason, entry_id) = (BreakReason::MissingEntry, Some(entry.entry_id));
            return Ok((compared, Some(Break { seq, reason, entry_id })));
        }
    }
    Ok((compared, None))
}
