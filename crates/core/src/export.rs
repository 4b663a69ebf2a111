//! A person's data, page by page (GDPR Art. 15 and 20; identity spec I-108): a service declares which rows are somebody's,
//! and its handler of `svc.<service>.v1.privacy.export` shows them to whom they are about. The same declaration is compared
//! with the columns that there are (`docs/privacy.tsv`), so that none is forgotten.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use lectern_subjects::id::UserId;
use lectern_subjects::privacy::{PersonalData, Section};
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::app::App;
use crate::call::Call;
use crate::error::Fault;

/// A page ends when its rows are this long together, bytes: a reply has 512 KiB at most, and one row may be 64 KiB.
const PAGE_BYTES: usize = 384 * 1024;
/// How long ago a caller has proved who they are, at most. Long enough for an export that was begun in time to be taken to
/// its end; a token that somebody left open is not enough to take a person's data along.
const SIGNED_IN_WITHIN: TimeDelta = TimeDelta::hours(1);
/// Rows that are read at once, and rows of a page.
const PAGE_ROWS: usize = 1000;

/// Rows of one table that are somebody's. All parts are SQL of ours, never of a caller's.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// What they are called in the export.
    pub kind: &'static str,
    /// The table, `schema.table`.
    pub table: &'static str,
    /// Whose a row is: a condition on the user `$1`.
    pub whose: &'static str,
    /// The columns that the rows are ordered by; no two rows of a person have the same values, none is null.
    pub key: &'static [&'static str],
    /// What is shown: columns, or expressions with `AS`.
    pub columns: &'static [&'static str],
}

/// What core itself keeps of a person in a worker's schema. Facts in the outbox and stored answers are copies of rows that
/// are shown anyway.
pub const OWN: &[Held] = &[Held {
    kind: "acted_from",
    table: "audit_private",
    whose: "user_id = $1",
    key: &["entry_id"],
    columns: &["entry_id", "address AS ip_address", "agent AS user_agent"],
}];

/// Where a page begins: in which kind, and behind which row of it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    kind: String,
    after: Map<String, Value>,
}

/// A page of what is held about the caller, beginning behind `cursor`: the kinds of `held`, then core's own.
///
/// # Errors
/// COMMON_0013 when the caller has proved who they are more than an hour ago; COMMON_0001 for what is no cursor of ours; the
/// database's.
pub async fn page<R: Refusal>(
    app: &App,
    call: &Call,
    held: &'static [Held],
    cursor: Option<&str>,
) -> Result<PersonalData, Fault<R>> {
    let caller = call.user()?;
    if call.now - caller.auth_time > SIGNED_IN_WITHIN {
        let details =
            json!({ "reason": "signed in too long ago", "max_age_s": SIGNED_IN_WITHIN.num_seconds() });
        return Err(CommonRefusal::Forbidden.because(details).into());
    }
    let user = caller.user;
    let kinds: Vec<&Held> = held.iter().chain(OWN).collect();
    let (mut at, mut after) = match cursor {
        None => (0, None),
        Some(cursor) => {
            let (at, after) = read(cursor, &kinds).ok_or_else(no_cursor)?;
            (at, Some(after))
        }
    };
    let mut connection = app.pool().acquire().await?;
    let mut page = PersonalData::default();
    let (mut bytes, mut rows_left) = (0, PAGE_ROWS);
    while let Some(kind) = kinds.get(at) {
        let mut section = Section { kind: kind.kind.to_owned(), single: false, rows: Vec::new() };
        let found = match rows_of(&mut connection, kind, user, after.as_ref(), rows_left).await {
            // a place that is none, class 22 "data exception": a cursor that somebody made up
            Err(sqlx::Error::Database(error))
                if after.is_some() && error.code().is_some_and(|c| c.starts_with("22")) =>
            {
                return Err(no_cursor().into());
            }
            found => found?,
        };
        let whole = found.len() < rows_left;
        let count = found.len();
        for (row, key) in found {
            bytes += row.len();
            section.rows.push(serde_json::from_str(&row)?);
            if bytes >= PAGE_BYTES || (section.rows.len() == count && !whole) {
                let after = serde_json::from_str(&key)?;
                page.sections.push(section);
                page.next_cursor = Some(write(&Place { kind: kind.kind.to_owned(), after })?);
                return Ok(page);
            }
        }
        rows_left -= section.rows.len();
        // what goes on from the page before and has nothing more says nothing
        if after.take().is_none() || !section.rows.is_empty() {
            page.sections.push(section);
        }
        at += 1;
    }
    Ok(page)
}

