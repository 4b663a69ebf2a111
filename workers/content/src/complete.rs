//! Turn a whole upload into an asset, once: whoever asks again gets the same asset.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::Refusal;
use lectern_subjects::content::{Asset, CompleteUpload, ContentRefusal, UploadCompleted, UploadState};
use lectern_subjects::id::AssetId;
use serde_json::json;
use sqlx::query;

use crate::{assets, kinds, upload};

pub(crate) async fn complete(app: App, call: Call, req: CompleteUpload) -> Outcome<CompleteUpload> {
    let owner = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    let upload = upload::lock(&mut tx, req.id).await?.filter(|upload| upload.owner == owner);
    let upload = upload.ok_or(ContentRefusal::UploadNotFound)?;
    let id = AssetId(upload.id.0);
    if upload.state == UploadState::Complete {
        call.mark_existing();
        return Ok(assets::load(&mut *tx, id).await?.ok_or(ContentRefusal::AssetNotFound)?);
    }
    upload::not_expired(&upload, tx.now())?;
    if upload.offset != upload.length || req.size != upload.length {
        return Err(upload::conflict(&upload).into());
    }
    if !kinds::matches(&upload.path, &req.sniffed) {
        let details = json!({ "file_type": upload.mime, "content_type": req.sniffed });
        return Err(ContentRefusal::TypeMismatch.because(details).into());
    }
    let asset = Asset {
        id,
        owner,
        file_name: upload.file_name,
        mime: upload.mime,
        size: req.size,
        sha256: req.sha256,
        path: upload.path,
        created_at: tx.now(),
    };
    query!("UPDATE content.uploads SET state = 'complete' WHERE id = $1", upload.id.0)
        .execute(&mut *tx)
        .await?;
    query!(
        "INSERT INTO content.assets (id, owner, file_name, mime, size, sha256, path, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        asset.id.0,
        asset.owner.0,
        asset.file_name,
        asset.mime,
        asset.size,
        asset.sha256,
        asset.path,
        asset.created_at,
    )
    .execute(&mut *tx)
    .await?;
    let fact = UploadCompleted {
        asset_id: asset.id,
        mime: asset.mime.clone(),
        size: asset.size,
        path: asset.path.clone(),
    };
    // an asset never changes: it has one version
    tx.announce(&fact, 1).await?;
    let details = json!({ "asset_id": asset.id, "size": asset.size, "sha256": asset.sha256 });
    tx.audit("upload.completed", None, details).await?;
    Ok(tx.commit(asset).await?)
}
