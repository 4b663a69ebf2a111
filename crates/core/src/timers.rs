//! Timers (placeholder while it is being written).
use crate::{app::App, service::Service};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
pub(crate) async fn run<A: Clone + Send + Sync + 'static>(
    _app: A,
    _core: App,
    _service: Arc<Service<A>>,
    stop: CancellationToken,
) {
    stop.cancelled().await
}
pub(crate) async fn repair<A: Clone + Send + Sync + 'static>(
    _app: A,
    _core: App,
    _service: Arc<Service<A>>,
    stop: CancellationToken,
) {
    stop.cancelled().await
}
