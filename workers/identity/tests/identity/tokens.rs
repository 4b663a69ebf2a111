//! Signing keys, access tokens, service tokens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{CheckToken, CreateUser, GetJwks, GetMe};
use tokio::task::JoinSet;

use crate::world::{PASSWORD, World, claims, header};

#[tokio::test(flavor = "multi_thread")]
async fn p10_processes_that_start_together_agree_on_the_first_key() {
    let world = Arc::new(World::prepare(&[]).await);
    // six commands and two services, all of which find no key
    let mut commands = JoinSet::new();
    for _ in 0..6 {
        let world = world.clone();
        commands.spawn(async move {
            let pool = world.db.pool("identity", 1).await.unwrap();
            let (env, day) = (world.env(), Duration::from_secs(86_400));
            lectern_identity::issue_service_token(&pool, &env, "loader", &[], day, world.clock())
                .await
                .unwrap()
        });
    }
    tokio::join!(world.run_identity(), world.run_identity());
    let tokens = commands.join_all().await;
    world.is_ready().await;
    let mut kids: BTreeSet<_> = tokens.iter().map(|token| header(token)["kid"].to_string()).collect();
    for _ in 0..20 {
        let jwks = world.ok(&GetJwks {}, None).await;
        assert_eq!(jwks.keys.len(), 1);
        let key = &jwks.keys[0];
        assert_eq!((key.kty.as_str(), key.crv.as_str(), key.alg.as_str()), ("OKP", "Ed25519", "EdDSA"));
        kids.insert(format!("{:?}", key.kid));
    }
    assert_eq!(kids.len(), 1, "{kids:?}");
    assert_eq!(world.count("SELECT count(*) FROM identity.signing_keys").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc9068_an_access_token_says_who_for_whom_and_until_when() {
    let world = World::start().await;
    let user = world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let again = world.logs_in("a@example.org").await;
    assert_ne!(claims(&pair.access_token)["jti"], claims(&again.access_token)["jti"]);
    assert_eq!(header(&pair.access_token)["typ"], "at+jwt");
    assert_eq!(header(&pair.access_token)["alg"], "EdDSA");
    let claims = claims(&pair.access_token);
    let id = user.id.to_string();
    for (claim, value) in
        [("sub", id.as_str()), ("user_id", id.as_str()), ("role", "user"), ("iss", "lectern")]
    {
        assert_eq!(claims[claim], value, "{claim}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1800);
    let present: BTreeSet<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    // RFC 9068 §2.2, and ours; no e-mail address unless it is asked for
    let expected = [
        "iss",
        "exp",
        "aud",
        "sub",
        "client_id",
        "iat",
        "jti",
        "auth_time",
        "acr",
        "amr",
        "nbf",
        "sid",
        "roles",
        "role",
        "email_verified",
        "uv",
        "user_id",
    ];
    assert_eq!(present, BTreeSet::from(expected));
    assert_eq!((&claims["acr"], &claims["amr"]), (&"aal1".into(), &serde_json::json!(["pwd"])));
    assert_eq!(claims["auth_time"], claims["iat"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i057_the_email_and_the_issuer_stand_in_tokens_as_they_are_configured() {
    let issuer = "https://learn.example.org";
    let world = World::prepare(&[("TOKEN_CLAIM_EMAIL", "true"), ("JWT_ISSUER", issuer)]).await;
    world.run_identity().await;
    world.is_ready().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let renewed = world.refreshes(&pair).await.unwrap();
    for token in [&pair.access_token, &renewed.access_token] {
        assert_eq!(claims(token)["email"], "a@example.org");
        assert_eq!(claims(token)["iss"], issuer);
    }
    let pool = world.db.pool("identity", 1).await.unwrap();
    let (env, minute) = (world.env(), Duration::from_secs(60));
    let machine = lectern_identity::issue_service_token(&pool, &env, "m", &[], minute, world.clock()).await;
    assert_eq!(claims(&machine.unwrap())["iss"], issuer);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i3_tokens_of_the_same_moment_differ_and_the_old_one_is_refused() {
    let world =
        Arc::new(World::start_with(&[("REFRESH_GRACE_SECONDS", "0"), ("MAX_SESSIONS_PER_USER", "0")]).await);
    world.registers("a@example.org").await;
    let mut sign_ins = JoinSet::new();
    for _ in 0..16 {
        let world = world.clone();
        sign_ins.spawn(async move {
            let first = world.logs_in("a@example.org").await;
            let second = world.refreshes(&first).await.expect("its first use");
            (first, second)
        });
    }
    let pairs = sign_ins.join_all().await;
    let all = || pairs.iter().flat_map(|(first, second)| [first, second]);
    let access: BTreeSet<&str> = all().map(|pair| pair.access_token.as_str()).collect();
    let refresh: BTreeSet<&str> = all().map(|pair| pair.refresh_token.as_str()).collect();
    assert_eq!((access.len(), refresh.len()), (32, 32));
    let (first, second) = &pairs[0];
    assert_eq!(world.refreshes(first).await.unwrap_err(), "USER_1010");
    assert_eq!(world.refreshes(second).await.unwrap_err(), "USER_1010", "the whole family is ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_token_works_until_it_is_revoked() {
    let world = World::start().await;
    let pool = world.db.pool("identity", 1).await.unwrap();
    let issue = |roles: &'static [Role]| {
        let (pool, env, clock) = (pool.clone(), world.env(), world.clock().clone());
        async move {
            let quarter = Duration::from_secs(90 * 86_400);
            lectern_identity::issue_service_token(&pool, &env, "loader", roles, quarter, &clock)
                .await
                .unwrap()
        }
    };
    let token = issue(&[]).await;
    let said = claims(&token);
    assert_eq!((&said["roles"], &said["client_id"]), (&serde_json::json!(["service"]), &"loader".into()));
    // a machine has no account, and no rights beyond its roles
    assert_eq!(world.refused(&GetMe {}, Some(&token)).await, "USER_1101");
    let create = CreateUser {
        email: "a@example.org".into(),
        name: "Somebody".into(),
        role: None,
        password: PASSWORD.into(),
    };
    assert_eq!(world.refused(&create, Some(&token)).await, "COMMON_0013");
    let powerful = issue(&[Role::Admin]).await;
    world.ok(&create, Some(&powerful)).await;
    let user: UserId = said["sub"].as_str().unwrap().parse().unwrap();
    assert_eq!(claims(&powerful)["sub"], said["sub"], "one machine, one id");
    let check = CheckToken { sid: said["sid"].as_str().unwrap().parse().unwrap(), user, uv: 1 };
    assert!(world.ok(&check, None).await.active);

    assert_eq!(lectern_identity::revoke_service_tokens(&pool, "loader", world.clock()).await.unwrap(), 2);
    assert!(!world.ok(&check, None).await.active);
    for _ in 0..600 {
        if world.is_told(check.sid).await {
            // it outlives the bucket's entries, so it stays on the list and is told again
            assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 2);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the revocation was never told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_token_has_a_name_and_a_life_that_can_be() {
    let world = World::prepare(&[]).await;
    let pool = world.db.pool("identity", 1).await.unwrap();
    for (name, seconds) in [("Bad Name", 60), ("", 60), ("ok", 0), ("ok", 367 * 86_400)] {
        let ttl = Duration::from_secs(seconds);
        let issued =
            lectern_identity::issue_service_token(&pool, &world.env(), name, &[], ttl, world.clock()).await;
        assert!(issued.is_err(), "{name:?} for {seconds} s");
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.auth_sessions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_encryption_key_opens_nothing() {
    let mut world = World::start().await;
    world.env.insert("IDENTITY_KEK".into(), "//////////////////////////////////////////8=".into());
    let pool = world.db.pool("identity", 1).await.unwrap();
    let ttl = Duration::from_secs(60);
    let issued =
        lectern_identity::issue_service_token(&pool, &world.env(), "loader", &[], ttl, world.clock()).await;
    assert!(format!("{:#}", issued.unwrap_err()).contains("IDENTITY_KEK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i159_the_lives_of_tokens_are_settings() {
    let settings = [("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "5"), ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", "2")];
    let world = World::start_with(&settings).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let said = claims(&pair.access_token);
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 300);
    assert_eq!(header(&pair.access_token)["alg"], "EdDSA");
    let days = "SELECT extract(epoch FROM expires_at - issued_at)::bigint FROM identity.refresh_tokens";
    assert_eq!(world.count(days).await, 2 * 86_400);
}
