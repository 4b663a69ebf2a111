//! Limits per client address.

use std::sync::Arc;

use lectern_subjects::identity::ResendVerification;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, login, register};

/// Codes of what was asked in parallel; `ok` for a success.
async fn outcomes(crowd: JoinSet<String>) -> Vec<String> {
    let mut outcomes = crowd.join_all().await;
    outcomes.sort();
    outcomes
}

fn times(outcomes: &[String], what: &str) -> usize {
    outcomes.iter().filter(|outcome| *outcome == what).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn i082_of_twenty_parallel_sign_ins_of_one_address_exactly_five_are_looked_at_on_two_processes() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    let mut crowd = JoinSet::new();
    for n in 0..20 {
        let world = world.clone();
        crowd.spawn(async move {
            let refusal = world.ask_from("192.0.2.7", &login(&format!("u{n}@example.org"), WRONG)).await;
            let refusal = refusal.expect_err("a wrong password");
            if refusal.problem.error_code == "COMMON_0012" {
                assert_eq!(refusal.problem.status, 429);
                assert!(
                    refusal.retry_after.is_some_and(|s| (1..=60).contains(&s)),
                    "{:?}",
                    refusal.retry_after
                );
            }
            refusal.problem.error_code
        });
    }
    let outcomes = outcomes(crowd).await;
    assert_eq!((times(&outcomes, "USER_1001"), times(&outcomes, "COMMON_0012")), (5, 15), "{outcomes:?}");
    assert_eq!(world.count("SELECT count(*) FROM identity.login_history").await, 5);
    assert_eq!(
        world.count("SELECT count(*) FROM identity.sign_in_attempts").await,
        5,
        "nobody else's counter"
    );
    // another address is not disturbed, nor is a caller on the bus, who has none
    let other = world.ask_from("192.0.2.8", &login("u0@example.org", WRONG)).await.expect_err("wrong");
    assert_eq!(other.problem.error_code, "USER_1001");
    assert_eq!(world.refused(&login("u0@example.org", WRONG), None).await, "USER_1001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i082_right_passwords_count_too_and_a_minute_later_there_is_room_again() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    // one /64 is one client
    for n in 1..=5 {
        let address = format!("2001:db8:1:2::{n}");
        world
            .ask_from(&address, &login("a@example.org", PASSWORD))
            .await
            .unwrap_or_else(|r| panic!("{}", r.body));
    }
    let refusal =
        world.ask_from("2001:db8:1:2:9::9", &login("a@example.org", PASSWORD)).await.expect_err("sixth");
    assert_eq!(refusal.problem.error_code, "COMMON_0012");
    world
        .ask_from("2001:db8:1:3::1", &login("a@example.org", PASSWORD))
        .await
        .unwrap_or_else(|r| panic!("{}", r.body));
    // no failure was counted, and refused attempts are none
    assert_eq!(world.count("SELECT sum(failed) FROM identity.sign_in_attempts").await, 0);
    assert_eq!(world.count("SELECT max(cardinality(taken_at)) FROM identity.address_attempts").await, 5);
    // the oldest of the five is a minute old, the others are not: room for exactly one
    let age = "UPDATE identity.address_attempts SET taken_at[1] = taken_at[1] - interval '1 minute'
               WHERE cardinality(taken_at) = 5";
    world.db.execute(age).await.unwrap();
    world
        .ask_from("2001:db8:1:2::1", &login("a@example.org", PASSWORD))
        .await
        .unwrap_or_else(|r| panic!("{}", r.body));
    let refusal =
        world.ask_from("2001:db8:1:2::1", &login("a@example.org", PASSWORD)).await.expect_err("again");
    assert_eq!(refusal.problem.error_code, "COMMON_0012");
    // nothing that could be traced to an address is stored
    let row =
        world.db.value("SELECT string_agg(to_jsonb(a)::text, ' ') FROM identity.address_attempts a").await;
    assert!(!row.unwrap().unwrap().contains("2001"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i083_three_sign_ups_an_hour_however_many_come_at_once() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    let mut crowd = JoinSet::new();
    for n in 0..12 {
        let world = world.clone();
        crowd.spawn(async move {
            match world.ask_from("192.0.2.7", &register(&format!("u{n}@example.org"))).await {
                Ok(_) => "ok".to_owned(),
                Err(refusal) => {
                    assert!(refusal.retry_after.is_some_and(|s| (3500..=3600).contains(&s)));
                    refusal.problem.error_code
                }
            }
        });
    }
    let outcomes = outcomes(crowd).await;
    assert_eq!((times(&outcomes, "ok"), times(&outcomes, "COMMON_0012")), (3, 9), "{outcomes:?}");
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 3);
    // signing in is counted apart
    let refusal = world.ask_from("192.0.2.7", &login("x@example.org", WRONG)).await.expect_err("wrong");
    assert_eq!(refusal.problem.error_code, "USER_1001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i082_letters_that_one_address_asks_for_are_counted_too() {
    let world = World::start().await;
    let ask = ResendVerification { email: "nobody@example.org".into() };
    for _ in 0..5 {
        world.ask_from("192.0.2.7", &ask).await.unwrap_or_else(|r| panic!("{}", r.body));
    }
    let refusal = world.ask_from("192.0.2.7", &ask).await.expect_err("sixth");
    assert_eq!(refusal.problem.error_code, "COMMON_0012");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i5_with_limits_off_a_hundred_parallel_right_passwords_of_one_address_all_succeed() {
    let world = Arc::new(World::start_with(&[("LOGIN_RATE", "off")]).await);
    world.registers("a@example.org").await;
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        let world = world.clone();
        crowd.spawn(async move {
            match world.ask_from("192.0.2.7", &login("a@example.org", PASSWORD)).await {
                Ok(_) => "ok".to_owned(),
                Err(refusal) => refusal.problem.error_code,
            }
        });
    }
    let outcomes = outcomes(crowd).await;
    assert_eq!(times(&outcomes, "ok"), 100, "{outcomes:?}");
    let state = "SELECT failed + cardinality(in_flight) + (locked_until IS NOT NULL)::int FROM identity.sign_in_attempts";
    assert_eq!(world.count(state).await, 0);
    assert_eq!(world.count("SELECT count(*) FROM identity.address_attempts").await, 0);
    assert_eq!(world.announced("security.suspicious").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i082_what_can_not_be_counted_is_not_let_through() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    world.db.execute("ALTER TABLE identity.address_attempts RENAME TO out_of_reach").await.unwrap();
    let refusal =
        world.ask_from("192.0.2.7", &login("a@example.org", PASSWORD)).await.expect_err("not counted");
    assert!(refusal.problem.status >= 500, "{}", refusal.body);
    assert_eq!(world.count("SELECT count(*) FROM identity.auth_sessions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_the_limit_of_the_address_comes_before_the_lock_of_the_account() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    for _ in 0..5 {
        let refusal = world.ask_from("192.0.2.7", &login("a@example.org", WRONG)).await.expect_err("wrong");
        assert_eq!(refusal.problem.error_code, "USER_1001");
    }
    // locked now, but the sixth try of a minute from one address does not learn that, right or wrong
    for password in [WRONG, PASSWORD] {
        let refusal =
            world.ask_from("192.0.2.7", &login("a@example.org", password)).await.expect_err("sixth");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0012", 429));
    }
    let elsewhere = world.ask_from("192.0.2.8", &login("a@example.org", PASSWORD)).await.expect_err("locked");
    assert_eq!((elsewhere.problem.error_code.as_str(), elsewhere.problem.status), ("USER_1003", 401));
    // what the limit refused is no try at the password: the lock is as old as the fifth
    assert_eq!(world.count("SELECT count(*) FROM identity.login_history").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_i161_limits_attempts_and_the_length_of_a_lock_are_settings() {
    let settings =
        [("LOGIN_RATE", "7/m"), ("MAX_LOGIN_ATTEMPTS", "3"), ("ACCOUNT_LOCKOUT_DURATION_MINUTES", "2")];
    let world = World::start_with(&settings).await;
    world.registers("a@example.org").await;
    let mut codes = Vec::new();
    for _ in 0..8 {
        let refusal = world.ask_from("192.0.2.7", &login("a@example.org", WRONG)).await.expect_err("wrong");
        if refusal.problem.error_code == "USER_1003" {
            assert!(refusal.retry_after.is_some_and(|seconds| (60..=120).contains(&seconds)));
        }
        codes.push(refusal.problem.error_code);
    }
    let expected = [["USER_1001"; 3].as_slice(), &["USER_1003"; 4], &["COMMON_0012"]].concat();
    assert_eq!(codes, expected);
}
