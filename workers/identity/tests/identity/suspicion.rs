//! What a person should look at, and how they learn of it.

use std::sync::Arc;

use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, login, sid};

const HOME: &str = "192.0.2.7";
const ELSEWHERE: &str = "198.51.100.7";

/// Data of the announced facts of a kind, oldest first.
async fn facts(world: &World, kind: &str) -> Vec<serde_json::Value> {
    let sql = format!(
        "SELECT coalesce(jsonb_agg(e -> 'data' ORDER BY e ->> 'occurred_at', e ->> 'event_id'), '[]')
         FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS e FROM
               (SELECT id, subject, payload FROM identity.outbox
                UNION SELECT id, subject, payload FROM identity.outbox_archive) o
               WHERE subject LIKE 'evt.identity.v1.{kind}.%') f"
    );
    serde_json::from_str(&world.db.value(&sql).await.unwrap().unwrap()).unwrap()
}

async fn audited(world: &World, event_type: &str) -> i64 {
    world
        .count(&format!(
            "SELECT count(*) FROM (SELECT id, subject FROM identity.outbox
             UNION SELECT id, subject FROM identity.outbox_archive) o
             WHERE subject LIKE 'audit.identity.v1.{event_type}.%'"
        ))
        .await
}

async fn signs_in(world: &World, address: &str, email: &str) -> TokenPair {
    world.ask_from(address, &login(email, PASSWORD)).await.unwrap_or_else(|r| panic!("{}", r.body))
}

#[tokio::test(flavor = "multi_thread")]
async fn i089_a_lock_is_announced_audited_and_told_to_the_owner_once_a_day() {
    let world = World::start_with(&[("LOGIN_RATE", "off")]).await;
    let user = world.registers("a@example.org").await;
    let lock = async || {
        for _ in 0..7 {
            world.ask_from(ELSEWHERE, &login("a@example.org", WRONG)).await.expect_err("wrong");
        }
    };
    lock().await;
    // locked attempts are announced no more: a stranger can't fill the stream
    assert_eq!(world.announced("user.login_failed").await, 5);
    let failed = facts(&world, "user.login_failed").await;
    assert_eq!(failed[0]["user_id"], serde_json::json!(user.id));
    assert_eq!(failed[0]["reason"], "invalid_password");
    assert_eq!(failed[0]["ip_prefix_hash"].as_str().unwrap().len(), 16);
    let locked = facts(&world, "user.locked").await;
    assert_eq!(locked.len(), 1);
    let suspicious = facts(&world, "security.suspicious").await;
    assert_eq!(suspicious.len(), 1);
    assert_eq!(suspicious[0]["activity_type"], "lockout");
    assert_eq!(suspicious[0]["caep_type"], "risk-level-change");
    assert_eq!((audited(&world, "user.locked").await, audited(&world, "security.suspicious").await), (1, 1));
    // the one at sign-up and this one
    let letters = world.letters("a@example.org", 2).await;
    assert_eq!(letters[1]["subject"], "Your account is locked for now");
    let unlock = "UPDATE identity.sign_in_attempts SET locked_until = now() - interval '1 second'";
    world.db.execute(unlock).await.unwrap();
    lock().await;
    assert_eq!(facts(&world, "user.locked").await.len(), 2);
    let written = "SELECT count(*) FROM identity.mail_queue";
    assert_eq!(world.count(written).await + world.letters_now("a@example.org").len() as i64, 2);
    // versions grow with each fact about the user
    let versions =
        "SELECT count(*) - count(DISTINCT convert_from(payload, 'UTF8')::jsonb ->> 'entity_version')
        FROM (SELECT id, key, subject, payload FROM identity.outbox
              UNION SELECT id, key, subject, payload FROM identity.outbox_archive) o
        WHERE subject LIKE 'evt.%' AND key = (SELECT id::text FROM identity.users)";
    assert_eq!(world.count(versions).await, 0, "two facts with one version");
}

