//! One playback session.

use lectern_core::{Call, Outcome};
use lectern_subjects::playback::{GetPlayback, PlaybackRefusal};

use crate::{App, viewing};

pub(crate) async fn get(app: App, call: Call, req: GetPlayback) -> Outcome<GetPlayback> {
    let session = viewing::find(app.pool(), req.id, call.user()?.user).await?;
    Ok(session.ok_or(PlaybackRefusal::NotFound)?)
}