/// The statement that reads rows of a kind: `$1` the user, `$2` how many at most, `$3` the key that they lie behind.
pub fn statement(held: &Held, behind: bool) -> String {
    let Held { table, whose, .. } = held;
    let (key, columns) = (held.key.join(", "), held.columns.join(", "));
    let place = format!("FROM jsonb_populate_record(NULL::{table}, $3::jsonb)");
    let behind = match (behind, held.key) {
        (false, _) => String::new(),
        (true, [only]) => format!("AND {only} > (SELECT {only} {place})"),
        // the first column once more: else rows of each earlier value would be looked at on every page
        (true, [first, ..]) => {
            format!("AND {first} >= (SELECT {first} {place}) AND ({key}) > (SELECT {key} {place})")
        }
        (true, []) => unreachable!("rows without a key have no place"),
    };
    format!(
        "SELECT (SELECT row_to_json(shown) FROM (SELECT {columns}) shown)::text,
                (SELECT row_to_json(place) FROM (SELECT {key}) place)::text
         FROM (SELECT * FROM {table} WHERE {whose} {behind} ORDER BY {key} LIMIT $2) held ORDER BY {key}"
    )
}

/// Rows of a kind with their keys, both as JSON.
async fn rows_of(
    connection: &mut PgConnection,
    held: &Held,
    user: UserId,
    after: Option<&Map<String, Value>>,
    limit: usize,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let statement = AssertSqlSafe(statement(held, after.is_some()));
    let mut query = sqlx::query_as(statement).bind(user.0).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    if let Some(after) = after {
        query = query.bind(json!(after));
    }
    query.fetch_all(connection).await
}

fn write(place: &Place) -> Result<String, serde_json::Error> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(place)?))
}

/// The kind that a cursor names, and the key in it: one that has all of the key's columns, and nothing else.
fn read(cursor: &str, kinds: &[&Held]) -> Option<(usize, Map<String, Value>)> {
    let place: Place = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let at = kinds.iter().position(|held| held.kind == place.kind)?;
    let key = kinds[at].key;
    let fits =
        |column: &&str| place.after.get(*column).is_some_and(|value| value.is_string() || value.is_number());
    (place.after.len() == key.len() && key.iter().all(fits)).then_some((at, place.after))
}

fn no_cursor() -> Refused<CommonRefusal> {
    CommonRefusal::ValidationFailed
        .because(json!([{ "pointer": "/cursor", "reason": "not a cursor of this export" }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    static EVENTS: Held = Held {
        kind: "events",
        table: "playback.events",
        whose: "user_id = $1",
        key: &["session", "seq"],
        columns: &["seq", "kind"],
    };

    #[test]
    fn a_cursor_reads_back_as_the_place_that_it_names() {
        let after = json!({ "session": "a", "seq": 7 }).as_object().unwrap().clone();
        let cursor = write(&Place { kind: "events".into(), after: after.clone() }).unwrap();
        assert_eq!(read(&cursor, &[&OWN[0], &EVENTS]), Some((1, after)));
        assert_eq!(read(&cursor, &[&OWN[0]]), None, "a kind of another service");
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let made_up = |place: Value| BASE64_URL_SAFE_NO_PAD.encode(place.to_string());
        for cursor in [
            String::new(),
            "'; DROP TABLE users; --".to_owned(),
            made_up(json!({ "kind": "events", "after": {} })),
            made_up(json!({ "kind": "events", "after": { "session": "a" } })),
            made_up(json!({ "kind": "events", "after": { "session": "a", "seq": null } })),
            made_up(json!({ "kind": "events", "after": { "session": "a", "seq": 1, "user_id": "b" } })),
            made_up(json!({ "kind": "events", "after": { "session": "a", "seq": 1 }, "more": 1 })),
        ] {
            assert_eq!(read(&cursor, &[&EVENTS]), None, "{cursor}");
        }
    }
}
