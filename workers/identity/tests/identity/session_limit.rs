//! Passwords that were hashed elsewhere, and sign-ins that find no room.

use std::sync::Arc;

use lectern_subjects::identity::Logout;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, login};

#[tokio::test(flavor = "multi_thread")]
async fn c25_with_reject_the_sixth_sign_in_is_refused_and_never_counts_as_a_failure() {
    let world = Arc::new(World::start_with(&[("SESSION_LIMIT_POLICY", "reject")]).await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let world = world.clone();
        crowd.spawn(async move { world.ask(&login("a@example.org", PASSWORD), None).await });
    }
    let mut pairs = Vec::new();
    for outcome in crowd.join_all().await {
        match outcome {
            Ok(pair) => pairs.push(pair),
            Err(refusal) => {
                let problem = &refusal.problem;
                assert_eq!((problem.error_code.as_str(), problem.status), ("USER_1203", 409));
            }
        }
    }
    assert_eq!(pairs.len(), 5);
    let live = "SELECT count(*) FROM identity.auth_sessions WHERE revoked_at IS NULL";
    assert_eq!(world.count(live).await, 5);
    let state = "SELECT failed + cardinality(in_flight) + (locked_until IS NOT NULL)::int FROM identity.sign_in_attempts";
    assert_eq!(world.count(state).await, 0);
    assert_eq!(world.announced("user.login_failed").await + world.announced("session.revoked").await, 0);
    // who does not know the password learns nothing of that, and ending one makes room
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    world.ok(&Logout { all: false }, Some(&pairs[0].access_token)).await;
    world.logs_in("a@example.org").await;
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1203");
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_a_bcrypt_hash_is_accepted_and_replaced_by_argon2id_at_the_first_sign_in() {
    let world = World::start().await;
    let stored = "SELECT password_hash FROM identity.users";
    for (n, prefix) in ["$2a$", "$2b$", "$2y$"].into_iter().enumerate() {
        let email = format!("u{n}@example.org");
        world.registers(&email).await;
        let hash = bcrypt::hash_with_salt(PASSWORD, 4, [n as u8; 16]).unwrap().to_string();
        let hash = hash.replacen("$2b$", prefix, 1).replacen("$2y$", prefix, 1);
        let import = format!("UPDATE identity.users SET password_hash = '{hash}' WHERE email = '{email}'");
        world.db.execute(&import).await.unwrap();
        let stored = format!("{stored} WHERE email = '{email}'");
        assert!(world.db.value(&stored).await.unwrap().unwrap().starts_with(prefix));
        assert_eq!(world.refused(&login(&email, WRONG), None).await, "USER_1001");
        assert!(world.db.value(&stored).await.unwrap().unwrap().starts_with(prefix), "a wrong password");
        world.logs_in(&email).await;
        assert!(world.db.value(&stored).await.unwrap().unwrap().starts_with("$argon2id$"));
        world.logs_in(&email).await;
    }
}
