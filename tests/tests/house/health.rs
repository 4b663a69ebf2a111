//! Health as seed 001 documents it: exact words, exact keys.

use std::time::Duration;

use lectern_harness::{Answer, Stack, StackOptions};
use serde_json::json;

use crate::shared::until;

/// Seed 001's prefix works too, and says what takes its place.
const PLACES: [&str; 2] = ["", "/user/v1"];

fn is_deprecated(answer: &Answer, successor: &str) {
    assert!(answer.header("deprecation").starts_with('@'), "{answer}");
    assert_eq!(answer.header("link"), format!("<{successor}>; rel=\"successor-version\""), "{answer}");
}

#[tokio::test]
async fn i031_i032_i033_i034_liveness_readiness_health_and_metrics_answer_as_documented() {
    let mut stack = Stack::start(StackOptions::default()).await;
    let anyone = stack.anonymous();
    let base = stack.http_url();
    for place in PLACES {
        let alive = anyone.gets(&format!("{base}{place}/health/liveness")).await.ok();
        assert_eq!(alive.json, json!({ "status": "alive" }));
        let ready = anyone.gets(&format!("{base}{place}/health/readiness")).await.ok();
        assert_eq!(ready.json["status"], "ready");
        let checks = ready.at("/checks").as_object().expect("checks");
        assert!(checks["database"] == true && checks["redis"] == true, "{ready}");
        assert!(checks.values().all(|check| check.is_boolean()), "{ready}");
        assert!(ready.json.get("reasons").is_none(), "{ready}");
        if !place.is_empty() {
            is_deprecated(&alive, "/health/liveness");
            is_deprecated(&ready, "/health/readiness");
        }
    }
    assert_eq!(anyone.gets("/health").await.ok().json["status"], "healthy");
    assert!(anyone.gets("/metrics").await.ok().header("content-type").starts_with("text/plain"));

    // which of the two is away is said
    stack.database().forbid().await.expect("no database");
    for place in PLACES {
        let page = async || anyone.gets(&format!("{base}{place}/health/readiness")).await;
        let unready = until(Duration::from_secs(20), page, |it| it.status == 503).await;
        assert_eq!(unready.json["status"], "not_ready", "{unready}");
        let checks = (&unready.json["checks"]["database"], &unready.json["checks"]["redis"]);
        assert_eq!(checks, (&json!(false), &json!(true)), "{unready}");
    }
    stack.database().allow().await.expect("a database again");
    let page = async || anyone.gets("/health/readiness").await;
    until(Duration::from_secs(30), page, |it| it.status == 200).await;

    stack.nats().kill9();
    for place in PLACES {
        let page = async || anyone.gets(&format!("{base}{place}/health/readiness")).await;
        let unready = until(Duration::from_secs(20), page, |it| it.status == 503).await;
        assert_eq!(unready.json["status"], "not_ready", "{unready}");
        assert_eq!(unready.json["checks"]["redis"], false, "{unready}");
        let alive = anyone.gets(&format!("{base}{place}/health/liveness")).await.ok();
        assert_eq!(alive.json, json!({ "status": "alive" }));
    }
    assert_eq!(anyone.gets("/health").await.is(503).json["status"], "unhealthy");
}
