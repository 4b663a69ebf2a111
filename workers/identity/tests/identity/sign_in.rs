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

/// Time of one refused sign-in, in microseconds.
async fn time(world: &World, email: &str, code: &str) -> u64 {
    let begun = std::time::Instant::now();
    let refusal = world.ask(&login(email, WRONG), None).await.expect_err("wrong");
    let took = begun.elapsed();
    assert_eq!(refusal.problem.error_code, code, "{email}");
    u64::try_from(took.as_micros()).expect("it fits")
}

fn median(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    let half = times.len() / 2;
    (times[half - 1] + times[half]) as f64 / 2.0
}

/// Medians of refused sign-ins of two addresses, asked in turn.
async fn medians(world: &World, pair: [&str; 2], code: &str, free: Option<&str>) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..40 {
        for n in [round % 2, (round + 1) % 2] {
            if let Some(sql) = free {
                world.db.execute(sql).await.expect("freed");
            }
            times[n].push(time(world, pair[n], code).await);
        }
    }
    times.map(median)
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i6_who_measures_refusals_learns_nothing_medians_differ_by_less_than_a_twentieth() {
    // a hash that takes a while, as everywhere but in the other tests
    let world = World::start_with(&[("ARGON2_M_KIB", "8192"), ("ARGON2_T", "2")]).await;
    world.registers("known@example.org").await;
    for email in ["known@example.org", "nobody@example.org"] {
        world.ask(&login(email, WRONG), None).await.expect_err("warm");
    }
    let (here, nobody) = ("known@example.org", "nobody@example.org");
    let never_locked = "UPDATE identity.sign_in_attempts SET failed = 0, locked_until = NULL";
    for (what, code, free) in [("wrong", "USER_1001", Some(never_locked)), ("locked", "USER_1003", None)] {
        if free.is_none() {
            let lock =
                "UPDATE identity.sign_in_attempts SET failed = 5, locked_until = now() + interval '15 min'";
            world.db.execute(lock).await.expect("locked");
        }
        // others use this machine too: one quiet measurement of twelve is enough, and a leak leaves none
        let mut seen = Vec::new();
        while seen.len() < 12 {
            let [known, unknown] = medians(&world, [here, nobody], code, free).await;
            let gap = (known - unknown).abs() / known.max(unknown);
            seen.push(format!("{known:.0} and {unknown:.0} us: {:.1} %", gap * 100.0));
            if gap < 0.05 {
                break;
            }
        }
        println!("{what}: {seen:?}");
        assert!(seen.len() < 12, "{what}: known and unknown addresses can be told apart: {seen:?}");
    }
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
