//! Every metric, once: name, kind, help, labels, buckets. The recorder is set up from this table, documents and tests
//! read it.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use self::Kind::{Counter, Gauge};

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in the buckets given, upper bounds.
    Histogram(&'static [Bound]),
}

/// An upper bound of a bucket in thousandths, so that the table compares exactly.
pub type Bound = u32;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name; units are in it.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

/// Seconds of requests and handlers, from 1 ms to 10 s.
const SECONDS: Kind = Kind::Histogram(&[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000]);
/// Seconds that something may be late, from 10 ms to 10 min.
const LATENESS: Kind =
    Kind::Histogram(&[10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 600_000]);

/// Seed 001's buckets of sign-ins and token checks.
const LOGIN_SECONDS: Kind = Kind::Histogram(&[100, 200, 500, 1_000, 2_000, 5_000]);
const CHECK_SECONDS: Kind = Kind::Histogram(&[10, 50, 100, 200, 500]);

const fn row(name: &'static str, kind: Kind, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind, help, labels }
}

/// All metrics.
pub const TABLE: &[Metric] = &[
    // the bus
    row("service_requests_total", Counter, "requests answered on the bus", &["subject", "outcome"]),
    row("service_request_duration_seconds", SECONDS, "time in the handler", &["subject"]),
    row("service_queue_wait_seconds", SECONDS, "time between arrival and handler", &["service"]),
    row("service_shed_total", Counter, "requests answered 'overloaded': the queue was full", &["service"]),
    row("service_expired_total", Counter, "requests dropped: their deadline had passed", &["service"]),
    row("nats_events_total", Counter, "what happened to the connection", &["role", "kind"]),
    row("nats_permission_violations_total", Counter, "subjects that the broker refused us", &["role"]),
    row("panics_total", Counter, "handlers that panicked", &["service"]),
    row("cache_hits_total", Counter, "looks that found what they looked for", &["cache_type"]),
    row("cache_misses_total", Counter, "looks that did not", &["cache_type"]),
    // facts and timers
    row("outbox_pending", Gauge, "announced and not yet stored by the broker", &["service"]),
    row("outbox_lag_seconds", Gauge, "age of the oldest of them", &["service"]),
    row("relay_published_total", Counter, "announcements stored by the broker", &["service"]),
    row("relay_refused_total", Counter, "announcements that the broker refused", &["service"]),
    row("consumers_open", Gauge, "1 while the consumer is open", &["stream", "consumer"]),
    row("consumer_messages_total", Counter, "what became of messages", &["stream", "consumer", "outcome"]),
    row("dead_letters_total", Counter, "messages given up", &["stream", "consumer"]),
    row("timers_fired_total", Counter, "timers that had their effect", &["kind", "by"]),
    row("timer_lateness_seconds", LATENESS, "time between due and fired", &["kind"]),
    // the edge
    row("http_requests_total", Counter, "HTTP requests", &["method", "endpoint", "status", "service"]),
    row("http_request_duration_seconds", SECONDS, "time to answer", &["method", "endpoint", "service"]),
    row("media_requests_total", Counter, "requests for video", &["status"]),
    row("content_upload_bytes_total", Counter, "bytes of files taken", &[]),
    row("gateway_revocation_lag_seconds", SECONDS, "time until an ended session is refused", &["role"]),
    row("gateway_revocation_watcher_age_seconds", Gauge, "age of what is known of revocations", &["role"]),
    row("gateway_circuit_state", Gauge, "0 closed, 1 half open, 2 open", &["service"]),
    row("gateway_circuit_opened_total", Counter, "times that a circuit opened", &["service"]),
    row("gateway_circuit_refused_total", Counter, "requests refused: the circuit was open", &["service"]),
    // identity (names of seed 001)
    row("user_login_attempts_total", Counter, "sign-ins", &["status"]),
    row("user_failed_login_attempts_total", Counter, "refused sign-ins", &["reason"]),
    row("user_account_lockouts_total", Counter, "accounts locked after wrong passwords", &[]),
    row("user_suspicious_activity_total", Counter, "suspicious activities", &["activity_type"]),
    row("user_login_duration_seconds", LOGIN_SECONDS, "time of a sign-in", &[]),
    row("user_signup_total", Counter, "sign-ups", &["status"]),
    row("user_email_verification_total", Counter, "e-mail verifications", &["status"]),
    row("user_mfa_total", Counter, "second factors and passkeys shown or asked for", &["kind", "status"]),
    row("user_oidc_total", Counter, "answers of OpenID providers", &["provider", "status"]),
    row("user_password_reset_total", Counter, "links asked for, and what became of them", &["status"]),
    row("user_refresh_total", Counter, "exchanges of refresh tokens", &["status"]),
    row("user_session_revocations_total", Counter, "auth sessions ended", &["reason"]),
    row("user_mail_total", Counter, "attempts to deliver letters", &["status"]),
    row("user_password_hash_queue_depth", Gauge, "password hashes waiting or computed", &[]),
    row("user_password_hash_duration_seconds", SECONDS, "time of one password hash", &[]),
    row("user_token_verification_duration_seconds", CHECK_SECONDS, "time of a token's first check", &[]),
    row(
        "user_active_sessions",
        Gauge,
        "auth sessions of users that were signed in or refreshed within an hour, of all processes",
        &[],
    ),
    row("user_database_connections", Gauge, "connections of this process's identity pool", &[]),
    row("users_total", Gauge, "accounts that are not deleted, of all processes", &[]),
    row("active_users_total", Gauge, "accounts that may sign in, of all processes", &[]),
    row("user_service_info", Gauge, "always 1", &["version", "environment"]),
    row(
        "user_sealed_under_old_keys",
        Gauge,
        "values that an old key of IDENTITY_KEK still holds, of all processes",
        &[],
    ),
    row("user_erasures_open", Gauge, "people who are being forgotten and are not yet everywhere", &[]),
    // playback
    row("playback_events_total", Counter, "playback events accepted", &["kind"]),
    row("playback_events_rejected_total", Counter, "playback events not accepted", &["reason"]),
    row("playback_ingest_lag_seconds", LATENESS, "time between event and progress", &[]),
    row("playback_sessions_active", Gauge, "playback sessions that are not ended", &[]),
    // audit
    row("audit_chain_head", Gauge, "newest entry of the audit record, as last verified", &[]),
    row("audit_chain_broken", Gauge, "1 while the last verification found the audit record broken", &[]),
    // the process
    row("process_resident_memory_bytes", Gauge, "resident memory of this process", &[]),
    row("process_start_time_seconds", Gauge, "when this process started, unix seconds", &[]),
];

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts recording in this process. A second call does nothing.
pub fn init(environment: &str, started_unix_s: i64) {
    HANDLE.get_or_init(|| {
        let builder = TABLE.iter().fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
            Kind::Histogram(bounds) => {
                let bounds: Vec<f64> = bounds.iter().map(|bound| f64::from(*bound) / 1000.0).collect();
                builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), &bounds)
                    .unwrap_or_else(|_| unreachable!("{} has no buckets", metric.name))
            }
            Kind::Counter | Kind::Gauge => builder,
        });
        let handle = builder.install_recorder().ok()?;
        for metric in TABLE {
            match metric.kind {
                Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
                Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
                Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
            }
        }
        let labels =
            [("version", env!("CARGO_PKG_VERSION").to_owned()), ("environment", environment.to_owned())];
        metrics::gauge!("user_service_info", &labels).set(1.0);
        #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
        metrics::gauge!("process_start_time_seconds").set(started_unix_s as f64);
        Some(handle)
    });
}

