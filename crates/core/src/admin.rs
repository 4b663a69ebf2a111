//! The admin port of a process: `/health/liveness`, `/health/readiness`, `/health`, `/metrics`. One port per process,
//! whatever roles it runs; the gateway mounts the same handlers on its own port.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, Setting};
use crate::health::Health;
use crate::metrics;

/// Where probes and scrapes are answered.
pub const ADMIN_ADDR: Setting = Setting {
    name: "ADMIN_ADDR",
    default: Some("127.0.0.1:3001"),
    secret: false,
    help: "address and port of health and metrics; keep it off the public network",
};
/// The settings of this component.
pub const SETTINGS: &[Setting] = &[ADMIN_ADDR];

/// The process runs: nothing else is asked, so that a broken dependency never restarts it.
pub async fn liveness() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// Whether every role of the process may be given work: 200, or 503 with the reasons.
pub async fn readiness(State(health): State<Health>) -> Response {
    let (status, name) = match health.is_ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let reasons: Map<String, Value> = health
        .parts()
        .into_iter()
        .filter(|(_, state)| state != "ready")
        .map(|(part, reason)| (part, Value::from(reason)))
        .collect();
    let mut body = json!({ "status": name, "checks": checks(&health) });
    if !reasons.is_empty() {
        body["reasons"] = Value::Object(reasons);
    }
    (status, Json(body)).into_response()
}

/// A short answer for people and old monitors.
pub async fn health(State(health): State<Health>) -> Response {
    let ready = health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ready { "healthy" } else { "unhealthy" };
    (status, Json(json!({ "status": word, "version": env!("CARGO_PKG_VERSION") }))).into_response()
}

/// Everything recorded, for Prometheus.
pub async fn scrape() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render()).into_response()
}

/// True or false per dependency, over all roles of the process. `redis` is seed 001's name for what the bus does here.
fn checks(health: &Health) -> Value {
    let mut checks = Map::new();
    for (part, state) in health.parts() {
        let name = part.rsplit('/').next().unwrap_or(&part).to_owned();
        let good = state == "ready" && checks.get(&name) != Some(&Value::Bool(false));
        checks.insert(name, Value::Bool(good));
    }
    for name in ["database", "nats"] {
        checks.entry(name).or_insert(Value::Bool(health.is_ready()));
    }
    let nats = checks.get("nats").cloned().unwrap_or_default();
    checks.insert("redis".to_owned(), nats);
    Value::Object(checks)
}

/// The routes of the admin port.
pub fn router(state: Health) -> Router {
    Router::new()
        .route("/health/liveness", get(liveness))
        .route("/health/readiness", get(readiness))
        .route("/health", get(health))
        .route("/metrics", get(scrape))
        .with_state(state)
}

/// Binds the admin port.
///
/// # Errors
/// Names the setting when the address is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ConfigError> {
    TcpListener::bind(address)
        .await
        .map_err(|e| ConfigError::new(ADMIN_ADDR.name, format!("can't listen on {address}: {e}")))
}

/// Answers until it is told to stop.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(health)).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let health = Health::default();
        let answer = readiness(State(health.clone())).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "nothing has reported yet");
        health.set("identity/database", None);
        health.set("courses/database", Some("no answer within a second".to_owned()));
        health.set("identity/nats", None);
        assert_eq!(checks(&health), json!({ "database": false, "nats": true, "redis": true }));
        health.set("courses/database", None);
        assert_eq!(readiness(State(health)).await.status(), StatusCode::OK);
    }
}
