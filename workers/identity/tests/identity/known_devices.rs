//! A known device passes the lock of its account, and nothing else.

use std::sync::Arc;

use lectern_subjects::identity::{Login, Logout, TokenPair};
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, login};

fn with_device(email: &str, password: &str, pair: &TokenPair) -> Login {
    Login { device_token: pair.device_token.clone(), ..login(email, password) }
}

/// A stranger guesses until the account is locked.
async fn lock(world: &World, email: &str) {
    for _ in 0..5 {
        assert_eq!(world.refused(&login(email, WRONG), None).await, "USER_1001");
    }
    assert_eq!(world.refused(&login(email, PASSWORD), None).await, "USER_1003");
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_a_stranger_can_not_lock_the_owner_out_of_a_known_device() {
    let world = World::start().await;
    for email in ["a@example.org", "b@example.org"] {
        world.registers(email).await;
    }
    let owner = world.logs_in("a@example.org").await;
    let other = world.logs_in("b@example.org").await;
    lock(&world, "a@example.org").await;
    let again = world.ok(&with_device("a@example.org", PASSWORD, &owner), None).await;
    // the stranger is still locked out, and so is everybody without a token of this account
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1003");
    assert_eq!(world.refused(&with_device("a@example.org", PASSWORD, &other), None).await, "USER_1003");
    let mut forged = owner.clone();
    let token = forged.device_token.as_mut().unwrap();
    let last = token.pop().unwrap();
    token.push(if last == 'A' { 'Q' } else { 'A' });
    for bad in [forged, TokenPair { device_token: Some("nonsense".into()), ..owner.clone() }] {
        assert_eq!(world.refused(&with_device("a@example.org", PASSWORD, &bad), None).await, "USER_1003");
    }
    // each sign-in answers a token for the next one; a refresh answers none
    world.ok(&with_device("a@example.org", PASSWORD, &again), None).await;
    assert_eq!(world.refreshes(&again).await.unwrap().device_token, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i4_a_stolen_device_token_gets_exactly_five_looks_of_its_own_on_two_processes() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let owner = world.logs_in("a@example.org").await;
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (world, guess) = (world.clone(), with_device("a@example.org", WRONG, &owner));
        crowd.spawn(async move { world.refused(&guess, None).await });
    }
    let outcomes = crowd.join_all().await;
    let times = |what: &str| outcomes.iter().filter(|outcome| *outcome == what).count();
    assert_eq!((times("USER_1001"), times("USER_1003")), (5, 15), "{outcomes:?}");
    assert_eq!(world.refused(&with_device("a@example.org", PASSWORD, &owner), None).await, "USER_1003");
    // that locks the device, not the account: another one, or none, has its own tries
    assert_eq!(world.announced("user.locked").await, 0);
    assert_eq!(world.announced("security.suspicious").await, 1);
    let elsewhere = world.logs_in("a@example.org").await;
    world.ok(&with_device("a@example.org", PASSWORD, &elsewhere), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_a_sign_out_everywhere_makes_every_device_a_stranger() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let (first, second) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    world.ok(&Logout { all: false }, Some(&second.access_token)).await;
    lock(&world, "a@example.org").await;
    // a plain sign-out leaves the device known
    let third = world.ok(&with_device("a@example.org", PASSWORD, &second), None).await;
    world.ok(&Logout { all: true }, Some(&third.access_token)).await;
    for known in [&first, &second, &third] {
        assert_eq!(world.refused(&with_device("a@example.org", PASSWORD, known), None).await, "USER_1003");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i082_a_known_device_does_not_pass_the_limit_of_its_address() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let mut pair = world.logs_in("a@example.org").await;
    for _ in 0..5 {
        let signed_in = world.ask_from("192.0.2.7", &with_device("a@example.org", PASSWORD, &pair)).await;
        pair = signed_in.unwrap_or_else(|r| panic!("{}", r.body));
    }
    let refusal = world.ask_from("192.0.2.7", &with_device("a@example.org", PASSWORD, &pair)).await;
    assert_eq!(refusal.expect_err("sixth").problem.error_code, "COMMON_0012");
}
