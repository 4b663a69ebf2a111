//! `/health…` and `/metrics` on the public port: the same handlers as on the admin port. Metrics are for this machine only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lectern_core::admin;
use lectern_core::health::Health;

use crate::{Gateway, edge};

/// The routes.
pub(crate) fn router(state: Health) -> Router<Arc<Gateway>> {
    Router::new()
        .route("/health/liveness", get(admin::liveness))
        .route("/health/readiness", get(admin::readiness))
        .route("/health", get(admin::health))
        .route("/user/v1/health/liveness", get(old_liveness))
        .route("/user/v1/health/readiness", get(old_readiness))
        .with_state(state)
        .route("/metrics", get(metrics))
}

/// Where seed 001 has it.
async fn old_liveness() -> Response {
    let mut response = admin::liveness().await.into_response();
    edge::deprecate(response.headers_mut(), "/health/liveness");
    response
}

/// Likewise.
async fn old_readiness(health: State<Health>) -> Response {
    let mut response = admin::readiness(health).await;
    edge::deprecate(response.headers_mut(), "/health/readiness");
    response
}

/// Other machines scrape the admin port; to them this path does not exist here.
async fn metrics(
    gateway: State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Response {
    if peer.ip().is_loopback() { admin::scrape().await } else { edge::no_route(gateway, uri, headers).await }
}
