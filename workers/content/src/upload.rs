//! An upload as it stands in the database.

use chrono::{DateTime, Utc};
use lectern_core::Tx;
use lectern_subjects::content::{ContentRefusal, Upload, UploadState};
use lectern_subjects::id::{AssetId, UploadId, UserId};
use lectern_subjects::{Refusal, Refused};
use serde_json::json;
use sqlx::{PgExecutor, query_as};

/// Reads an upload.
pub(crate) async fn load(db: impl PgExecutor<'_>, id: UploadId) -> Result<Option<Upload>, sqlx::Error> {
    query_as!(
        Upload,
        r#"SELECT id AS "id: UploadId", owner AS "owner: UserId", file_name, mime, path, length, "offset",
                  state AS "state: UploadState",
                  CASE WHEN state = 'complete' THEN id END AS "asset_id: AssetId", expires_at
           FROM content.uploads WHERE id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// Reads an upload that nobody else changes until this transaction ends.
pub(crate) async fn lock(tx: &mut Tx, id: UploadId) -> Result<Option<Upload>, sqlx::Error> {
    query_as!(
        Upload,
        r#"SELECT id AS "id: UploadId", owner AS "owner: UserId", file_name, mime, path, length, "offset",
                  state AS "state: UploadState",
                  CASE WHEN state = 'complete' THEN id END AS "asset_id: AssetId", expires_at
           FROM content.uploads WHERE id = $1 FOR UPDATE"#,
        id.0,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Refuses an unfinished upload whose time is over.
pub(crate) fn not_expired(upload: &Upload, now: DateTime<Utc>) -> Result<(), ContentRefusal> {
    if upload.state == UploadState::Open && upload.expires_at <= now {
        return Err(ContentRefusal::UploadExpired);
    }
    Ok(())
}

/// CONTENT_2202, saying where the upload stands.
pub(crate) fn conflict(upload: &Upload) -> Refused<ContentRefusal> {
    ContentRefusal::OffsetConflict
        .because(json!({ "offset": upload.offset, "length": upload.length, "state": upload.state }))
}
