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
    world.db.execute("UPDATE identity.counts SET counted_at = '-infinity'").await.unwrap();
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
