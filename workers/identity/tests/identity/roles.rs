//! Roles are given and taken: tokens follow at once, and somebody stays admin.

use std::sync::Arc;

use lectern_core::revocation::{BUCKET, UserVersion, user_key};
use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{World, claims};

fn role(id: UserId, role: Role) -> SetRole {
    SetRole { id, role: Some(role), roles: None }
}

async fn told_version(world: &World, user: UserId) -> i64 {
    let bucket = world.bus.bucket(BUCKET).await.expect("the bucket");
    let value = bucket.get(user_key(user)).await.expect("reading the bucket");
    value.map_or(0, |value| serde_json::from_slice::<UserVersion>(&value).unwrap().uv)
}

/// Waits until every process refuses the token, and holds them to it.
async fn is_refused_everywhere(world: &World, token: &str) {
    let mut in_a_row = 0;
    for _ in 0..2000 {
        match world.ask(&GetMe {}, Some(token)).await {
            Err(refusal) => {
                assert_eq!(refusal.problem.error_code, "USER_1011");
                in_a_row += 1;
                if in_a_row == 40 {
                    return;
                }
            }
            Ok(_) => in_a_row = 0,
        }
    }
    panic!("the token is still accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i8_a_role_change_voids_the_old_token_and_a_refresh_answers_the_new_roles() {
    let world = World::start().await;
    world.run_identity().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let user = world.registers("a@example.org").await;
    let before = world.logs_in("a@example.org").await;
    assert_eq!(world.refused(&ListUsers::default(), Some(&before.access_token)).await, "COMMON_0013");

    let changed = world.ok(&role(user.id, Role::Moderator), Some(&admin)).await;
    assert_eq!((changed.role, changed.roles.as_slice()), (Role::Moderator, [Role::Moderator].as_slice()));
    // told before it was answered
    assert_eq!(told_version(&world, user.id).await, 2);
    let after = world.refreshes(&before).await.expect("the session lives on");
    assert_eq!(claims(&after.access_token)["roles"], json!(["moderator"]));
    assert_eq!(
        (&claims(&after.access_token)["role"], &claims(&after.access_token)["uv"]),
        (&json!("moderator"), &json!(2))
    );
    is_refused_everywhere(&world, &before.access_token).await;
    world.ok(&ListUsers::default(), Some(&after.access_token)).await;

    assert_eq!(
        world.facts("user.role_changed").await[0]["data"],
        json!({ "user_id": user.id, "old": ["user"], "new": ["moderator"] })
    );
    let audit = &world.audited("user.role_changed").await[0];
    assert_eq!(audit["details"], json!({ "old": ["user"], "new": ["moderator"], "new_role": "moderator" }));
    assert_eq!(audit["actor_id"], claims(&admin)["sub"]);
    // what changes nothing is no change
    world.ok(&role(user.id, Role::Moderator), Some(&admin)).await;
    assert_eq!((world.announced("user.role_changed").await, told_version(&world, user.id).await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i8_roles_and_version_of_a_token_belong_together_whatever_runs_meanwhile() {
    let world =
        Arc::new(World::start_with(&[("REFRESH_GRACE_SECONDS", "0"), ("MAX_SESSIONS_PER_USER", "0")]).await);
    world.run_identity().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let user = world.registers("a@example.org").await;
    let mut refreshing = JoinSet::new();
    for _ in 0..8 {
        let world = world.clone();
        let mut pair = world.logs_in("a@example.org").await;
        refreshing.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..15 {
                pair = world.refreshes(&pair).await.expect("the session lives on");
                let said = claims(&pair.access_token);
                seen.push((said["uv"].as_i64().unwrap(), said["role"].as_str().unwrap().to_owned()));
            }
            seen
        });
    }
    // versions 2, 4, … are moderator, 1, 3, … are user
    for round in 0..6 {
        let next = if round % 2 == 0 { Role::Moderator } else { Role::User };
        world.ok(&role(user.id, next), Some(&admin)).await;
    }
    let seen: Vec<_> = refreshing.join_all().await.into_iter().flatten().collect();
    for (uv, role) in &seen {
        assert_eq!(role, if uv % 2 == 0 { "moderator" } else { "user" }, "version {uv}");
    }
    assert_eq!(seen.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_role_change_that_the_bucket_did_not_take_is_503_and_told_when_repeated() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let user = world.registers("a@example.org").await;
    world.delete_bucket().await;
    let request = role(user.id, Role::Operator);
    assert_eq!(world.refused(&request, Some(&admin)).await, "COMMON_0010");
    world.make_bucket().await;
    let changed = world.ok(&request, Some(&admin)).await;
    assert_eq!((changed.role, told_version(&world, user.id).await), (Role::Operator, 2));
    assert_eq!(world.announced("user.role_changed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i029_of_several_roles_the_highest_is_the_role_and_machines_have_none() {
    let world = World::start().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let user = world.registers("a@example.org").await.id;
    let roles = |roles: &[Role]| SetRole { id: user, role: None, roles: Some(roles.to_vec()) };
    let set =
        world.ok(&roles(&[Role::Operator, Role::User, Role::Moderator, Role::User]), Some(&admin)).await;
    assert_eq!((set.role, set.roles), (Role::Operator, vec![Role::User, Role::Moderator, Role::Operator]));
    for refused in [role(user, Role::Service), roles(&[Role::User, Role::Service])] {
        assert_eq!(world.refused(&refused, Some(&admin)).await, "USER_1303");
    }
    let both = SetRole { roles: Some(vec![Role::User]), ..role(user, Role::User) };
    let neither = SetRole { id: user, role: None, roles: None };
    for refused in [both, neither, roles(&[])] {
        assert_eq!(world.refused(&refused, Some(&admin)).await, "COMMON_0001");
    }
    let unknown = json!({ "id": user, "role": "boss" }).to_string();
    let shape = lectern_subjects::decode::<SetRole>(unknown.as_bytes()).unwrap_err();
    assert_eq!((shape.code.code, shape.code.status), ("COMMON_0001", 400));
    assert_eq!(world.refused(&role(UserId(uuid::Uuid::nil()), Role::User), Some(&admin)).await, "USER_1101");
    assert_eq!(world.announced("user.role_changed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i16_the_last_active_admin_stays_one() {
    let world = World::start().await;
    let id = world.staff("admin@example.org", Role::Admin).await;
    let other = world.staff("other@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    // an admin who is switched off does not count
    world.ok(&DisableUser { id: other }, Some(&admin)).await;
    let facts = world.count("SELECT max(version) FROM identity.users").await;
    assert_eq!(world.refused(&role(id, Role::User), Some(&admin)).await, "USER_1304");
    assert_eq!(world.refused(&DisableUser { id }, Some(&admin)).await, "USER_1304");
    assert_eq!(world.refused(&DeleteUser { id }, Some(&admin)).await, "USER_1304");
    assert_eq!(world.refused(&EraseMe {}, Some(&admin)).await, "USER_1304");
    let several = SetRole { id, role: None, roles: Some(vec![Role::Moderator, Role::Operator]) };
    assert_eq!(world.refused(&several, Some(&admin)).await, "USER_1304");
    // nothing has changed: the token is good, the session lives
    world.ok(&GetMe {}, Some(&admin)).await;
    assert_eq!(world.count("SELECT max(version) FROM identity.users").await, facts);
    world.ok(&EnableUser { id: other }, Some(&admin)).await;
    world.ok(&role(id, Role::User), Some(&admin)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i16_two_admins_who_remove_each_other_at_once_leave_one() {
    let world = Arc::new(World::start_with(&[("MAX_SESSIONS_PER_USER", "0")]).await);
    world.run_identity().await;
    for round in 0..12 {
        let emails = [format!("a{round}@example.org"), format!("b{round}@example.org")];
        let ids = [world.staff(&emails[0], Role::Admin).await, world.staff(&emails[1], Role::Admin).await];
        let tokens =
            [world.logs_in(&emails[0]).await.access_token, world.logs_in(&emails[1]).await.access_token];
        // the admins of the rounds before are out of the way
        let earlier = format!(
            "UPDATE identity.users SET role = 'user', roles = '{{user}}'
             WHERE role = 'admin' AND id NOT IN ('{}', '{}')",
            ids[0], ids[1]
        );
        world.db.execute(&earlier).await.unwrap();
        let mut both = JoinSet::new();
        for (victim, token) in [(ids[1], tokens[0].clone()), (ids[0], tokens[1].clone())] {
            let world = world.clone();
            both.spawn(async move {
                let outcome = match round % 3 {
                    0 => world.ask(&role(victim, Role::User), Some(&token)).await.map(drop),
                    1 => world.ask(&DisableUser { id: victim }, Some(&token)).await.map(drop),
                    _ => world.ask(&DeleteUser { id: victim }, Some(&token)).await.map(drop),
                };
                outcome.map_err(|refusal| refusal.problem.error_code)
            });
        }
        let outcomes = both.join_all().await;
        let left = world
            .count("SELECT count(*) FROM identity.users WHERE role = 'admin' AND status = 'active'")
            .await;
        assert_eq!(left, 1, "round {round}: {outcomes:?}");
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            1,
            "round {round}: {outcomes:?}"
        );
        for refused in outcomes.into_iter().filter_map(Result::err) {
            // too late: the last one, or no admin any more
            assert!(["USER_1304", "USER_1011"].contains(&refused.as_str()), "round {round}: {refused}");
        }
    }
}
