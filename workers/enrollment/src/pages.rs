//! Keyset pages by id: ids are UUIDv7, so the newest come first.

use lectern_subjects::page::DEFAULT_LIMIT;
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;
use uuid::Uuid;

/// Rows per page.
pub(crate) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(DEFAULT_LIMIT)
}

/// The id that a cursor names: the page goes on below it; the first page begins above every id.
///
/// # Errors
/// COMMON_0001 when it is no cursor of ours.
pub(crate) fn below(cursor: Option<&str>) -> Result<Uuid, Refused<CommonRefusal>> {
    let Some(cursor) = cursor else { return Ok(Uuid::max()) };
    Uuid::try_parse(cursor).map_err(|_| {
        let details = json!([{ "pointer": "/cursor", "reason": "not a cursor of this list" }]);
        CommonRefusal::ValidationFailed.because(details)
    })
}
