//! One asset. Knowing of it opens nothing: its bytes are served for a signed URL only.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::content::{Asset, ContentRefusal, GetAsset};
use lectern_subjects::id::{AssetId, UserId};
use sqlx::{PgExecutor, query_as};

pub(crate) async fn get(app: App, _call: Call, req: GetAsset) -> Outcome<GetAsset> {
    Ok(load(app.pool(), req.id).await?.ok_or(ContentRefusal::AssetNotFound)?)
}

/// Reads an asset.
pub(crate) async fn load(db: impl PgExecutor<'_>, id: AssetId) -> Result<Option<Asset>, sqlx::Error> {
    query_as!(
        Asset,
        r#"SELECT id AS "id: AssetId", owner AS "owner: UserId", file_name, mime, size, sha256, path, created_at
           FROM content.assets WHERE id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await
}