/// Everything recorded, in Prometheus' text format; empty before [`init`].
pub fn render() -> String {
    let Some(handle) = HANDLE.get().and_then(Option::as_ref) else { return String::new() };
    if let Some(bytes) = resident_memory() {
        metrics::gauge!("process_resident_memory_bytes").set(bytes);
    }
    handle.run_upkeep();
    handle.render()
}

/// Bytes, where the system tells (Linux).
fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_a_scrape_shows() {
        init("test", 1);
        metrics::counter!("user_login_attempts_total", "status" => "success").increment(1);
        metrics::histogram!("user_login_duration_seconds").record(0.3);
        let text = render();
        assert!(text.contains("# HELP user_login_attempts_total sign-ins"), "{text}");
        assert!(text.contains("user_login_attempts_total{status=\"success\"} 1"), "{text}");
        assert!(text.contains("user_login_duration_seconds_bucket{le=\"0.5\"} 1"), "{text}");
        assert!(text.contains("user_service_info{"), "{text}");
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        for (at, metric) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..at].iter().all(|other| other.name != metric.name),
                "{} stands twice",
                metric.name
            );
            // seed 001 calls two of its gauges so
            let counter = metric.name.ends_with("_total")
                && !matches!(metric.name, "users_total" | "active_users_total");
            assert_eq!(counter, metric.kind == Kind::Counter, "{}", metric.name);
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(metric.name.ends_with("_seconds") && bounds.is_sorted(), "{}", metric.name);
            }
        }
    }
}
