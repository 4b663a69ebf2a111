//! Access tokens: everything that is not exactly right is refused, everywhere (`spec/reliability.md` J1, J2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_core::call::Caller;
use lectern_core::jwt::{self, Claims};
use lectern_core::revocation::{self, Revocations, UserVersion};
use lectern_core::token::{TokenCheck, TokenFault};
use lectern_core::{App, Call, Clock, Service};
use lectern_subjects::Role;
use lectern_subjects::identity::{CheckToken, GetJwks, IdentityRefusal, Jwk, Jwks, TokenState};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Running, World, eventually, no_faults};

/// A signing key with its id.
#[derive(Clone)]
pub struct Key {
    pub kid: &'static str,
    pkcs8: Vec<u8>,
}

impl Key {
    pub fn new(kid: &'static str) -> Key {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key").as_ref().to_vec();
        Key { kid, pkcs8 }
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_pkcs8(&self.pkcs8).expect("a key")
    }

    fn jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: "EdDSA".to_owned(),
            r#use: "sig".to_owned(),
            kid: self.kid.to_owned(),
            x: URL_SAFE_NO_PAD.encode(self.pair().public_key().as_ref()),
        }
    }

    pub fn sign(&self, claims: &Claims) -> String {
        jwt::sign(claims, self.kid, &self.pkcs8).expect("signed")
    }

    /// Any header over any claims, with a signature that is right for them.
    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let head = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.pair().sign(head.as_bytes());
        format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// Good claims.
pub fn claims(role: Role) -> Claims {
    let (clock, user) = (Clock::default(), Uuid::from_u128(7));
    let now = clock.now().timestamp();
    Claims {
        iss: jwt::ISSUER.to_owned(),
        aud: jwt::AUDIENCE.to_owned(),
        sub: user.into(),
        sid: Uuid::from_u128(8).into(),
        jti: clock.new_id(),
        iat: now,
        nbf: now,
        exp: now + 1800,
        client_id: "lectern".to_owned(),
        roles: vec![role],
        role,
        user_id: user.into(),
        email_verified: true,
        uv: 1,
        auth_time: now,
        amr: vec!["pwd".to_owned()],
        acr: Some("aal1".to_owned()),
        email: None,
    }
}

/// An identity that publishes a key and answers whether sessions are good: all but those of user 666.
pub async fn identity(world: &World, key: &Key) -> Running {
    let jwk = key.jwk();
    let service = Service::new("identity")
        .on(move |_: App, _: Call, _: GetJwks| {
            let keys = vec![jwk.clone()];
            async move { Ok(Jwks { keys }) }
        })
        .on(|_: App, _: Call, asked: CheckToken| async move {
            Ok(TokenState { active: asked.user.0 != Uuid::from_u128(666), reason: None })
        });
    let app = world.app("identity").await;
    world.run(&app, service).await
}

/// Whether a token was refused so, with these details.
fn is_refused(outcome: &Result<Arc<Caller>, TokenFault>, how: IdentityRefusal, details: &Value) -> bool {
    match outcome {
        Err(TokenFault::Refused(refused)) => {
            refused.refusal == how && refused.details.as_ref().unwrap_or(&Value::Null) == details
        }
        _ => false,
    }
}

/// A token check whose watcher is current.
async fn check(world: &World) -> (TokenCheck, tokio_util::sync::CancellationToken) {
    let (bus, revocations) = (world.bus("courses").await, Revocations::new(Duration::from_secs(1800)));
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(revocations.clone().watch(bus.clone(), stop.clone()));
    eventually("the watcher is current", || async { !revocations.is_stale() }).await;
    (TokenCheck::new(bus, Clock::default(), revocations), stop)
}

