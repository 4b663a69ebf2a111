//! `entries.query`: the record, newest first.

use std::num::NonZero;

use lectern_core::{Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::audit::{AuditEntry, QueryEntries, RecordedEntry};
use lectern_subjects::page;
use sqlx::{query, query_as};

use crate::{App, private};

struct Row {
    seq: i64,
    body: Vec<u8>,
    hash: Vec<u8>,
    recorded_at: chrono::DateTime<chrono::Utc>,
}

/// One page; the cursor is the number of the last entry shown.
pub(crate) async fn search(app: App, call: Call, req: QueryEntries) -> Outcome<QueryEntries> {
    let limit = page::limit(req.limit);
    let below = match page::key::<NonZero<u64>>(req.cursor.as_deref())? {
        None => i64::MAX,
        Some(seq) => i64::try_from(seq.get()).map_err(|_| page::not_a_cursor())?,
    };
    let mut tx = app.begin(&call).await?;
    // which index serves depends on which filters are there
    query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true) AS mode")
        .fetch_one(&mut *tx)
        .await?;
    let rows = query_as!(
        Row,
        "SELECT seq, body, hash, recorded_at FROM audit.entries
         WHERE seq < $1 AND ($2::uuid IS NULL OR user_id = $2) AND ($3::uuid IS NULL OR actor_id = $3)
           AND ($4::text IS NULL OR service = $4) AND ($5::text IS NULL OR event_type = $5)
           AND ($6::timestamptz IS NULL OR timestamp >= $6) AND ($7::timestamptz IS NULL OR timestamp < $7)
         ORDER BY seq DESC LIMIT $8",
        below,
        req.user_id.map(|user| user.0),
        req.actor_id.map(|user| user.0),
        req.service,
        req.event_type,
        req.from,
        req.to,
        i64::from(limit) + 1
    )
    .fetch_all(&mut *tx)
    .await?;
    drop(tx);
    let page = Page::from_rows(rows, limit as usize, |last| last.seq.to_string());
    let entries = page
        .items
        .iter()
        .map(|row| serde_json::from_slice(&row.body))
        .collect::<Result<Vec<AuditEntry>, _>>()?;
    let mut parts = private::of(&app, &call, &entries).await;
    let items = page.items.into_iter().zip(entries).map(|(row, entry)| {
        let (personal_part, ip_address, user_agent) = private::judge(&entry, parts.as_mut());
        RecordedEntry {
            seq: row.seq,
            entry,
            hash: hex::encode(row.hash),
            recorded_at: row.recorded_at,
            personal_part,
            ip_address,
            user_agent,
        }
    });
    Ok(Page { items: items.collect(), next_cursor: page.next_cursor })
}
