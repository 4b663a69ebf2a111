//! The chain against the stream that it was made from. Who can rewrite the database can make a whole chain anew; who has no
//! rights on the broker can't make the stream agree.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use lectern_core::Error;
use lectern_core::stored::Stored;
use lectern_subjects::audit::{Break, BreakReason};
use sqlx::query;

use crate::append::entry_of;
use crate::verify::Row;
use crate::{App, CHAIN, STREAM};

/// Messages of the stream that are asked for at the same time.
const AT_ONCE: usize = 16;
/// Messages that belong to no entry of the part, of which one call looks at so many.
const HOLES: usize = 1000;

/// The stream as it was when the verification began.
pub(crate) struct Seen {
    stream: Stored,
    /// Every message up to here has become an entry, or a dead letter.
    settled: u64,
}

impl Seen {
    /// None while the broker is away: then the chain is judged by itself.
    pub async fn now(app: &App) -> Option<Seen> {
        let stream = app.bus().stored(STREAM).await.ok()?;
        let settled = stream.settled(CHAIN.consumer).await.ok()?;
        Some(Seen { stream, settled })
    }
}

/// Compares entries with the messages that they were made from, then looks at the messages in between, before the first
/// entry and, when these are the newest ones, behind the last: each must be in the record, with the same bytes. Answers how
/// many entries were compared, and the first thing that is wrong.
pub(crate) async fn compare(
    app: &App,
    seen: &Seen,
    rows: &[Row],
    from: i64,
    newest: bool,
) -> Result<(u32, Option<Break>), Error> {
    let place = |row: &Row| u64::try_from(row.stream_sequence).unwrap_or_default();
    // sequences of a stream that was lost say nothing about this one
    let placed: Vec<&Row> = rows.iter().filter(|row| row.recorded_at >= seen.stream.created).collect();
    let mut compared = 0;
    for chunk in placed.chunks(AT_ONCE) {
        let messages = join_all(chunk.iter().map(|row| seen.stream.message(place(row)))).await;
        for (row, message) in chunk.iter().zip(messages) {
            compared += 1;
            if message?.is_none_or(|(_, body)| *body != *row.body) {
                let (reason, entry_id) = (BreakReason::DiffersFromStream, Some(row.entry_id));
                return Ok((compared, Some(Break { seq: row.seq, reason, entry_id })));
            }
        }
    }
    // where to look is taken from the rows; what is found there is judged whatever they say
    let first = if from == 1 { Some(seen.stream.first_sequence) } else { rows.iter().map(place).min() };
    let last = if newest { Some(seen.settled) } else { rows.iter().map(place).max() };
    let (Some(first), Some(last)) = (first, last) else { return Ok((compared, None)) };
    let taken: BTreeSet<u64> = placed.iter().map(|row| place(row)).collect();
    let holes = (first..=last.min(seen.settled)).filter(|sequence| !taken.contains(sequence)).take(HOLES);
    for chunk in holes.collect::<Vec<_>>().chunks(AT_ONCE) {
        let messages = join_all(chunk.iter().map(|sequence| seen.stream.message(*sequence))).await;
        for (hole, message) in chunk.iter().zip(messages) {
            let Some((subject, body)) = message? else { continue };
            if let Some(mut broken) = missing(app, seen, &subject, &body).await? {
                if broken.seq == 0 {
                    let behind = placed.iter().find(|row| place(row) > *hole).map(|row| row.seq);
                    broken.seq = behind.unwrap_or_else(|| rows.last().map_or(from, |row| row.seq + 1));
                }
                return Ok((compared, Some(broken)));
            }
        }
    }
    Ok((compared, None))
}

/// What is wrong when a settled message is looked for in the record; `seq` is 0 when the record does not have it.
async fn missing(app: &App, seen: &Seen, subject: &str, body: &Bytes) -> Result<Option<Break>, Error> {
    // what is no entry is among the dead letters
    let Ok(entry) = entry_of(subject, body) else { return Ok(None) };
    let entry_id = Some(entry.entry_id);
    let found =
        query!("SELECT seq, body, stream_sequence FROM audit.entries WHERE entry_id = $1", entry.entry_id);
    let Some(found) = found.fetch_optional(app.pool()).await? else {
        return Ok(Some(Break { seq: 0, reason: BreakReason::MissingEntry, entry_id }));
    };
    if *found.body == **body {
        return Ok(None);
    }
    // an id that came twice: the record has the first message, the other is a dead letter
    let original = seen.stream.message(u64::try_from(found.stream_sequence).unwrap_or_default()).await?;
    let is_original = original.is_some_and(|(_, original)| *original == *found.body);
    let (seq, reason) = (found.seq, BreakReason::DiffersFromStream);
    Ok((!is_original).then_some(Break { seq, reason, entry_id }))
}
