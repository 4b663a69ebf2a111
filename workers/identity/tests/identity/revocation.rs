//! Sign-out is answered only after every role can know of it.

use std::time::Duration;

use lectern_core::revocation::{BUCKET, Revocations, UserVersion, put_version, user_key};
use lectern_core::token::{TokenCheck, TokenFault};
use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{GetMe, Logout, SetRole, TokenPair};

use crate::world::{World, sid};

#[tokio::test(flavor = "multi_thread")]
async fn identity_i7_the_bucket_has_the_revocation_before_the_sign_out_is_answered() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    for _ in 0..10 {
        let pair = world.logs_in("a@example.org").await;
        assert!(!world.is_told(sid(&pair)).await);
        world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
        assert!(world.is_told(sid(&pair)).await);
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_out_token_is_refused_and_so_is_its_refresh_token() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1011");
    // the watcher of identity itself takes a moment to hear of it
    for _ in 0..400 {
        match world.ask(&GetMe {}, Some(&pair.access_token)).await {
            Err(refusal) => return assert_eq!(refusal.problem.error_code, "USER_1011"),
            Ok(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
    panic!("the token is still accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_signing_out_of_all_ends_every_session_and_no_one_elses() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    let mine = [world.logs_in("a@example.org").await, world.logs_in("a@example.org").await];
    let theirs = world.logs_in("b@example.org").await;
    world.ok(&Logout { all: true }, Some(&mine[0].access_token)).await;
    for pair in &mine {
        assert!(world.is_told(sid(pair)).await);
        assert_eq!(world.refreshes(pair).await.unwrap_err(), "USER_1011");
    }
    assert!(!world.is_told(sid(&theirs)).await);
    world.refreshes(&theirs).await.unwrap();
    assert_eq!(world.announced("session.revoked").await, 2);
    assert_eq!(world.announced("user.logged_out").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_signing_out_of_all_again_after_a_503_tells_every_session() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let (here, there) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    let (all, token) = (Logout { all: true }, Some(here.access_token.as_str()));
    world.delete_bucket().await;
    assert_eq!(world.refused(&all, token).await, "COMMON_0010");
    // the sweep is kept from telling them: what is told, the repetition tells
    let wait = "UPDATE identity.pending_revocations SET due_at = now() + interval '1 day'";
    world.db.execute(wait).await.unwrap();
    world.make_bucket().await;
    world.ok(&all, token).await;
    assert!(world.is_told(sid(&here)).await && world.is_told(sid(&there)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_sign_out_that_the_bucket_did_not_take_is_503_and_told_later() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    world.delete_bucket().await;
    let refusal = world.ask(&Logout { all: false }, Some(&pair.access_token)).await.expect_err("not told");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0010", 503));
    // it stands in the database all the same, and is remembered
    assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM identity.auth_sessions WHERE revoked_at IS NULL").await, 0);
    world.make_bucket().await;
    for _ in 0..600 {
        let pending = world.count("SELECT count(*) FROM identity.pending_revocations").await;
        if pending == 0 {
            return assert!(world.is_told(sid(&pair)).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the revocation was never told");
}

/// The claims version that the bucket says of a user.
async fn told_version(world: &World, user: UserId) -> i64 {
    let bucket = world.bus.bucket(BUCKET).await.unwrap();
    let entry = bucket.get(user_key(user)).await.unwrap().expect("an entry");
    serde_json::from_slice::<UserVersion>(&entry).unwrap().uv
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_version_that_is_told_late_is_never_put_over_a_newer_one() {
    let world = World::start().await;
    let user = world.registers("a@example.org").await.id;
    let bucket = world.bus.bucket(BUCKET).await.unwrap();
    // another process has told 7; what this one remembered is older
    bucket.put(user_key(user), serde_json::to_vec(&UserVersion { uv: 7 }).unwrap().into()).await.unwrap();
    let late =
        format!("INSERT INTO identity.pending_claims (user_id, uv, due_at) VALUES ('{user}', 3, now())");
    world.db.execute(&late).await.unwrap();
    while world.count("SELECT count(*) FROM identity.pending_claims").await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told_version(&world, user).await, 7);
    // a newer one is
    put_version(&bucket, user, 8).await.unwrap();
    assert_eq!(told_version(&world, user).await, 8);
    // and one where the entry was deleted, or has lapsed
    bucket.delete(user_key(user)).await.unwrap();
    put_version(&bucket, user, 5).await.unwrap();
    assert_eq!(told_version(&world, user).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_of_versions_put_at_once_the_newest_stays_whatever_their_order() {
    let world = World::start().await;
    let bucket = world.bus.bucket(BUCKET).await.unwrap();
    for _ in 0..20 {
        let user: UserId = world.clock().new_id().into();
        let mut crowd = tokio::task::JoinSet::new();
        for uv in [3, 8, 1, 6, 5, 2, 7, 4] {
            let bucket = bucket.clone();
            crowd.spawn(async move { put_version(&bucket, user, uv).await });
        }
        for put in crowd.join_all().await {
            put.unwrap();
        }
        assert_eq!(told_version(&world, user).await, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i177_a_bucket_that_was_lost_and_made_anew_is_told_again_what_is_void() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await;
    let user = world.registers("a@example.org").await.id;
    let (ended, lives) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    world.ok(&Logout { all: false }, Some(&ended.access_token)).await;
    world
        .ok(&SetRole { id: user, role: Some(Role::Moderator), roles: None }, Some(&admin.access_token))
        .await;
    // longer ago than any access token lives
    let forgotten = world.logs_in("admin@example.org").await;
    world.ok(&Logout { all: false }, Some(&forgotten.access_token)).await;
    let long_ago = format!(
        "UPDATE identity.auth_sessions SET revoked_at = now() - interval '31 minutes' WHERE sid = '{}'",
        sid(&forgotten)
    );
    world.db.execute(&long_ago).await.unwrap();

    world.delete_bucket().await;
    world.make_bucket().await;
    let version = async || {
        let bucket = world.bus.bucket(BUCKET).await.expect("the bucket");
        bucket
            .get(user_key(user))
            .await
            .expect("read")
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    for _ in 0..400 {
        if world.is_told(sid(&ended)).await && version().await.is_some() {
            assert_eq!(version().await.as_deref(), Some("{\"uv\":2}"));
            assert!(!world.is_told(sid(&lives)).await && !world.is_told(sid(&forgotten)).await);
            let pair = world.refreshes(&lives).await.expect("it lives on");
            world.ok(&GetMe {}, Some(&pair.access_token)).await;
            // a process that knows nothing but this bucket refuses what was refused before
            return knows_only_the_bucket(&world, &ended, &lives, &pair).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the new bucket was told nothing");
}

/// Checks tokens as a gateway does that has just been started.
async fn knows_only_the_bucket(world: &World, ended: &TokenPair, stale: &TokenPair, good: &TokenPair) {
    let revocations = Revocations::new(Duration::from_secs(1800));
    let stop = tokio_util::sync::CancellationToken::new();
    let watching = tokio::spawn(revocations.clone().watch(world.bus.clone(), stop.clone()));
    while revocations.is_stale() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let check = TokenCheck::new(world.bus.clone(), world.clock().clone(), revocations);
    assert!(check.check(&good.access_token).await.is_ok());
    for token in [&ended.access_token, &stale.access_token] {
        let refused = check.check(token).await;
        assert!(matches!(refused, Err(TokenFault::Refused(_))), "{refused:?}");
    }
    stop.cancel();
    watching.await.expect("it ends");
}
