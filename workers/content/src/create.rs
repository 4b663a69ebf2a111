//! Start a resumable upload (tus 1.0.0, creation).

use chrono::TimeDelta;
use lectern_core::{App, Call, Outcome};
use lectern_subjects::Refusal;
use lectern_subjects::content::{ContentRefusal, CreateUpload, UPLOAD_MAX_BYTES, Upload, UploadState};
use lectern_subjects::id::UploadId;
use serde_json::json;
use sqlx::query;

use crate::names;

/// An upload that is not finished after so many hours is given up.
const OPEN_HOURS: i64 = 24;

pub(crate) async fn create(app: App, call: Call, req: CreateUpload) -> Outcome<CreateUpload> {
    let owner = call.user()?.user;
    if req.length > UPLOAD_MAX_BYTES {
        return Err(ContentRefusal::TooLarge.because(json!({ "max_length": UPLOAD_MAX_BYTES })).into());
    }
    let name = names::clean(&req.file_name)?;
    let mut tx = app.begin(&call).await?;
    let now = tx.now();
    let id: UploadId = app.new_id();
    let upload = Upload {
        id,
        owner,
        file_name: name.file_name,
        mime: name.kind.mime.to_owned(),
        path: format!("media/{id}/{}", name.path_name),
        length: req.length,
        offset: 0,
        state: UploadState::Open,
        asset_id: None,
        expires_at: now + TimeDelta::hours(OPEN_HOURS),
    };
    query!(
        "INSERT INTO content.uploads
             (id, owner, file_name, mime, path, length, state, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        upload.id.0,
        upload.owner.0,
        upload.file_name,
        upload.mime,
        upload.path,
        upload.length,
        upload.state as UploadState,
        now,
        upload.expires_at,
    )
    .execute(&mut *tx)
    .await?;
    // a file's name may be a person's: not in the record
    let details = json!({ "upload_id": upload.id, "length": upload.length, "mime": upload.mime });
    tx.audit("upload.created", None, details).await?;
    Ok(tx.commit(upload).await?)
}
