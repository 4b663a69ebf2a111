//! Lists: keyset pages with an opaque cursor, never OFFSET (architecture §4).

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use crate::{CommonRefusal, Refusal, Refused, Reply};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of `limit` rows from up to `limit + 1` fetched ones: the extra row only tells that more follow.
    /// `cursor` names the last row shown.
    pub fn from_rows(mut rows: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Page<T> {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = if more { rows.last().map(cursor) } else { None };
        Page { items: rows, next_cursor }
    }
}

impl<T: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static> Reply for Page<T> {}

/// Rows per page when the caller does not say.
pub const DEFAULT_LIMIT: u32 = 20;

/// Rows per page.
pub fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(DEFAULT_LIMIT)
}

/// The key that a cursor names, of the last row shown; none on the first page.
///
/// # Errors
/// COMMON_0001 when it is no cursor of such a list.
pub fn key<K: FromStr>(cursor: Option<&str>) -> Result<Option<K>, Refused<CommonRefusal>> {
    cursor.map(|cursor| cursor.parse().map_err(|_| not_a_cursor())).transpose()
}

/// The refusal of a cursor that is none.
pub fn not_a_cursor() -> Refused<CommonRefusal> {
    let details = json!([{ "pointer": "/cursor", "reason": "not a cursor of this list" }]);
    CommonRefusal::ValidationFailed.because(details)
}

/// A row's place in a list, newest first: by time, and by id within one moment. As a cursor 48 hexadecimal digits:
/// microseconds since 1970, then the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// Which row of then.
    pub id: Uuid,
}

impl Moment {
    /// Above every row: where the first page begins.
    pub const LATEST: Moment = Moment { at: DateTime::<Utc>::MAX_UTC, id: Uuid::max() };
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{}", self.at.timestamp_micros(), self.id.simple())
    }
}

impl FromStr for Moment {
    type Err = ();

    fn from_str(cursor: &str) -> Result<Moment, ()> {
        if cursor.len() != 48 || !cursor.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        let (at, id) = cursor.split_at(16);
        let at = i64::from_str_radix(at, 16).map_err(drop)?;
        let at = DateTime::from_timestamp_micros(at).ok_or(())?;
        Ok(Moment { at, id: Uuid::try_parse(id).map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_the_place_that_it_names() {
        let place = Moment {
            at: DateTime::from_timestamp_micros(1_792_000_000_123_456).unwrap(),
            id: Uuid::from_u128(0x01a1_9b7c_a7be_7a90_8043_ed46_9f36_1cd5),
        };
        assert_eq!(key(Some(&place.to_string())).unwrap(), Some(place));
        assert_eq!(key::<Moment>(None).unwrap(), None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let (short, far) = ("0".repeat(47), "f".repeat(48));
        for cursor in ["", "abc", "'; DROP TABLE users; --", &short, &far, &"é".repeat(24)] {
            assert!(key::<Moment>(Some(cursor)).is_err(), "{cursor:?}");
        }
    }
}
