//! The signing key is changed, and nobody is signed out by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use lectern_subjects::Role;
use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::world::{World, header};

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

/// A verifier asks for keys that it does not know, at most every 10 s. It asked for the old one a moment ago: here the minute
/// between publishing and signing was cut short.
async fn is_accepted(world: &World, token: &str) {
    for _ in 0..80 {
        match world.ask(&GetMe {}, Some(token)).await {
            Ok(_) => return,
            Err(refusal) => assert_eq!(refusal.problem.error_code, "USER_1006"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("the new key's token is not accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_new_key_is_published_at_once_and_signs_when_every_verifier_can_know_it() {
    let world =
        World::start_with(&[("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "1"), ("MAX_SESSIONS_PER_USER", "0")]).await;
    world.staff("admin@example.org", Role::Admin).await;
    let before = world.logs_in("admin@example.org").await.access_token;
    let asked = world.clock().now();
    let rotated = world.ok(&RotateKeys {}, Some(&before)).await;
    assert!(rotated.signs_from >= asked + TimeDelta::minutes(1), "one access lifetime later");
    assert!(rotated.old_key_until >= rotated.signs_from + TimeDelta::minutes(1), "and one more");
    let published: Vec<_> = world.ok(&GetJwks {}, None).await.keys.into_iter().map(|key| key.kid).collect();
    assert_eq!(published, [rotated.kid.clone(), kid(&before)]);
    // it does not sign yet, and asked again it is the same one
    assert_eq!(kid(&world.logs_in("admin@example.org").await.access_token), kid(&before));
    assert_eq!(world.ok(&RotateKeys {}, Some(&before)).await, rotated);
    assert_eq!((world.announced("keys.rotated").await, world.audited("keys.rotated").await.len()), (1, 1));

    // the minute passes
    let passes = format!("UPDATE identity.signing_keys SET not_before = now() WHERE kid = '{}'", rotated.kid);
    world.db.execute(&passes).await.unwrap();
    for _ in 0..600 {
        let after = world.logs_in("admin@example.org").await.access_token;
        if kid(&after) == rotated.kid {
            is_accepted(&world, &after).await;
            // the old key's tokens stay good
            return drop(world.ok(&GetMe {}, Some(&before)).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the new key never signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_rotations_that_are_asked_for_together_are_one() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let (world, admin) = (world.clone(), admin.clone());
        asking.spawn(async move { world.ok(&RotateKeys {}, Some(&admin)).await.kid });
    }
    let kids: BTreeSet<_> = asking.join_all().await.into_iter().collect();
    assert_eq!(kids.len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM identity.signing_keys").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_key_stays_as_long_as_a_machines_token_that_it_signed() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let pool = world.db.pool("identity", 1).await.unwrap();
    let issue = async |days: u64| {
        let life = Duration::from_secs(days * 86_400);
        lectern_identity::issue_service_token(&pool, &world.env(), "loader", &[], life, world.clock())
            .await
            .unwrap()
    };
    let old = kid(&issue(30).await);
    let rotated = world.ok(&RotateKeys {}, Some(&admin)).await;
    assert!(rotated.old_key_until > world.clock().now() + TimeDelta::days(30));
    // the old key still signs: a longer token makes it stay longer
    assert_eq!(kid(&issue(90).await), old);
    let days = format!(
        "SELECT extract(day FROM retire_at - now())::bigint FROM identity.signing_keys WHERE kid = '{old}'"
    );
    assert_eq!(world.count(&days).await, 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_signs_for_a_sign_in_that_began_before_there_was_one() {
    let world = World::start().await;
    let first = "SELECT count(*) FROM identity.signing_keys
                 WHERE generation = 1 AND not_before <= created_at - interval '1 minute'";
    assert_eq!(world.count(first).await, 1);
}
