//! The metrics that seed 001 names: as a scrape shows them.

use std::time::Duration;

use lectern_core::metrics;

use crate::world::{PASSWORD, WRONG, World, login};

/// The value of a series, once it is one that fits.
async fn until(series: &str, fits: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..400 {
        let text = metrics::render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        if let Some(value) = value.filter(|value| fits(*value)) {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no fitting {series} in\n{}", metrics::render());
}

#[tokio::test(flavor = "multi_thread")]
async fn i120_to_i135_a_scrape_shows_the_seeds_names_labels_and_buckets() {
    // other tests of this process count into the same recorder: values are compared with what they were before
    metrics::init("test", 1);
    let world = World::start().await;
    let zero = metrics::render();
    for series in [
        r#"user_login_attempts_total{status="success"}"#,
        r#"user_login_attempts_total{status="failed"}"#,
        r#"user_login_attempts_total{status="rate_limited"}"#,
        r#"user_failed_login_attempts_total{reason="invalid_password"}"#,
        r#"user_failed_login_attempts_total{reason="user_not_found"}"#,
        r#"user_failed_login_attempts_total{reason="account_locked"}"#,
        r#"user_failed_login_attempts_total{reason="rate_limited"}"#,
        r#"user_signup_total{status="success"}"#,
        r#"user_signup_total{status="failed"}"#,
        r#"user_email_verification_total{status="success"}"#,
        r#"user_email_verification_total{status="failed"}"#,
        r#"user_email_verification_total{status="expired"}"#,
        r#"user_suspicious_activity_total{activity_type="lockout"}"#,
        r#"user_suspicious_activity_total{activity_type="credential_stuffing"}"#,
        r#"user_suspicious_activity_total{activity_type="new_device"}"#,
        r#"user_suspicious_activity_total{activity_type="refresh_reuse"}"#,
        "user_account_lockouts_total",
    ] {
        assert!(zero.contains(&format!("\n{series} ")), "{series} before anything happened:\n{zero}");
    }
    let counted = async |series: &'static str| until(series, |_| true).await;
    let limited = r#"user_login_attempts_total{status="rate_limited"}"#;
    let reason = r#"user_failed_login_attempts_total{reason="rate_limited"}"#;
    let lockouts = "user_account_lockouts_total";
    let (limited_before, reason_before) = (counted(limited).await, counted(reason).await);
    let lockouts_before = counted(lockouts).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    for _ in 0..5 {
        world.ask_from("203.0.113.77", &login("a@example.org", WRONG)).await.expect_err("wrong");
    }
    world.ask_from("203.0.113.77", &login("a@example.org", PASSWORD)).await.expect_err("too many");
    until(limited, |value| value >= limited_before + 1.0).await;
    until(reason, |value| value >= reason_before + 1.0).await;
    until(lockouts, |value| value >= lockouts_before + 1.0).await;
    // a token's first check, for its histogram
    world.ok(&lectern_subjects::identity::GetMe {}, Some(&pair.access_token)).await;

    until("users_total", |value| value >= 0.0).await;
    until("active_users_total", |value| value >= 0.0).await;
    until("user_active_sessions", |value| value >= 0.0).await;
    until("user_database_connections", |value| (1.0..=5.0).contains(&value)).await;
    let text = metrics::render();
    for (name, kind) in [
        ("user_login_attempts_total", "counter"),
        ("user_failed_login_attempts_total", "counter"),
        ("user_signup_total", "counter"),
        ("user_email_verification_total", "counter"),
        ("user_suspicious_activity_total", "counter"),
        ("user_account_lockouts_total", "counter"),
        ("user_login_duration_seconds", "histogram"),
        ("user_token_verification_duration_seconds", "histogram"),
        ("user_active_sessions", "gauge"),
        ("user_database_connections", "gauge"),
        ("users_total", "gauge"),
        ("active_users_total", "gauge"),
        ("user_service_info", "gauge"),
    ] {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} {kind}:\n{text}");
    }
    for (name, buckets) in [
        ("user_login_duration_seconds", &["0.1", "0.2", "0.5", "1", "2", "5", "+Inf"][..]),
        ("user_token_verification_duration_seconds", &["0.01", "0.05", "0.1", "0.2", "0.5", "+Inf"]),
    ] {
        let start = format!("{name}_bucket{{le=\"");
        let shown: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(&start)?.split('"').next()).collect();
        assert_eq!(shown, buckets, "{name}");
    }
    let info = text.lines().find(|line| line.starts_with("user_service_info{")).expect("user_service_info");
    assert!(info.contains("version=\"") && info.contains("environment=\"") && info.ends_with(" 1"), "{info}");
    assert!(!text.contains("example.org"), "an address in a label");
}

