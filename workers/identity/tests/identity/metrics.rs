//! Gauges that are looked up. What is counted as it happens: tests/tests/house/metrics.rs, from a scrape.

use std::time::Duration;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn i129_i134_c7_the_gauges_are_counted_by_one_process_at_a_time() {
    let world = World::start().await;
    for email in ["a@example.org", "b@example.org", "c@example.org"] {
        world.registers(email).await;
    }
    let (idle, ended) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    world.logs_in("a@example.org").await;
    world.ok(&lectern_subjects::identity::Logout { all: false }, Some(&ended.access_token)).await;
    // not refreshed for an hour: it lives, and nobody is there
    let an_hour = format!(
        "UPDATE identity.auth_sessions SET last_seen_at = last_seen_at - interval '1 hour' WHERE sid = '{}'",
        crate::world::sid(&idle)
    );
    world.db.execute(&an_hour).await.unwrap();
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
