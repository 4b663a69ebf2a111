//! Move an upload's offset on after a stored chunk. One conditional update decides between two chunks that began at the
//! same place; the same chunk told twice counts once.

use lectern_core::{App, Call, Error, Fault, Outcome, Tx};
use lectern_subjects::content::{AdvanceUpload, AdvancedUpload, ContentRefusal, Upload, UploadState};
use lectern_subjects::id::{UploadId, UserId};
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;
use sqlx::query;

use crate::upload;

pub(crate) async fn advance(app: App, call: Call, req: AdvanceUpload) -> Outcome<AdvanceUpload> {
    let owner = call.user()?.user;
    if req.bytes == 0 {
        return stands(&app, &call, owner, &req).await;
    }
    if !is_part_name(&req.part) {
        return Err(bad_part("letters, digits, `.`, `_` and `-` only, not beginning with a dot").into());
    }
    let mut tx = app.begin(&call).await?;
    let now = tx.now();
    let moved = query!(
        r#"UPDATE content.uploads SET "offset" = "offset" + $4
           WHERE id = $1 AND owner = $2 AND state = 'open' AND expires_at > $5
             AND "offset" = $3 AND $3 <= length - $4"#,
        req.id.0,
        owner.0,
        req.from,
        req.bytes,
        now,
    )
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return unmoved(&mut tx, &call, owner, &req).await;
    }
    query!(
        "INSERT INTO content.upload_parts (upload_id, starts_at, bytes, name) VALUES ($1, $2, $3, $4)",
        req.id.0,
        req.from,
        req.bytes,
        req.part,
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("upload_parts_name") => Fault::from(bad_part("another chunk has this name")),
        _ => Fault::broken(error),
    })?;
    let upload = upload::load(&mut *tx, req.id).await?.ok_or(ContentRefusal::UploadNotFound)?;
    let advanced = with_parts(&mut tx, upload).await?;
    let advanced = tx.commit(advanced).await?;
    metrics::counter!("content_upload_bytes_total").increment(u64::try_from(req.bytes).unwrap_or_default());
    Ok(advanced)
}

/// An empty chunk moves nothing: it asks where the upload stands, and for the parts of a whole one.
async fn stands(app: &App, call: &Call, owner: UserId, req: &AdvanceUpload) -> Outcome<AdvanceUpload> {
    let mut tx = app.begin(call).await?;
    let upload = owned(&mut tx, call, owner, req.id).await?;
    if upload.offset != req.from {
        return Err(upload::conflict(&upload).into());
    }
    Ok(with_parts(&mut tx, upload).await?)
}

/// The caller's upload, unless its time is over.
async fn owned(
    tx: &mut Tx,
    call: &Call,
    owner: UserId,
    id: UploadId,
) -> Result<Upload, Fault<ContentRefusal>> {
    let upload = upload::load(&mut **tx, id).await?.filter(|upload| upload.owner == owner);
    let upload = upload.ok_or(ContentRefusal::UploadNotFound)?;
    upload::not_expired(&upload, call.now)?;
    Ok(upload)
}

/// Why nothing was moved; or, for a chunk that was counted before, where the upload stands.
async fn unmoved(tx: &mut Tx, call: &Call, owner: UserId, req: &AdvanceUpload) -> Outcome<AdvanceUpload> {
    let upload = owned(tx, call, owner, req.id).await?;
    if was_counted(tx, req).await? {
        return Ok(with_parts(tx, upload).await?);
    }
    if upload.state == UploadState::Open && upload.offset == req.from {
        let details = json!({ "offset": upload.offset, "length": upload.length, "bytes": req.bytes });
        return Err(ContentRefusal::TooLarge.because(details).into());
    }
    Err(upload::conflict(&upload).into())
}

async fn was_counted(tx: &mut Tx, req: &AdvanceUpload) -> Result<bool, sqlx::Error> {
    let found = query!(
        "SELECT name FROM content.upload_parts WHERE upload_id = $1 AND starts_at = $2 AND bytes = $3 AND name = $4",
        req.id.0,
        req.from,
        req.bytes,
        req.part,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found.is_some())
}

/// The parts are told while they are to be joined: when all bytes are there, until the upload is an asset.
async fn with_parts(tx: &mut Tx, upload: Upload) -> Result<AdvancedUpload, sqlx::Error> {
    let parts = match upload.state {
        UploadState::Open if upload.offset == upload.length => parts(tx, upload.id).await?,
        _ => Vec::new(),
    };
    Ok(AdvancedUpload { upload, parts })
}

async fn parts(tx: &mut Tx, id: UploadId) -> Result<Vec<String>, sqlx::Error> {
    let rows = query!("SELECT name FROM content.upload_parts WHERE upload_id = $1 ORDER BY starts_at", id.0)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// A part's name is a step of a path in the object store: nothing that could lead elsewhere.
fn is_part_name(part: &str) -> bool {
    !part.starts_with('.')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn bad_part(reason: &str) -> Refused<CommonRefusal> {
    CommonRefusal::ValidationFailed.because(json!([{ "pointer": "/part", "reason": reason }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_name_leads_nowhere_else() {
        assert!(is_part_name("41943040-2ab804"));
        for part in ["..", ".a", "a/b", "a\\b", "../../media/x", "a b", "ä"] {
            assert!(!is_part_name(part), "{part:?}");
        }
    }
}
