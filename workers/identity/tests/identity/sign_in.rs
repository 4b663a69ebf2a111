//! Passwords, the attempt counter, the session limit.

use std::sync::Arc;

use lectern_subjects::identity::CheckToken;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, claims, login, sid};

/// Codes of parallel sign-ins; `ok` for a success.
async fn crowd(world: &Arc<World>, count: usize, email: &str, password: &'static str) -> Vec<String> {
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        let (world, email) = (world.clone(), email.to_owned());
        crowd.spawn(async move {
            match world.ask(&login(&email, password), None).await {
                Ok(_) => "ok".to_owned(),
                Err(refusal) => refusal.problem.error_code,
            }
        });
    }
    crowd.join_all().await
}

fn times(outcomes: &[String], what: &str) -> usize {
    outcomes.iter().filter(|outcome| *outcome == what).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i4_parallel_wrong_passwords_get_exactly_five_looks_on_two_processes() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let outcomes = crowd(&world, 20, "a@example.org", WRONG).await;
    assert_eq!(times(&outcomes, "USER_1001"), 5, "{outcomes:?}");
    assert_eq!(times(&outcomes, "USER_1003"), 15, "{outcomes:?}");
    let looked = "SELECT count(*) FROM identity.login_history WHERE failure_reason = 'invalid_password'";
    assert_eq!(world.count(looked).await, 5);
    // the right password does not pass the lock, and learns until when it holds
    let refusal = world.ask(&login("a@example.org", PASSWORD), None).await.expect_err("locked");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1003", 401));
    assert!(
        refusal.retry_after.is_some_and(|seconds| (1..=900).contains(&seconds)),
        "{:?}",
        refusal.retry_after
    );
    // fifteen minutes later
    let later = "UPDATE identity.sign_in_attempts SET locked_until = now() - interval '1 second'";
    world.db.execute(later).await.unwrap();
    world.logs_in("a@example.org").await;
    assert_eq!(world.count("SELECT failed FROM identity.sign_in_attempts").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i4_a_success_starts_the_counter_over() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
        }
        world.logs_in("a@example.org").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i5_a_hundred_parallel_right_passwords_all_succeed_and_nothing_locks() {
    let world = Arc::new(World::start().await);
    world.registers("a@example.org").await;
    let outcomes = crowd(&world, 100, "a@example.org", PASSWORD).await;
    assert_eq!(times(&outcomes, "ok"), 100, "{outcomes:?}");
    let state = "SELECT failed + cardinality(in_flight) + (locked_until IS NOT NULL)::int FROM identity.sign_in_attempts";
    assert_eq!(world.count(state).await, 0);
    // identity_i12: never more than five sessions, however many sign in at once
    let live = "SELECT count(*) FROM identity.auth_sessions WHERE revoked_at IS NULL";
    assert_eq!(world.count(live).await, 5);
    assert_eq!(world.announced("user.logged_in").await, 100);
    assert_eq!(world.announced("session.revoked").await, 95);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i6_unknown_wrong_and_locked_are_answered_alike_for_known_and_unknown_addresses() {
    let world = World::start().await;
    world.registers("known@example.org").await;
    let alike = |mut body: serde_json::Value| {
        for volatile in ["timestamp", "trace_id"] {
            body.as_object_mut().unwrap().remove(volatile);
        }
        body.to_string()
    };
    let mut answers = Vec::new();
    for email in ["known@example.org", "unknown@example.org"] {
        let mut of_one = Vec::new();
        for _ in 0..7 {
            let refusal = world.ask(&login(email, WRONG), None).await.expect_err("refused");
            of_one.push((
                refusal.problem.error_code.clone(),
                refusal.retry_after.is_some(),
                alike(refusal.body),
            ));
        }
        answers.push(of_one);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][4].0, "USER_1001");
    assert_eq!(answers[0][5].0, "USER_1003");
}

#[tokio::test(flavor = "multi_thread")]
async fn c14_a_disabled_account_is_told_so_only_with_the_right_password() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1002");
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1002");
    let user = claims(&pair.access_token)["sub"].as_str().unwrap().parse().unwrap();
    assert!(!world.ok(&CheckToken { sid: sid(&pair), user, uv: 1 }, None).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn c25_the_sixth_sign_in_ends_the_oldest_session() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let first = world.logs_in("a@example.org").await;
    for _ in 0..4 {
        world.logs_in("a@example.org").await;
    }
    assert!(!world.is_told(sid(&first)).await);
    world.logs_in("a@example.org").await;
    assert!(world.is_told(sid(&first)).await);
    assert_eq!(world.refreshes(&first).await.unwrap_err(), "USER_1011");
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_a_password_is_hashed_anew_when_the_parameters_have_changed() {
    let mut world = World::start().await;
    world.registers("a@example.org").await;
    let stored = "SELECT password_hash FROM identity.users";
    assert!(world.db.value(stored).await.unwrap().unwrap().contains("m=64,t=1,p=1"));
    // a second process with other parameters; both sign in as long as both run
    world.env.insert("ARGON2_M_KIB".into(), "128".into());
    world.run_identity().await;
    for _ in 0..200 {
        world.logs_in("a@example.org").await;
        if world.db.value(stored).await.unwrap().unwrap().contains("m=128,t=1,p=1") {
            return;
        }
    }
    panic!("the second process never hashed anew");
}
