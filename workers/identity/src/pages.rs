//! Keyset pages, newest first: by time, and by id within one moment.

use chrono::{DateTime, Utc};
use lectern_subjects::page::DEFAULT_LIMIT;
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;
use uuid::Uuid;

/// Rows per page.
pub(crate) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(DEFAULT_LIMIT)
}

/// The id that a page of a list by id goes on after; the first page begins before every row.
///
/// # Errors
/// COMMON_0001 when it is no cursor of ours.
pub(crate) fn after(cursor: Option<&str>) -> Result<Uuid, Refused<CommonRefusal>> {
    let details = || json!([{ "pointer": "/cursor", "reason": "no cursor of this list" }]);
    let read = |cursor: &str| cursor.parse().map_err(|_| CommonRefusal::ValidationFailed.because(details()));
    cursor.map_or(Ok(Uuid::nil()), read)
}

/// A row's place in a list; as a cursor 48 hexadecimal digits: microseconds since 1970, then the id.
#[derive(Debug, PartialEq)]
pub(crate) struct Place {
    pub at: DateTime<Utc>,
    pub id: Uuid,
}

impl Place {
    /// The place that the page goes on below; the first page begins above every row.
    ///
    /// # Errors
    /// COMMON_0001 when it is no cursor of ours.
    pub fn below(cursor: Option<&str>) -> Result<Place, Refused<CommonRefusal>> {
        match cursor {
            None => Ok(Place { at: DateTime::<Utc>::MAX_UTC, id: Uuid::max() }),
            Some(cursor) => Place::read(cursor).ok_or_else(|| {
                let details = json!([{ "pointer": "/cursor", "reason": "not a cursor of this list" }]);
                CommonRefusal::ValidationFailed.because(details)
            }),
        }
    }

    /// The cursor.
    pub fn write(&self) -> String {
        format!("{:016x}{}", self.at.timestamp_micros(), self.id.simple())
    }

    fn read(cursor: &str) -> Option<Place> {
        if cursor.len() != 48 || !cursor.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let (at, id) = cursor.split_at(16);
        let at = DateTime::from_timestamp_micros(i64::from_str_radix(at, 16).ok()?)?;
        Some(Place { at, id: Uuid::try_parse(id).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_the_place_that_it_names() {
        let place = Place {
            at: DateTime::from_timestamp_micros(1_792_000_000_123_456).unwrap(),
            id: Uuid::from_u128(0x01a1_9b7c_a7be_7a90_8043_ed46_9f36_1cd5),
        };
        assert_eq!(Place::below(Some(&place.write())).unwrap(), place);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let (short, far) = ("0".repeat(47), "f".repeat(48));
        for cursor in ["", "abc", "'; DROP TABLE users; --", &short, &far, &"é".repeat(24)] {
            assert!(Place::below(Some(cursor)).is_err(), "{cursor:?}");
        }
    }
}