#[tokio::test]
async fn rel_j1_only_exactly_right_tokens_are_good() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let (tokens, _stop) = check(&world).await;

    let good = claims(Role::User);
    let caller = tokens.check(&key.sign(&good)).await.expect("good");
    assert_eq!((caller.user, caller.sid, caller.roles.as_slice()), (good.sub, good.sid, &[Role::User][..]));

    let header = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "k1" });
    let plain = serde_json::to_value(&good).expect("claims");
    tokens.check(&key.sign_as(&header, &plain)).await.expect("made by hand, and just as good");
    let with = |name: &str, value: Value| {
        let mut changed = plain.clone();
        changed[name] = value;
        key.sign_as(&header, &changed)
    };
    let without = |name: &str| {
        let mut changed = plain.clone();
        changed.as_object_mut().expect("an object").remove(name);
        key.sign_as(&header, &changed)
    };
    let headed = |header: Value| key.sign_as(&header, &plain);
    let now = good.iat;
    let (head, signature) =
        key.sign(&good).rsplit_once('.').map(|(h, s)| (h.to_owned(), s.to_owned())).expect("two");
    let stolen_key = Key { kid: "k1", ..Key::new("other") };
    let public = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.pair().public_key().as_ref());
    let hs256_head = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(json!({ "typ": "at+jwt", "alg": "HS256", "kid": "k1" }).to_string()),
        URL_SAFE_NO_PAD.encode(plain.to_string())
    );
    let hs256 = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&public, hs256_head.as_bytes()).as_ref());
    let none_head = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(json!({ "typ": "at+jwt", "alg": "none", "kid": "k1" }).to_string()),
        URL_SAFE_NO_PAD.encode(plain.to_string())
    );
    let mut bad = vec![
        ("empty", String::new()),
        ("no token", "not.a.token".to_owned()),
        ("no signature", format!("{head}.")),
        ("a changed signature", format!("{head}.A{}", &signature[1..])),
        ("signed by another key", stolen_key.sign(&good)),
        ("an unknown key", Key::new("k2").sign(&good)),
        ("alg none", format!("{none_head}.")),
        ("alg none, signed", format!("{none_head}.{signature}")),
        ("HS256 with the public key", format!("{hs256_head}.{hs256}")),
        ("typ JWT", headed(json!({ "typ": "JWT", "alg": "EdDSA", "kid": "k1" }))),
        ("no typ", headed(json!({ "alg": "EdDSA", "kid": "k1" }))),
        ("no kid", headed(json!({ "typ": "at+jwt", "alg": "EdDSA" }))),
        ("another issuer", with("iss", json!("elsewhere"))),
        ("a number as issuer", with("iss", json!(1))),
        ("another audience", with("aud", json!("elsewhere"))),
        ("not valid yet", with("nbf", json!(now + 3600))),
        ("a subject that is no text", with("sub", json!(7))),
        ("a role that is not", with("roles", json!(["emperor"]))),
        ("too long", with("client_id", json!("x".repeat(5000)))),
    ];
    for name in ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "roles", "uv", "auth_time"] {
        bad.push((name, without(name)));
    }
    for (what, token) in bad {
        let refused = tokens.check(&token).await;
        assert!(is_refused(&refused, IdentityRefusal::TokenInvalid, &Value::Null), "{what}: {refused:?}");
    }
    for expired in [with("exp", json!(now - 60)), with("exp", json!(0))] {
        let refused = tokens.check(&expired).await;
        assert!(is_refused(&refused, IdentityRefusal::TokenExpired, &Value::Null), "{refused:?}");
    }
    identity.stop().await;
}

#[tokio::test]
async fn a_revocation_reaches_every_watcher_and_a_stale_watcher_is_not_believed() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let (tokens, stop) = check(&world).await;
    let (ended, demoted, fine) = (
        Claims { sid: Uuid::from_u128(100).into(), ..claims(Role::User) },
        Claims { sub: Uuid::from_u128(200).into(), sid: Uuid::from_u128(201).into(), ..claims(Role::User) },
        Claims { sid: Uuid::from_u128(300).into(), ..claims(Role::User) },
    );
    let promoted = Claims { uv: 2, ..demoted.clone() };
    for token in [&ended, &demoted, &fine, &promoted] {
        tokens.check(&key.sign(token)).await.expect("good so far");
    }
    let bucket = world.jetstream().await.get_key_value(revocation::BUCKET).await.expect("the bucket");
    bucket.put(revocation::session_key(ended.sid), "{}".into()).await.expect("put");
    let version = serde_json::to_vec(&UserVersion { uv: 2 }).expect("written");
    bucket.put(revocation::user_key(demoted.sub), version.into()).await.expect("put");
    let (revoked, stale) = (json!({ "reason": "revoked" }), json!({ "reason": "stale_claims" }));
    for (token, why) in [(&ended, &revoked), (&demoted, &stale)] {
        let token = key.sign(token);
        eventually("it is revoked", || async {
            is_refused(&tokens.check(&token).await, IdentityRefusal::TokenRevoked, why)
        })
        .await;
    }
    tokens.check(&key.sign(&fine)).await.expect("another session stays");
    tokens.check(&key.sign(&promoted)).await.expect("a token of the new version is good");

    // a new watcher learns the whole bucket
    let (late, _stop) = check(&world).await;
    let refused = late.check(&key.sign(&ended)).await;
    assert!(is_refused(&refused, IdentityRefusal::TokenRevoked, &revoked), "{refused:?}");

    stop.cancel();
    eventually("stale", || async { tokens.revocations().is_stale() }).await;
    tokens.check(&key.sign(&fine)).await.expect("identity says it is good");
    let disabled = Claims { sub: Uuid::from_u128(666).into(), ..fine.clone() };
    let refused = tokens.check(&key.sign(&disabled)).await;
    assert!(is_refused(&refused, IdentityRefusal::TokenRevoked, &revoked), "{refused:?}");
    identity.stop().await;
    let closed = tokens.check(&key.sign(&fine)).await;
    assert!(
        matches!(closed, Err(TokenFault::Unavailable(_))),
        "nobody to ask: refused, not believed: {closed:?}"
    );
}

