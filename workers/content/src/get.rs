//! Where an upload stands: for its owner, and for operators and admins.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::content::{ContentRefusal, GetUpload};

use crate::upload;

pub(crate) async fn get(app: App, call: Call, req: GetUpload) -> Outcome<GetUpload> {
    let caller = call.user()?;
    let upload = upload::load(app.pool(), req.id).await?.ok_or(ContentRefusal::UploadNotFound)?;
    if upload.owner != caller.user && !caller.is_staff() {
        return Err(ContentRefusal::UploadNotFound.into());
    }
    upload::not_expired(&upload, call.now)?;
    Ok(upload)
}
