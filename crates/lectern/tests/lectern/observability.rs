//! Alerts, dashboards and the runbook speak of metrics and rules that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lectern_core::metrics::TABLE;

/// What PromQL itself says; label names stand in braces or after `by`, which are cut out.
const WORDS: [&str; 13] = [
    "sum",
    "max",
    "min",
    "rate",
    "increase",
    "histogram_quantile",
    "by",
    "and",
    "or",
    "unless",
    "on",
    "avg",
    "count",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The metrics that an expression reads.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let mut depth = 0_u32;
    for c in expression.replace("by (", "by {").chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' | ')' if depth > 0 => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names =
        words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && !WORDS.contains(word));
    names.map(str::to_owned).collect()
}

fn exists(metric: &str) -> bool {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix));
    metric == "up" || TABLE.iter().any(|row| row.name == metric || Some(row.name) == base)
}

/// The expressions of the alert rules, each a line or an indented block.
fn rules() -> Vec<(String, String)> {
    let text = read("deploy/alerts/lectern.rules.yml");
    let rules = text.split("- alert: ").skip(1).map(|rule| {
        let name = rule.lines().next().expect("a name").to_owned();
        let expression = rule.split("expr:").nth(1).expect("an expression").split("labels:").next();
        let expression = expression.and_then(|text| text.split("for:").next()).expect("an expression");
        (name, expression.trim().trim_start_matches('|').trim().to_owned())
    });
    rules.collect()
}

#[test]
fn every_metric_of_an_alert_is_in_the_table() {
    let rules = rules();
    assert!(rules.len() >= 12, "{} rules", rules.len());
    for (name, expression) in rules {
        let metrics = metrics_of(&expression);
        assert!(!metrics.is_empty(), "{name} reads nothing: {expression}");
        for metric in metrics {
            assert!(exists(&metric), "{name} reads {metric}, which nobody writes");
        }
    }
}

#[test]
fn every_alert_has_a_synthetic_case_and_a_line_in_the_runbook() {
    let (cases, runbook) = (read("deploy/alerts/lectern.rules.test.yml"), read("docs/runbook.md"));
    for (name, _) in rules() {
        assert!(
            cases.contains(&format!("alertname: {name}\n        exp_alerts:")),
            "{name} is never seen to ring"
        );
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name} is not in docs/runbook.md");
    }
}

#[test]
fn i136_i137_the_dashboards_of_seed_001_are_there_and_read_metrics_that_exist() {
    for (file, title, panels) in [
        (
            "user-service",
            "User Service Dashboard",
            [
                "Login Success Rate",
                "Login Duration (p95)",
                "Active Sessions",
                "Failed Login Attempts by Reason",
            ],
        ),
        (
            "user-service-observability",
            "User Service Observability",
            ["Request Rate", "Error Rate", "Response Time (p95)", "Active Users"],
        ),
    ] {
        let text = read(&format!("deploy/dashboards/{file}.json"));
        let board: serde_json::Value = serde_json::from_str(&text).expect(file);
        assert_eq!(board["title"], title);
        let shown: Vec<&serde_json::Value> = board["panels"].as_array().expect("panels").iter().collect();
        for panel in panels {
            assert!(shown.iter().any(|shown| shown["title"] == panel), "{title} has no panel {panel}");
        }
        for target in shown.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
            for metric in metrics_of(target["expr"].as_str().expect("an expression")) {
                assert!(exists(&metric), "{title} reads {metric}, which nobody writes");
            }
        }
    }
}

#[test]
fn i143_c12_c13_goals_of_thirty_days_count_the_servers_faults_and_pages_ring_at_two_seconds() {
    let board: serde_json::Value =
        serde_json::from_str(&read("deploy/dashboards/user-service.json")).expect("a dashboard");
    let panels = board["panels"].as_array().expect("panels");
    for (title, goal) in [
        ("Login Availability (30 d, goal 99.9 %)", 99.9),
        ("Logins within 500 ms (30 d, goal 95 %)", 95.0),
        ("Valid Logins that Succeed (30 d, goal 99 %)", 99.0),
    ] {
        let panel = panels.iter().find(|panel| panel["title"] == title).expect(title);
        assert_eq!(panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"], goal, "{title}");
        let expression = panel["targets"][0]["expr"].as_str().expect("an expression");
        assert!(expression.contains("[30d]") && !expression.contains("[5m]"), "{expression}");
        // C13: who mistypes a password is no fault of ours
        assert!(!expression.contains("failed") && !expression.contains("4.."), "{expression}");
        for metric in metrics_of(expression) {
            assert!(exists(&metric), "{title} reads {metric}, which nobody writes");
        }
    }
    // C12: 500 ms is a bucket's bound, and 200 ms, the goal of a benchmark; at 2 s somebody is woken
    let seconds = TABLE.iter().find(|row| row.name == "user_login_duration_seconds").expect("the histogram");
    let lectern_core::metrics::Kind::Histogram(bounds) = seconds.kind else { panic!("no histogram") };
    assert!([200, 500, 2_000].iter().all(|bound| bounds.contains(bound)), "{bounds:?}");
    let slow = rules().into_iter().find(|(name, _)| name == "SlowLoginResponse").expect("the rule").1;
    assert!(slow.ends_with("> 2"), "{slow}");
    let failures = rules().into_iter().find(|(name, _)| name == "HighLoginFailureRate").expect("the rule").1;
    assert!(failures.contains("status=\"failed\""), "{failures}");
}

#[test]
fn i177_i178_i179_the_runbook_says_what_to_type() {
    let runbook = read("docs/runbook.md");
    for (chapter, words) in [
        (
            "## Release",
            &["lectern migrate", "lectern provision", "--roles", "SIGTERM", "/health/readiness"][..],
        ),
        ("## Roll back", &["migrate down --one", "--yes-lose-data"]),
        ("## A process is down", &["lectern status", "lectern run --roles"]),
        ("## The database is down", &["DATABASE_URL", "lectern status", "standby"]),
        ("## The broker or its streams are lost", &["lectern provision", "`revoked`"]),
        ("## Sign-ins fail", &["LOGIN_RATE", "user_failed_login_attempts_total"]),
        ("## Answers are slow", &["DATABASE_POOL_SIZE", "service_queue_wait_seconds"]),
        ("## A service does not answer", &["/health/readiness", "$SRV.PING"]),
    ] {
        let (_, text) =
            runbook.split_once(&format!("\n{chapter}\n")).unwrap_or_else(|| panic!("no {chapter}"));
        let text = text.split("\n## ").next().unwrap_or_default();
        for word in words {
            assert!(text.contains(word), "{chapter} does not say {word}");
        }
    }
    // what it tells to type is there: every setting by its name, every command of ours
    let mut known: Vec<&str> = lectern::settings().iter().map(|setting| setting.name).collect();
    known.extend(lectern::roles::ROLES.iter().flat_map(|role| role.settings.iter().map(|it| it.name)));
    let quoted = runbook.split('`').skip(1).step_by(2);
    for word in quoted.flat_map(|code| code.split([' ', '=', '\n'])) {
        let shouts =
            word.len() > 5 && word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let ours = !word.starts_with("KV_") && !word.starts_with("COMMON_");
        assert!(!(shouts && ours) || known.contains(&word), "{word} is no setting");
    }
}