#[tokio::test(flavor = "multi_thread")]
async fn i129_i134_the_gauges_are_counted_by_one_process_at_a_time() {
    let world = World::start().await;
    for email in ["a@example.org", "b@example.org", "c@example.org"] {
        world.registers(email).await;
    }
    world.logs_in("a@example.org").await;
    world
        .db
        .execute("UPDATE identity.users SET status = 'disabled' WHERE email = 'c@example.org'")
        .await
        .unwrap();
    // due again, and another process starts: whichever comes first counts
    world.db.execute("UPDATE identity.counts SET due_at = '-infinity'").await.unwrap();
    world.run_identity().await;
    let counted = "SELECT (users, active_users, active_sessions)::text FROM identity.counts";
    for _ in 0..400 {
        if world.db.value(counted).await.unwrap().unwrap() == "(3,2,1)" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("counted {:?}", world.db.value(counted).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn i129_counting_takes_one_part_in_a_hundred_however_long_it_takes() {
    let world = World::prepare(&[]).await;
    world.db.execute("UPDATE identity.counts SET due_at = 'infinity'").await.unwrap();
    world.run_identity().await;
    world.is_ready().await;
    // a count that waits for a quarter of a second, as one of many millions of rows would take
    let mut keeper = world.db.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE identity.users IN ACCESS EXCLUSIVE MODE")
        .execute(&mut keeper)
        .await
        .unwrap();
    world.db.execute("UPDATE identity.counts SET due_at = '-infinity'").await.unwrap();
    world.run_identity().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%identity.counts%'";
    while world.count(waits).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut keeper).await.unwrap();
    while world.count("SELECT count(*) FROM identity.counts WHERE due_at > '-infinity'").await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pause = "SELECT extract(epoch FROM due_at - counted_at)::bigint FROM identity.counts";
    assert!(world.count(pause).await >= 25, "next after {} s", world.count(pause).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn i060_c7_a_session_that_was_not_used_for_an_hour_lives_on_and_is_not_counted_as_active() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pairs = [world.logs_in("a@example.org").await, world.logs_in("a@example.org").await];
    let ages = [(&pairs[0], 3595), (&pairs[1], 3601)];
    for (pair, seconds) in ages {
        let age = format!(
            "UPDATE identity.auth_sessions SET last_seen_at = now() - interval '{seconds} seconds' WHERE sid = '{}'",
            crate::world::sid(pair)
        );
        world.db.execute(&age).await.unwrap();
    }
    let active = async |count: i64| {
        world
            .db
            .execute("UPDATE identity.counts SET due_at = '-infinity', counted_at = '-infinity'")
            .await
            .unwrap();
        // a process that starts counts at once
        world.run_identity().await;
        for _ in 0..400 {
            let counted = "SELECT CASE WHEN counted_at > '-infinity' THEN active_sessions ELSE -1 END FROM identity.counts";
            let now = world.count(counted).await;
            if now >= 0 {
                assert_eq!(now, count);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody counted");
    };
    active(1).await;
    world.refreshes(&pairs[1]).await.expect("it lives for seven days");
    let again = format!(
        "UPDATE identity.auth_sessions SET last_seen_at = now() - interval '2 hours' WHERE sid = '{}'",
        crate::world::sid(&pairs[0])
    );
    world.db.execute(&again).await.unwrap();
    active(1).await;
}
