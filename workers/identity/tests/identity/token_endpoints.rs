//! Introspection, revocation, userinfo: what standard clients ask about tokens.

use std::sync::Arc;
use std::time::Duration;

use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, World, claims, login, register, sid};

async fn machine(world: &World) -> String {
    let pool = world.db.pool("identity", 1).await.unwrap();
    let (env, hour) = (world.env(), Duration::from_secs(3600));
    lectern_identity::issue_service_token(&pool, &env, "api-server", &[], hour, world.clock()).await.unwrap()
}

fn asked(token: &str) -> IntrospectToken {
    IntrospectToken { token: token.to_owned(), token_type_hint: None }
}

fn given_back(token: &str) -> RevokeToken {
    RevokeToken { token: token.to_owned(), token_type_hint: None, client_id: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc7662_a_machine_or_an_admin_learns_what_a_token_is_good_for() {
    let world = World::start().await;
    let user = world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let machine = machine(&world).await;

    let access = world.ok(&asked(&pair.access_token), Some(&machine)).await;
    let said = claims(&pair.access_token);
    assert!(access.active && access.sub == Some(user.id) && access.roles == Some(vec![Role::User]));
    assert_eq!(
        (access.token_type.as_deref(), access.client_id.as_deref()),
        (Some("Bearer"), Some("lectern"))
    );
    assert_eq!((access.iss.as_deref(), access.aud.as_deref()), (Some("lectern"), Some("lectern")));
    let written = serde_json::to_value(&access).unwrap();
    for claim in ["sid", "jti", "iat", "nbf", "exp", "auth_time", "acr", "sub", "client_id", "iss", "aud"] {
        assert_eq!(written[claim], said[claim], "{claim}");
    }
    assert!(!written.to_string().contains("example.org"), "no personal data: {written}");

    let refresh = world.ok(&asked(&pair.refresh_token), Some(&machine)).await;
    assert!(refresh.active && refresh.sub == Some(user.id) && refresh.sid == Some(sid(&pair)));
    assert_eq!(refresh.token_type.as_deref(), Some("refresh_token"));
    assert_eq!(refresh.exp.unwrap() - refresh.iat.unwrap(), 7 * 86_400);
    let own = world.ok(&asked(&machine), Some(&machine)).await;
    assert!(own.active && own.client_id.as_deref() == Some("api-server"));

    world.staff("root@example.org", Role::Admin).await;
    let admin = world.logs_in("root@example.org").await;
    assert!(world.ok(&asked(&pair.access_token), Some(&admin.access_token)).await.active);
    assert_eq!(world.refused(&asked(&pair.access_token), Some(&pair.access_token)).await, "COMMON_0013");
    assert_eq!(world.refused(&asked(&pair.access_token), None).await, "USER_1006");
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc7662_of_a_token_that_is_no_good_nothing_is_said_but_that() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let machine = machine(&world).await;
    let nothing = Introspection::default();
    let spent = world.logs_in("a@example.org").await;
    let live = world.refreshes(&spent).await.unwrap();
    let (head, signature) = live.access_token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for token in ["", "x", "a.b.c", &spent.refresh_token, &forged, &"y".repeat(8192)] {
        assert_eq!(world.ok(&asked(token), Some(&machine)).await, nothing, "{token}");
    }
    assert!(world.ok(&asked(&live.refresh_token), Some(&machine)).await.active);

    // by the database, at once: not when a watcher hears of it
    let stale = world.logs_in("a@example.org").await;
    let check = CheckToken { sid: sid(&stale), user: spent_user(&stale), uv: 1 };
    world.db.execute("UPDATE identity.users SET uv = uv + 1").await.unwrap();
    assert_eq!(world.ok(&asked(&stale.access_token), Some(&machine)).await, nothing);
    assert!(world.ok(&asked(&stale.refresh_token), Some(&machine)).await.active, "it may still be refreshed");
    let state = world.ok(&check, None).await;
    assert_eq!((state.active, state.reason), (false, Some(VoidReason::StaleClaims)));
    world.ok(&given_back(&stale.refresh_token), None).await;
    for token in [&stale.access_token, &stale.refresh_token] {
        assert_eq!(world.ok(&asked(token), Some(&machine)).await, nothing);
    }
    assert_eq!(world.ok(&check, None).await.reason, Some(VoidReason::Revoked));
    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    assert_eq!(world.ok(&asked(&live.refresh_token), Some(&machine)).await, nothing);
}

fn spent_user(pair: &TokenPair) -> UserId {
    claims(&pair.access_token)["sub"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc7009_whoever_holds_a_token_ends_its_session_and_every_role_can_know_before_the_answer() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let other = world.logs_in("a@example.org").await;
    let by_access = world.logs_in("a@example.org").await;
    let by_refresh = world.logs_in("a@example.org").await;
    let consumed = world.logs_in("a@example.org").await;
    let renewed = world.refreshes(&consumed).await.unwrap();
    let tokens = [
        (&by_access, &by_access.access_token),
        (&by_refresh, &by_refresh.refresh_token),
        (&renewed, &consumed.refresh_token),
    ];
    let mut answers = Vec::new();
    for (pair, token) in tokens {
        answers.push(world.ok(&given_back(token), None).await);
        assert!(world.is_told(sid(pair)).await);
        assert_eq!(world.refreshes(pair).await.unwrap_err(), "USER_1011");
        // a second time, and for what never was one, the answer is the same
        answers.push(world.ok(&given_back(token), None).await);
    }
    answers.push(world.ok(&given_back("no token at all"), None).await);
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(world.announced("session.revoked").await, 3);
    assert_eq!(world.announced("user.logged_out").await, 3);
    let ended = "SELECT count(*) FROM identity.auth_sessions WHERE revoke_reason = 'logout'";
    assert_eq!(world.count(ended).await, 3);
    world.refreshes(&other).await.expect("the other session lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i2_revoking_while_refreshing_leaves_no_live_token_of_the_session() {
    let world = Arc::new(World::start().await);
    world.registers("a@example.org").await;
    for round in 0..6 {
        let pair = world.logs_in("a@example.org").await;
        let mut tries = JoinSet::new();
        for n in 0..12 {
            let (world, pair) = (world.clone(), pair.clone());
            tries.spawn(async move {
                if n % 3 == round % 3 {
                    world.ok(&given_back(&pair.refresh_token), None).await;
                } else {
                    drop(world.refreshes(&pair).await);
                }
            });
        }
        tries.join_all().await;
        assert!(world.is_told(sid(&pair)).await);
    }
    let live = "SELECT count(*) FROM identity.refresh_tokens t JOIN identity.auth_sessions s USING (sid)
                WHERE s.revoked_at IS NULL";
    assert_eq!(world.count(live).await, 0);
    assert_eq!(world.announced("session.revoked").await, 6, "each ended once");
    assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_revocation_that_the_bucket_did_not_take_is_503_and_200_when_it_is_repeated() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    world.delete_bucket().await;
    assert_eq!(world.refused(&given_back(&pair.refresh_token), None).await, "COMMON_0010");
    world.make_bucket().await;
    world.ok(&given_back(&pair.refresh_token), None).await;
    assert!(world.is_told(sid(&pair)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc7009_a_machine_gives_its_token_back_and_it_is_told_for_as_long_as_it_would_have_lived() {
    let world = World::start().await;
    let (token, other) = (machine(&world).await, machine(&world).await);
    world.ok(&given_back(&token), None).await;
    let check = |token: &str| {
        let said = claims(token);
        let id = |claim: &str| said[claim].as_str().unwrap().to_owned();
        CheckToken { sid: id("sid").parse().unwrap(), user: id("sub").parse().unwrap(), uv: 1 }
    };
    assert!(world.is_told(check(&token).sid).await);
    assert!(!world.ok(&check(&token), None).await.active);
    assert!(world.ok(&check(&other), None).await.active, "the machine's other token lives");
    assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_userinfo_says_who_the_bearer_is_in_standard_claims() {
    let world = World::start().await;
    let asked = Register { phone: Some("+821012345678".into()), ..register("Mina@example.org") };
    let user = world.ok(&asked, None).await;
    let pair = world.ok(&login(&asked.email, PASSWORD), None).await;
    let info = world.ok(&GetUserinfo {}, Some(&pair.access_token)).await;
    let written = serde_json::to_value(&info).unwrap();
    let expected = json!({
        "sub": user.id, "email": "Mina@example.org", "email_verified": false, "name": "Somebody",
        "phone_number": "+821012345678", "locale": "en", "zoneinfo": "UTC", "updated_at": user.created_at.timestamp(),
    });
    assert_eq!(written, expected);
    assert_eq!(world.refused(&GetUserinfo {}, None).await, "USER_1006");
    // a machine has no account
    let machine = machine(&world).await;
    assert_eq!(world.refused(&GetUserinfo {}, Some(&machine)).await, "USER_1101");
}