#[tokio::test(flavor = "multi_thread")]
async fn i089_an_address_that_nobody_has_is_announced_under_a_hash_and_worries_nobody() {
    let world = World::start().await;
    for _ in 0..6 {
        world.ask(&login("nobody@example.org", WRONG), None).await.expect_err("wrong");
    }
    let failed = facts(&world, "user.login_failed").await;
    assert_eq!(failed.len(), 5);
    assert!(failed.iter().all(|fact| fact == &failed[0]), "one account, one key: {failed:?}");
    assert_eq!(failed[0]["user_id"], serde_json::Value::Null);
    assert_eq!(failed[0]["reason"], "user_not_found");
    assert_eq!(failed[0]["ip_prefix_hash"], serde_json::Value::Null);
    assert_eq!(world.announced("user.locked").await + world.announced("security.suspicious").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM identity.mail_queue").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i089_one_address_that_fails_for_ten_accounts_is_noticed_exactly_once() {
    let world = Arc::new(World::start_with(&[("LOGIN_RATE", "off")]).await);
    world.run_identity().await;
    let spray = async |from: u32, to: u32, address: &'static str| {
        let mut crowd = JoinSet::new();
        for n in from..to {
            let world = world.clone();
            let guess = login(&format!("u{n}@example.org"), WRONG);
            crowd.spawn(async move { world.ask_from(address, &guess).await.expect_err("wrong") });
        }
        crowd.join_all().await;
    };
    // the same account twice is one account
    spray(0, 9, HOME).await;
    spray(0, 3, HOME).await;
    assert_eq!(world.announced("security.suspicious").await, 0);
    spray(9, 20, HOME).await;
    let suspicious = facts(&world, "security.suspicious").await;
    assert_eq!(suspicious.len(), 1, "{suspicious:?}");
    assert_eq!(suspicious[0]["activity_type"], "credential_stuffing");
    assert_eq!(suspicious[0]["user_id"], serde_json::Value::Null);
    // an hour later it is noticed again, and of another address on its own account
    let later = "UPDATE identity.failing_addresses SET since = since - interval '1 hour'";
    world.db.execute(later).await.unwrap();
    spray(20, 30, HOME).await;
    spray(30, 40, ELSEWHERE).await;
    assert_eq!(world.announced("security.suspicious").await, 3);
    assert_eq!(audited(&world, "security.suspicious").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn i089_a_sign_in_from_a_new_place_is_told_and_its_letter_ends_it() {
    let world = World::start_with(&[("LOGIN_RATE", "off"), ("MAX_SESSIONS_PER_USER", "0")]).await;
    world.registers("a@example.org").await;
    let home = signs_in(&world, HOME, "a@example.org").await;
    // the same network, the bus, and a known device on the road are nothing new
    signs_in(&world, "192.0.2.200", "a@example.org").await;
    world.logs_in("a@example.org").await;
    let known = Login { device_token: home.device_token.clone(), ..login("a@example.org", PASSWORD) };
    world.ask_from("203.0.113.9", &known).await.unwrap_or_else(|r| panic!("{}", r.body));
    assert_eq!(world.announced("security.suspicious").await, 0);
    let thief = signs_in(&world, ELSEWHERE, "a@example.org").await;
    let suspicious = facts(&world, "security.suspicious").await;
    assert_eq!(suspicious.len(), 1);
    assert_eq!(suspicious[0]["activity_type"], "new_device");
    assert_eq!(suspicious[0]["caep_type"], "session-established");
    signs_in(&world, ELSEWHERE, "a@example.org").await;
    assert_eq!(world.announced("security.suspicious").await, 1, "only the first time");

    let letters = world.letters("a@example.org", 2).await;
    let text = letters[1]["text"].as_str().unwrap();
    let token = text.lines().last().unwrap().to_owned();
    assert!(text.contains(&format!("http://127.0.0.1:3000/session/end#token={token}")), "{text}");
    assert!(!text.contains("198.51.100"), "{text}");
    for _ in 0..2 {
        // a second click changes nothing
        world.ok(&RevokeByLink { token: token.clone() }, None).await;
        assert!(world.is_told(sid(&thief)).await);
    }
    assert_eq!(world.refreshes(&thief).await.unwrap_err(), "USER_1011");
    assert!(world.refreshes(&home).await.is_ok(), "the owner's own session lives");
    assert_eq!(world.announced("session.revoked").await, 1);
    assert_eq!(audited(&world, "session.revoked_by_link").await, 1);
    // the thief's device is no known one any more: once the account is locked, it is locked for them
    for _ in 0..5 {
        assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    }
    let thief = Login { device_token: thief.device_token, ..login("a@example.org", PASSWORD) };
    assert_eq!(world.refused(&thief, None).await, "USER_1003");
}

#[tokio::test(flavor = "multi_thread")]
async fn i089_a_link_that_is_not_ours_ends_nothing() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    for token in ["", "nonsense", pair.device_token.as_deref().unwrap(), &pair.refresh_token] {
        let refusal = world.ask(&RevokeByLink { token: token.to_owned() }, None).await.expect_err("refused");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1106", 400));
    }
    assert!(world.refreshes(&pair).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn i089_a_copied_refresh_token_is_suspicious() {
    let world = World::start_with(&[("REFRESH_GRACE_SECONDS", "0")]).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    world.refreshes(&pair).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1010");
    }
    let suspicious = facts(&world, "security.suspicious").await;
    assert_eq!(suspicious.len(), 1);
    assert_eq!(suspicious[0]["activity_type"], "refresh_reuse");
    assert_eq!(suspicious[0]["caep_type"], "session-revoked");
}
