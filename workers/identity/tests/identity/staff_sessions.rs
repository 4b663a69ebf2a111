//! Staff see and end sessions: somebody's, and everybody's.

use chrono::TimeDelta;
use lectern_subjects::Role;
use lectern_subjects::identity::*;
use serde_json::json;

use crate::world::{World, sid};

const LIVE: &str =
    "SELECT count(*) FROM identity.auth_sessions WHERE revoked_at IS NULL AND user_id IS NOT NULL";

#[tokio::test(flavor = "multi_thread")]
async fn staff_see_somebodys_sessions_and_end_them_all() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await;
    let user = world.registers("a@example.org").await.id;
    let pairs = [world.logs_in("a@example.org").await, world.logs_in("a@example.org").await];
    let request = |cursor| ListUserSessions { id: user, limit: Some(1), cursor };
    let first = world.ok(&request(None), Some(&admin.access_token)).await;
    let second = world.ok(&request(first.next_cursor), Some(&admin.access_token)).await;
    assert_eq!((first.items[0].sid, second.items[0].sid), (sid(&pairs[1]), sid(&pairs[0])));
    assert!(second.next_cursor.is_none() && !first.items[0].current);
    assert_eq!(world.refused(&request(None), Some(&pairs[0].access_token)).await, "COMMON_0013");

    let request = RevokeUserSessions { id: user };
    assert_eq!(world.ok(&request, Some(&admin.access_token)).await.message, "Sessions ended: 2");
    for pair in &pairs {
        assert!(world.is_told(sid(pair)).await);
        assert_eq!(world.refreshes(pair).await.unwrap_err(), "USER_1011");
    }
    assert_eq!(world.ok(&request, Some(&admin.access_token)).await.message, "Sessions ended: 0");
    assert_eq!(world.audited("session.revoked").await.len(), 1);
    assert_eq!(world.facts("session.revoked").await[0]["data"]["reason"], "admin");
    let gone = RevokeUserSessions { id: uuid::Uuid::nil().into() };
    assert_eq!(world.refused(&gone, Some(&admin.access_token)).await, "USER_1101");
    // they may sign in again
    world.logs_in("a@example.org").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybodys_sessions_end_in_batches_and_the_bucket_has_them_when_none_remains() {
    let world = World::start().await;
    world.run_identity().await;
    world.staff("admin@example.org", Role::Admin).await;
    let mut pairs = vec![world.logs_in("admin@example.org").await];
    let admin = pairs[0].access_token.clone();
    // more users than one batch holds
    for n in 0..60 {
        let email = format!("u{n}@example.org");
        world.registers(&email).await;
        pairs.push(world.logs_in(&email).await);
    }
    let past = RevokeAllSessions { began_before: Some(world.clock().now() - TimeDelta::hours(1)) };
    assert_eq!(world.ok(&past, Some(&admin)).await.remaining, 0);
    assert_eq!(world.count(LIVE).await, 61, "none began before that");

    let done = world.ok(&RevokeAllSessions::default(), Some(&admin)).await;
    assert_eq!((done.remaining, world.count(LIVE).await), (0, 0));
    for pair in &pairs {
        assert!(world.is_told(sid(pair)).await);
    }
    assert_eq!(world.announced("session.revoked").await, 61);
    let audited = world.audited("session.revoked_all").await;
    assert_eq!((audited.len(), &audited[1]["details"]), (2, &json!({ "began_before": done.began_before })));
    assert_eq!(world.refreshes(&pairs[7]).await.unwrap_err(), "USER_1011");
    // who signs in after it stays
    world.refreshes(&world.logs_in("u1@example.org").await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_process_died_is_carried_out_by_another() {
    let world = World::start().await;
    let admin = world.staff("admin@example.org", Role::Admin).await;
    let pair = world.logs_in("admin@example.org").await;
    let order = format!(
        "INSERT INTO identity.mass_revocations (id, began_before, asked_by, asked_at)
         VALUES (gen_random_uuid(), now(), '{admin}', now())"
    );
    world.db.execute(&order).await.unwrap();
    for _ in 0..600 {
        if world.count("SELECT count(*) FROM identity.mass_revocations WHERE done_at IS NOT NULL").await == 1
        {
            assert!(world.is_told(sid(&pair)).await);
            return assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1011");
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the order was never carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_ends_all_that_began_in_time_of_many_windows_of_sessions_and_no_other() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    // several windows of them, of many users and of one
    for sql in [
        "INSERT INTO identity.users (id, email, email_norm, name, created_at, updated_at)
         SELECT gen_random_uuid(), n || '@many.org', n || '@many.org', 'Many', now(), now() FROM generate_series(1, 3000) n",
        "INSERT INTO identity.auth_sessions
             (sid, kind, user_id, created_at, last_seen_at, expires_at_idle, expires_at_abs)
         SELECT gen_random_uuid(), 'user', id, now(), now(), now() + interval '1 day', now() + interval '1 day'
         FROM identity.users, generate_series(1, CASE email WHEN '7@many.org' THEN 5000 ELSE 1 END)
         WHERE email LIKE '%@many.org'",
        "UPDATE identity.auth_sessions SET created_at = now() - interval '2 hours'
         WHERE user_id IN (SELECT id FROM identity.users WHERE email LIKE '%@many.org' AND email <> '7@many.org')",
    ] {
        world.db.execute(sql).await.unwrap();
    }
    let live = world.count(LIVE).await;
    let order = RevokeAllSessions { began_before: Some(world.clock().now() - TimeDelta::hours(1)) };
    assert_eq!(world.ok(&order, Some(&admin)).await.remaining, 0);
    assert_eq!(world.count(LIVE).await, live - 2999);
    assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_taken_down_before_anybody_looks_at_a_session() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let pair = world.logs_in("admin@example.org").await;
    // no session can be read: whatever counts them runs into its timeout
    let mut keeper = world.db.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE identity.auth_sessions IN ACCESS EXCLUSIVE MODE")
        .execute(&mut keeper)
        .await
        .unwrap();
    let taken = world.ok(&RevokeAllSessions::default(), Some(&pair.access_token)).await;
    assert!(taken.remaining >= 1, "none has ended");
    assert_eq!(world.audited("session.revoked_all").await.len(), 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut keeper).await.unwrap();
    while world.count("SELECT count(*) FROM identity.mass_revocations WHERE done_at IS NULL").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(world.is_told(sid(&pair)).await);
}
