//! Cursors of this worker's lists: the key of the last row shown, opaque to clients.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;

/// The cursor behind the row with this key.
pub(crate) fn write(key: impl std::fmt::Display) -> String {
    URL_SAFE_NO_PAD.encode(key.to_string())
}

/// The key in a cursor; none on the first page.
///
/// # Errors
/// COMMON_0001 when it is not one of ours.
pub(crate) fn read<K: FromStr>(cursor: Option<&str>) -> Result<Option<K>, Refused<CommonRefusal>> {
    let Some(cursor) = cursor else { return Ok(None) };
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            CommonRefusal::ValidationFailed
                .because(json!([{ "pointer": "/cursor", "reason": "not a cursor of this list" }]))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else() {
        assert_eq!(read::<i64>(Some(&write(2))).unwrap(), Some(2));
        assert_eq!(write(2), "Mg");
        assert_eq!(read::<i64>(None).unwrap(), None);
        for bad in ["", "!", "eA", "2"] {
            assert!(read::<i64>(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
