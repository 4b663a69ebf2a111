//! Refresh tokens: one child, identical repeats, reuse ends the family.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use lectern_core::Clock;
use lectern_subjects::identity::{CheckToken, GetMe, Logout};
use tokio::task::JoinSet;

use crate::world::{World, claims, sid};

#[tokio::test(flavor = "multi_thread")]
async fn identity_i1_a_hundred_parallel_refreshes_have_one_child_and_identical_pairs() {
    // a grace that a slow machine does not outlast
    let world = Arc::new(World::start_with(&[("REFRESH_GRACE_SECONDS", "60")]).await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        let (world, pair) = (world.clone(), pair.clone());
        crowd.spawn(async move { world.refreshes(&pair).await });
    }
    let answers = crowd.join_all().await;
    let first = answers[0].as_ref().expect("a pair").clone();
    assert_ne!(first.refresh_token, pair.refresh_token);
    assert_ne!(first.access_token, pair.access_token);
    for answer in &answers {
        assert_eq!(answer.as_ref(), Ok(&first));
    }
    assert_eq!(
        world.count("SELECT count(*) FROM identity.refresh_tokens WHERE parent_hash IS NOT NULL").await,
        1
    );
    assert_eq!(world.announced("session.reuse_detected").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i1_a_token_that_comes_again_after_its_child_was_used_kills_the_family_once() {
    let world = Arc::new(World::start().await);
    world.registers("a@example.org").await;
    let first = world.logs_in("a@example.org").await;
    let second = world.refreshes(&first).await.unwrap();
    // the grace: the answer was lost, the same one comes again
    assert_eq!(world.refreshes(&first).await.unwrap(), second);
    let third = world.refreshes(&second).await.unwrap();
    // using the child ended the grace of its parent
    let mut thieves = JoinSet::new();
    for _ in 0..10 {
        let (world, first) = (world.clone(), first.clone());
        thieves.spawn(async move { world.refreshes(&first).await.unwrap_err() });
    }
    assert!(thieves.join_all().await.iter().all(|code| code == "USER_1010"));
    assert!(world.is_told(sid(&first)).await);
    assert_eq!(world.refreshes(&third).await.unwrap_err(), "USER_1010");
    let user = claims(&third.access_token)["sub"].as_str().unwrap().parse().unwrap();
    assert!(!world.ok(&CheckToken { sid: sid(&third), user, uv: 1 }, None).await.active);
    assert_eq!(world.announced("session.reuse_detected").await, 1);
    assert_eq!(world.announced("session.revoked").await, 1);
    let letters = world.letters("a@example.org", 2).await;
    assert_eq!(
        letters.iter().filter(|letter| letter["subject"] == "We ended one of your sessions").count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i1_after_the_grace_a_repeat_is_reuse() {
    let world = World::start_with(&[("REFRESH_GRACE_SECONDS", "0")]).await;
    world.registers("a@example.org").await;
    let first = world.logs_in("a@example.org").await;
    let second = world.refreshes(&first).await.unwrap();
    assert_eq!(world.refreshes(&first).await.unwrap_err(), "USER_1010");
    assert_eq!(world.refreshes(&second).await.unwrap_err(), "USER_1010");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i2_after_a_sign_out_no_refresh_that_ran_beside_it_leaves_a_live_token() {
    let world = Arc::new(World::start_with(&[("MAX_SESSIONS_PER_USER", "0")]).await);
    world.registers("a@example.org").await;
    let mut refreshed = 0;
    for _ in 0..20 {
        let pair = world.logs_in("a@example.org").await;
        let beside = {
            let (world, pair) = (world.clone(), pair.clone());
            tokio::spawn(async move { world.refreshes(&pair).await })
        };
        world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
        let user = claims(&pair.access_token)["sub"].as_str().unwrap().parse().unwrap();
        assert!(!world.ok(&CheckToken { sid: sid(&pair), user, uv: 1 }, None).await.active);
        match beside.await.unwrap() {
            Ok(child) => {
                refreshed += 1;
                assert_eq!(sid(&child), sid(&pair));
                assert_eq!(world.refreshes(&child).await.unwrap_err(), "USER_1011");
            }
            Err(code) => assert_eq!(code, "USER_1011"),
        }
    }
    println!("{refreshed} of 20 refreshes came before the sign-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_expired_refresh_tokens_are_told_apart_from_each_other() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let mut pair = world.logs_in("a@example.org").await;
    let age = "UPDATE identity.refresh_tokens SET expires_at = now() - interval '1 second'";
    world.db.execute(age).await.unwrap();
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1202");
    // an access token is no refresh token
    pair.refresh_token = "x".repeat(43);
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1006");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_its_absolute_life_however_often_it_is_refreshed() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let nearly_over = "UPDATE identity.auth_sessions SET expires_at_abs = now() + interval '1 day',
                       expires_at_idle = now() + interval '1 day'";
    world.db.execute(nearly_over).await.unwrap();
    let pair = world.refreshes(&pair).await.unwrap();
    let beyond = "SELECT count(*) FROM identity.refresh_tokens t JOIN identity.auth_sessions s USING (sid)
                  WHERE t.parent_hash IS NOT NULL AND t.expires_at > s.expires_at_abs";
    assert_eq!(world.count(beyond).await, 0);
    let over = "UPDATE identity.auth_sessions SET expires_at_abs = now() - interval '1 second',
                expires_at_idle = now() - interval '1 second'";
    world.db.execute(over).await.unwrap();
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1202");
}

#[tokio::test(flavor = "multi_thread")]
async fn i058_i063_an_access_token_that_ran_out_is_refused_as_such_and_a_refresh_buys_a_good_one() {
    // a sign-in of nearly five minutes ago, so that its token runs out while this test waits
    let (real, ago) = (Clock::default(), TimeDelta::seconds(290));
    let clock = Clock::fixed(real.now() - ago);
    let world = World::prepare_at(&[("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "5")], clock.clone()).await;
    world.run_identity().await;
    world.is_ready().await;
    world.registers("a@example.org").await;
    clock.set(real.now() - ago);
    let first = world.logs_in("a@example.org").await;
    world.ok(&GetMe {}, Some(&first.access_token)).await;
    let end = claims(&first.access_token)["exp"].as_i64().unwrap();
    while real.now().timestamp() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    clock.set(real.now());
    let refusal = world.ask(&GetMe {}, Some(&first.access_token)).await.expect_err("it ran out");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1005", 401));
    let second = world.refreshes(&first).await.expect("the session lives on");
    assert_eq!(sid(&second), sid(&first));
    world.ok(&GetMe {}, Some(&second.access_token)).await;
    assert_eq!(world.refused(&GetMe {}, Some(&first.access_token)).await, "USER_1005");
}
