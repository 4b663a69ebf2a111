//! The relay of the outbox (placeholder while it is being written).
use crate::app::App;
use tokio_util::sync::CancellationToken;
pub(crate) async fn run(core: App, stop: CancellationToken) {
    let _ = core.relay_woken();
    core.wake_local_relay();
    stop.cancelled().await
}