#[tokio::test]
async fn identity_i8_a_process_that_took_a_newer_token_takes_no_older_one_though_nobody_told_it() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let (tokens, _stop) = check(&world).await;
    let (old, other) = (claims(Role::Admin), Claims { sub: Uuid::from_u128(9).into(), ..claims(Role::User) });
    let new = Claims { uv: 2, ..claims(Role::User) };
    for token in [&old, &other, &new] {
        tokens.check(&key.sign(token)).await.expect("good so far");
    }
    let refused = tokens.check(&key.sign(&old)).await;
    let stale = json!({ "reason": "stale_claims" });
    assert!(is_refused(&refused, IdentityRefusal::TokenRevoked, &stale), "{refused:?}");
    for token in [&other, &new] {
        tokens.check(&key.sign(token)).await.expect("still good");
    }
    identity.stop().await;
}

#[tokio::test]
async fn identity_i15_unknown_key_ids_are_401_and_cost_identity_one_question_in_ten_seconds() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let key = Key::new("k1");
    let asked = Arc::new(AtomicU32::new(0));
    let (jwk, counter) = (key.jwk(), asked.clone());
    let service = Service::new("identity").on(move |_: App, _: Call, _: GetJwks| {
        counter.fetch_add(1, Ordering::Relaxed);
        let keys = vec![jwk.clone()];
        async move { Ok(Jwks { keys }) }
    });
    let app = world.app("identity").await;
    let identity = world.run(&app, service).await;
    let (tokens, _stop) = check(&world).await;
    let good = key.sign(&claims(Role::User));
    tokens.check(&good).await.expect("good");
    let before = asked.load(Ordering::Relaxed);
    let mut forgers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let kid: &'static str = format!("unknown-{n}").leak();
        let (tokens, token) = (tokens.clone(), Key::new(kid).sign(&claims(Role::Admin)));
        forgers.spawn(async move {
            let refused = tokens.check(&token).await;
            assert!(is_refused(&refused, IdentityRefusal::TokenInvalid, &Value::Null), "{refused:?}");
        });
    }
    forgers.join_all().await;
    tokens.check(&good).await.expect("still good");
    assert!(asked.load(Ordering::Relaxed) <= before + 1, "{before} {asked:?}");
    identity.stop().await;
}

#[tokio::test]
async fn rfc9068_a_token_of_another_issuer_is_none_of_ours_whoever_signed_it() {
    let _faults = no_faults().await;
    let world = World::new(&["identity"]).await;
    let key = Key::new("k1");
    let identity = identity(&world, &key).await;
    let (tokens, _stop) = check(&world).await;
    let elsewhere = tokens.clone().issued_by("https://learn.example.org");
    let theirs = Claims { iss: "https://learn.example.org".to_owned(), ..claims(Role::User) };
    elsewhere.check(&key.sign(&theirs)).await.expect("of that issuer");
    let ours = key.sign(&claims(Role::User));
    tokens.check(&ours).await.expect("of this one");
    let refused = elsewhere.check(&ours).await;
    assert!(is_refused(&refused, IdentityRefusal::TokenInvalid, &Value::Null), "{refused:?}");
    identity.stop().await;
}
