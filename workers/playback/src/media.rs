//! Where the bytes of a video are: an external URL as it is, or a signed URL of an uploaded file.

use chrono::{DateTime, Utc};
use lectern_core::error::CallError;
use lectern_core::{Call, Caller, Followed, Tx};
use lectern_subjects::content::{GetAsset, UploadCompleted};
use lectern_subjects::id::{AssetId, PlaybackSessionId};
use lectern_subjects::{CommonRefusal, Envelope, Refusal, Refused};
use sqlx::{query, query_scalar};

use crate::App;

/// Learns where an uploaded file is.
pub(crate) async fn on_upload_completed(_: App, mut tx: Tx, fact: Envelope<UploadCompleted>) -> Followed {
    query!(
        "INSERT INTO playback.assets (asset_id, path) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        fact.data.asset_id.0,
        fact.data.path
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit_followed().await?)
}

/// The path of an asset in the object store, `media/<asset>/<file name>`: followed from content's facts, or asked for.
///
/// # Errors
/// COMMON_0010 when it can't be told.
pub(crate) async fn path_of(
    app: &App,
    call: &Call,
    asset: AssetId,
) -> Result<String, Refused<CommonRefusal>> {
    let unavailable = |error: &dyn std::fmt::Display| {
        tracing::warn!(%asset, %error, "the path of a video can't be told");
        CommonRefusal::Unavailable.retry_after(1)
    };
    let known = query_scalar!("SELECT path FROM playback.assets WHERE asset_id = $1", asset.0)
        .fetch_optional(app.pool())
        .await
        .map_err(|error| unavailable(&error))?;
    match known {
        Some(path) => Ok(path),
        None => {
            let asked: Result<_, CallError> = app.bus().call(call, &GetAsset { id: asset }).await;
            Ok(asked.map_err(|error| unavailable(&error))?.path)
        }
    }
}

/// The signed URL of a file for one viewing of one auth session, so that revoking the session, or ending the viewing,
/// reaches the bytes (`spec/protocols.md` P8).
pub(crate) fn url(
    app: &App,
    path: &str,
    session: PlaybackSessionId,
    viewer: &Caller,
    now: DateTime<Utc>,
) -> String {
    let (psid, uid, sid) = (session.to_string(), viewer.user.to_string(), viewer.sid.to_string());
    let params = [("psid", psid.as_str()), ("uid", &uid), ("sid", &sid)];
    app.signing_keys().sign(&format!("/{path}"), &params, now + app.url_ttl())
}
