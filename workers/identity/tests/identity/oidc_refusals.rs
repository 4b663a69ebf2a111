//! What is not believed: answers of others, of other browsers and other requests, and tokens that are not what they say.

use lectern_subjects::identity::*;
use serde_json::{Value, json};

use crate::oidc::{answer_at, with_provider};
use lectern_workbench::idp::{CLIENT, Idp, Signing, seconds};

#[tokio::test(flavor = "multi_thread")]
async fn i079_i15_an_id_token_that_is_not_what_it_says_signs_nobody_in() {
    let (world, idp) = with_provider(&[]).await;
    for signing in [Signing::Unsigned, Signing::ClientSecret, Signing::PublicKeyAsSecret, Signing::Forged] {
        idp.now(|manners| manners.signing = signing);
        assert_eq!(world.federates_not().await.0, "USER_1012", "{signing:?}");
    }
    for (alg, kid) in [
        ("none", "rsa-0"),
        ("HS256", "rsa-0"),
        ("RS512", "rsa-0"),
        ("PS256", "rsa-0"),
        ("ES256", "rsa-0"),
        ("RS256", "ec-0"),
        ("EdDSA", "ec-0"),
        ("RS256", "enc"),
    ] {
        idp.now(|manners| {
            manners.signing = Signing::Rs256;
            manners.header = json!({ "alg": alg, "kid": kid });
        });
        assert_eq!(world.federates_not().await.0, "USER_1012", "{alg} by {kid}");
    }
    for header in
        [json!({ "typ": "at+jwt" }), json!({ "crit": ["b64"], "b64": false }), json!({ "alg": null })]
    {
        idp.now(|manners| manners.header = header.clone());
        assert_eq!(world.federates_not().await.0, "USER_1012", "{header}");
    }
    idp.now(|manners| manners.header = json!({}));
    for claims in [
        json!({ "iss": "https://accounts.example" }),
        json!({ "iss": format!("{}/", idp.issuer()) }),
        json!({ "iss": null }),
        json!({ "aud": "another" }),
        json!({ "aud": [CLIENT.0, "another"] }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "azp": "another" }),
        json!({ "exp": seconds(-61) }),
        json!({ "exp": null }),
        json!({ "exp": "never" }),
        json!({ "iat": seconds(120) }),
        json!({ "iat": seconds(-660) }),
        json!({ "iat": null }),
        json!({ "nbf": seconds(120) }),
        json!({ "sub": "" }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
    ] {
        idp.now(|manners| manners.claims = claims.clone());
        let (code, details) = world.federates_not().await;
        assert_eq!(code, "USER_1012", "{claims}");
        assert_eq!(details, json!({ "provider": "mock", "reason": "the provider's ID token is not good" }));
    }
    for nonce in [json!("another"), Value::Null] {
        idp.now(|manners| manners.claims = json!({ "nonce": nonce }));
        let (code, details) = world.federates_not().await;
        assert_eq!((code.as_str(), &details[0]["pointer"]), ("COMMON_0001", &json!("/state")));
    }
    assert_eq!(world.made().await, [0, 0, 0]);
    // and what is good in more than one way of writing
    for claims in [
        json!({}),
        json!({ "aud": [CLIENT.0], "azp": null }),
        json!({ "exp": seconds(-30), "nbf": seconds(0) }),
    ] {
        idp.now(|manners| manners.claims = claims.clone());
        world.federates().await.unwrap_or_else(|refusal| panic!("{claims}: {}", refusal.body));
    }
    assert_eq!(world.made().await, [3, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_rfc9700_an_answer_comes_from_the_browser_that_began_and_once() {
    let (world, _idp) = with_provider(&[]).await;
    let answer = world.fetches_answer().await;
    let other = world.fetches_answer().await;
    // an answer that an attacker fetched, in the victim's browser
    let planted = OidcCallback { binding: other.binding.clone(), ..answer.clone() };
    assert_eq!(world.refused(&planted, None).await, "COMMON_0001");
    // after which nobody can use it
    assert_eq!(world.refused(&answer, None).await, "COMMON_0001");
    let unbound = OidcCallback { binding: String::new(), ..other };
    assert_eq!(world.refused(&unbound, None).await, "COMMON_0001");
    // the code of another start does not fit its verifier
    let (one, other) = (world.fetches_answer().await, world.fetches_answer().await);
    let mixed = OidcCallback { code: other.code.clone(), ..one };
    let refusal = world.ask(&mixed, None).await.expect_err("refused");
    assert_eq!(refusal.problem.error_code, "USER_1012");
    assert_eq!(refusal.body["details"]["reason"], "the provider does not take the code");
    // nor is it good any more where it does: a code is used once
    assert_eq!(world.refused(&other, None).await, "USER_1012");
    let answer = world.fetches_answer().await;
    for nonsense in [
        OidcCallback { state: "x".repeat(43), ..answer.clone() },
        OidcCallback { state: String::new(), ..answer.clone() },
    ] {
        assert_eq!(world.refused(&nonsense, None).await, "COMMON_0001");
    }
    let elsewhere = OidcCallback { provider: "google".to_owned(), ..answer.clone() };
    assert_eq!(world.refused(&elsewhere, None).await, "COMMON_0006");
    assert_eq!(world.refused(&StartOidc { provider: "MOCK".to_owned() }, None).await, "COMMON_0006");
    world.ok(&answer, None).await;
    let late = world.fetches_answer().await;
    let later = "UPDATE identity.challenges SET created_at = created_at - interval '5 minutes',
                 expires_at = expires_at - interval '5 minutes'";
    world.db.execute(later).await.unwrap();
    assert_eq!(world.refused(&late, None).await, "COMMON_0001");
    assert_eq!(world.made().await, [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_rfc9207_an_answer_says_who_it_is_from_where_the_provider_always_does() {
    let (world, idp) = with_provider(&[]).await;
    for iss in [Some("https://accounts.example".to_owned()), Some(String::new()), None] {
        let answer = OidcCallback { iss, ..world.fetches_answer().await };
        let refusal = world.ask(&answer, None).await.expect_err("refused");
        assert_eq!(refusal.body["details"][0]["pointer"], "/iss");
    }
    assert_eq!(idp.asked("token"), 0, "the code was given to somebody");
    let neither = OidcCallback { code: None, ..world.fetches_answer().await };
    assert_eq!(world.refused(&neither, None).await, "COMMON_0001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_a_provider_that_says_nothing_of_itself_in_answers_may_do_so() {
    let idp = Idp::start().await;
    idp.now(|manners| manners.says_iss = false);
    let world = crate::world::World::start_with(&idp.settings()).await;
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let answer =
        OidcCallback { iss: Some("https://accounts.example".into()), ..world.fetches_answer().await };
    assert_eq!(world.refused(&answer, None).await, "COMMON_0001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_who_refuses_at_the_provider_is_told_so_and_in_our_words() {
    let (world, idp) = with_provider(&[]).await;
    idp.now(|manners| manners.denies = true);
    let (code, details) = world.federates_not().await;
    assert_eq!(
        (code.as_str(), details),
        ("USER_1012", json!({ "provider": "mock", "reason": "access_denied" }))
    );
    let odd = OidcCallback { error: Some("<script>".into()), ..world.fetches_answer().await };
    let refusal = world.ask(&odd, None).await.expect_err("refused");
    assert_eq!(refusal.body["details"]["reason"], "the provider refused");
    // whoever makes up a refusal has to know the state too
    let made_up = answer_at("http://x/?state=made-up&error=access_denied", "b");
    assert_eq!(world.refused(&made_up, None).await, "COMMON_0001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_a_description_of_somebody_else_or_of_unsafe_doors_is_none() {
    for metadata in [
        json!({ "issuer": "https://accounts.example" }),
        json!({ "token_endpoint": "http://192.0.2.1/token" }),
        json!({ "jwks_uri": "file:///etc/passwd" }),
        json!({ "authorization_endpoint": null }),
        json!({ "code_challenge_methods_supported": ["plain"] }),
    ] {
        let idp = Idp::start().await;
        idp.now(|manners| manners.metadata = metadata.clone());
        let world = crate::world::World::start_with(&idp.settings()).await;
        let refused = world.refused(&StartOidc { provider: "mock".into() }, None).await;
        assert_eq!(refused, "COMMON_0010", "{metadata}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_we_say_who_we_are_as_the_provider_likes_it() {
    for (methods, secret) in
        [(json!(["client_secret_post"]), CLIENT.1), (json!(["none"]), ""), (Value::Null, CLIENT.1)]
    {
        let idp = Idp::start().await;
        idp.now(|manners| manners.metadata = json!({ "token_endpoint_auth_methods_supported": methods }));
        let mut settings = idp.settings();
        settings.push(("OIDC_MOCK_CLIENT_SECRET", secret));
        let world = crate::world::World::start_with(&settings).await;
        world.federates().await.unwrap_or_else(|refusal| panic!("{methods}: {}", refusal.body));
    }
    let idp = Idp::start().await;
    let mut settings = idp.settings();
    settings.push(("OIDC_MOCK_CLIENT_SECRET", "not the one"));
    let world = crate::world::World::start_with(&settings).await;
    assert_eq!(world.federates_not().await.0, "COMMON_0010");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_new_keys_are_fetched_when_they_are_needed_and_not_as_often_as_somebody_likes() {
    let (world, idp) = with_provider(&[]).await;
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    assert_eq!(idp.asked("jwks"), 1);
    idp.now(|manners| manners.generation = 1);
    // those at hand are young: they are believed to be all there are
    for _ in 0..3 {
        assert_eq!(world.federates_not().await.0, "USER_1012");
    }
    assert_eq!(idp.asked("jwks"), 1);
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    assert_eq!(idp.asked("jwks"), 2);
}
