//! Sign-in at an OpenID provider: who gets in, and as whom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lectern_subjects::Request;
use lectern_subjects::identity::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::factors::AuthApp;
use crate::world::{PASSWORD, Refusal, World, claims, login};
use lectern_workbench::idp::{Idp, Signing, person};

/// An identity with a provider.
pub async fn with_provider(settings: &[(&str, &str)]) -> (World, Idp) {
    let idp = Idp::start().await;
    let mut all = idp.settings();
    all.extend(settings);
    (World::start_with(&all).await, idp)
}

/// What the browser brings back from there.
pub fn answer_at(location: &str, binding: &str) -> OidcCallback {
    let url = url::Url::parse(location).expect("a URL");
    let get =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    OidcCallback {
        provider: "mock".to_owned(),
        state: get("state").expect("the state"),
        binding: binding.to_owned(),
        code: get("code"),
        iss: get("iss"),
        error: get("error"),
        device_token: None,
    }
}

impl World {
    /// Begins, visits the provider, and brings its answer back.
    pub async fn fetches_answer(&self) -> OidcCallback {
        let started = self.ok(&StartOidc { provider: "mock".to_owned() }, None).await;
        answer_at(&Idp::visit(&started.url).await, &started.binding)
    }

    /// The whole of it.
    pub async fn federates(&self) -> Result<TokenPair, Box<Refusal>> {
        let answer = self.fetches_answer().await;
        self.ask(&answer, None).await.map(signed_in)
    }

    /// The code and the reason of the refusal that it ends with.
    pub async fn federates_not(&self) -> (String, Value) {
        let refusal = self.federates().await.expect_err("refused");
        (refusal.problem.error_code.clone(), refusal.body["details"].clone())
    }

    /// Sessions, accounts and identities: what a refusal must not make.
    pub async fn made(&self) -> [i64; 3] {
        [
            self.count("SELECT count(*) FROM identity.auth_sessions").await,
            self.count("SELECT count(*) FROM identity.users").await,
            self.count("SELECT count(*) FROM identity.credentials WHERE kind = 'oidc'").await,
        ]
    }
}

pub fn signed_in(answer: OidcAnswer) -> TokenPair {
    match answer {
        OidcAnswer::SignedIn(pair) => pair,
        OidcAnswer::Linked(identity) => panic!("linked: {identity:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_i165_without_the_flag_none_of_its_requests_is_there() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    async fn off<R: Request>(world: &World, request: &R, token: Option<&str>) {
        let refusal = world.ask(request, token).await.err().expect("refused");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0006", 404));
    }
    let provider = "google".to_owned();
    off(&world, &ListProviders {}, None).await;
    off(&world, &StartOidc { provider: provider.clone() }, None).await;
    off(&world, &answer_at("http://x/?state=s&code=c", "b"), None).await;
    off(&world, &LinkIdentity { provider }, token).await;
    off(&world, &ListIdentities::default(), token).await;
    let id = uuid::Uuid::from_u128(1).into();
    off(&world, &UnlinkIdentity { id }, token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_somebody_new_signs_up_and_comes_back_as_the_same_person() {
    let (world, idp) = with_provider(&[]).await;
    let listed = world.ok(&ListProviders {}, None).await;
    assert_eq!(listed.items, [Provider { provider: "mock".into(), name: "Mock".into() }]);
    let first = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let said = claims(&first.access_token);
    assert_eq!(
        (&said["amr"], &said["acr"], &said["email_verified"]),
        (&json!(["fed"]), &json!("aal1"), &json!(true))
    );
    let me = world.ok(&GetMe {}, Some(&first.access_token)).await;
    assert_eq!(
        (me.email.as_str(), me.name.as_str(), me.is_verified),
        ("alice@example.org", "Alice Kim", true)
    );
    assert!(first.device_token.is_some());
    // she has changed her address there, and is who she was all the same
    idp.now(|manners| manners.person = person("sub-alice", "alice.kim@example.net"));
    for signing in [Signing::Rs256, Signing::Es256, Signing::EdDsa, Signing::NoKid] {
        idp.now(|manners| manners.signing = signing);
        let outcome = world.federates().await.map(|pair| claims(&pair.access_token)["sub"].clone());
        match (signing, outcome) {
            // two kinds of RSA key are published, one of them to sign with: which one is meant is clear
            (_, Ok(sub)) => assert_eq!(sub, said["sub"], "{signing:?}"),
            (_, Err(refusal)) => panic!("{signing:?}: {}", refusal.body),
        }
    }
    let me = world.ok(&GetMe {}, Some(&first.access_token)).await;
    assert_eq!(me.email, "alice@example.org");
    let identities = world.ok(&ListIdentities::default(), Some(&first.access_token)).await;
    assert_eq!(identities.items.len(), 1);
    assert_eq!((identities.items[0].provider.as_str(), identities.items[0].name.as_str()), ("mock", "Mock"));
    assert!(identities.items[0].last_used_at.is_some());
    // what proves who she is says so to nobody else: no second factor is announced
    let account = world.ok(&GetAccount {}, Some(&first.access_token)).await;
    assert!(account.mfa.is_empty());
    assert_eq!(world.made().await, [5, 1, 1]);
    for (fact, times) in [("user.created", 1), ("identity.linked", 1), ("user.logged_in", 5)] {
        assert_eq!(world.announced(fact).await, times, "{fact}");
    }
    assert_eq!(world.audited("user.created").await[0]["details"]["by"], "oidc");
    assert_eq!(world.audited("user.logged_in").await[0]["details"]["by"], "oidc");
    assert_eq!(world.audited("identity.linked").await.len(), 1);
    let letters = world.letters("alice@example.org", 1).await;
    assert_eq!(letters[0]["subject"], "You can sign in with Mock now");
    // its description and its keys were asked for once, its codes once each
    assert_eq!((idp.asked("discovery"), idp.asked("jwks"), idp.asked("token")), (1, 1, 5));
    // nothing that the provider said of her stands where it could be read
    let stored =
        world.db.value("SELECT string_agg(c::text, '') FROM identity.credentials c").await.unwrap().unwrap();
    assert!(!stored.contains("sub-alice") && !stored.contains("example"), "{stored}");
    let waiting = world.count("SELECT count(*) FROM identity.challenges").await;
    assert_eq!(waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_an_address_never_links_by_itself_and_an_unverified_one_says_nothing() {
    let (world, idp) = with_provider(&[]).await;
    world.registers("alice@example.org").await;
    let before = world.made().await;
    let (code, details) = world.federates_not().await;
    assert_eq!(code, "USER_1102");
    assert!(details["reason"].as_str().unwrap().contains("link the provider"), "{details}");
    idp.now(|manners| manners.person = person("sub-alice", "ALICE@example.org"));
    assert_eq!(world.federates_not().await.0, "USER_1102");
    // whether there is such an account or not, the answer is the same
    let mut answers = Vec::new();
    for email in ["alice@example.org", "nobody@example.org"] {
        for verified in [json!(false), json!("false"), json!(1), Value::Null] {
            idp.now(|manners| {
                manners.person = person("sub-mallory", email);
                manners.person["email_verified"] = verified;
            });
            answers.push(world.federates_not().await);
        }
    }
    for without in [json!(null), json!(7), json!("no address"), json!("deleted_x@deleted.com")] {
        idp.now(|manners| {
            manners.person = person("sub-mallory", "x@example.org");
            manners.person["email"] = without;
        });
        answers.push(world.federates_not().await);
    }
    assert_eq!(answers[0].0, "USER_1102");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(world.made().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_a_strange_name_is_no_hindrance_and_the_truth_may_be_written_as_text() {
    let (world, idp) = with_provider(&[]).await;
    for (n, (name, called)) in [
        (json!("<b>Bob</b>"), "bob"),
        (Value::Null, "bob"),
        (json!(["Bob"]), "bob"),
        (json!(" Bob O'Hara "), "Bob O'Hara"),
    ]
    .into_iter()
    .enumerate()
    {
        idp.now(|manners| {
            manners.person = person(&format!("sub-{n}"), &format!("bob@{n}.example.org"));
            manners.person["name"] = name;
            manners.person["email_verified"] = json!("true");
        });
        let pair = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
        assert_eq!(world.ok(&GetMe {}, Some(&pair.access_token)).await.name, called);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_the_accounts_second_factor_is_asked_for_and_a_disabled_account_stays_out() {
    let (world, _idp) = with_provider(&[("ENABLE_TWO_FACTOR_AUTH", "true")]).await;
    let pair = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let secret = world.ok(&StartTotp {}, Some(&pair.access_token)).await;
    let app = AuthApp::new(&secret);
    world.ok(&ConfirmTotp { code: app.code(&world, -1) }, Some(&pair.access_token)).await;
    let (code, details) = world.federates_not().await;
    assert_eq!((code.as_str(), &details["kinds"]), ("USER_1007", &json!(["totp"])));
    let token = details["mfa_token"].as_str().unwrap();
    let both = world.verifies(token, &app.code(&world, 0)).await.expect("signed in");
    let said = claims(&both.access_token);
    assert_eq!((&said["amr"], &said["acr"]), (&json!(["fed", "otp", "mfa"]), &json!("aal2")));
    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    assert_eq!(world.federates_not().await.0, "USER_1002");
    assert_eq!(world.facts("user.login_failed").await[0]["data"]["reason"], "account_disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_i17_an_answer_is_taken_once_and_two_windows_make_one_account() {
    let (world, _idp) = with_provider(&[]).await;
    let world = Arc::new(world);
    world.run_identity().await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(world.fetches_answer().await);
    }
    let mut crowd = JoinSet::new();
    for answer in answers.iter().cycle().take(8) {
        let (world, answer) = (world.clone(), answer.clone());
        crowd.spawn(async move {
            world.ask(&answer, None).await.map(drop).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let outcomes = crowd.join_all().await;
    let refusals: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(refusals.len(), 6, "{outcomes:?}");
    assert!(refusals.iter().all(|code| *code == "COMMON_0001"), "{refusals:?}");
    assert_eq!(world.made().await, [2, 1, 1]);
    assert_eq!((world.announced("user.created").await, world.announced("identity.linked").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_i082_sign_ins_at_providers_count_for_their_address() {
    let (world, _idp) = with_provider(&[("LOGIN_RATE", "2/m")]).await;
    for _ in 0..2 {
        let answer = world.fetches_answer().await;
        world.ask_from("192.0.2.7", &answer).await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    }
    let answer = world.fetches_answer().await;
    let refusal = world.ask_from("192.0.2.7", &answer).await.expect_err("refused");
    assert_eq!(refusal.problem.error_code, "COMMON_0012");
    assert!(refusal.retry_after.is_some_and(|seconds| seconds <= 60));
    // it was not looked at: elsewhere it is still good
    world.ask_from("192.0.2.8", &answer).await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_a_provider_that_hangs_is_waited_for_by_a_few_and_keeps_nobody_else() {
    let (world, idp) = with_provider(&[]).await;
    let world = Arc::new(world);
    world.registers("b@example.org").await;
    idp.now(|manners| manners.hangs = true);
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        let world = world.clone();
        crowd.spawn(async move {
            let began = Instant::now();
            let refusal = world.ask(&StartOidc { provider: "mock".to_owned() }, None).await.err();
            let refusal = refusal.expect("refused");
            assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0010", 503));
            assert!(refusal.retry_after.is_some());
            began.elapsed()
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    world.ok(&login("b@example.org", PASSWORD), None).await;
    let alone = began.elapsed();
    let waited: Vec<Duration> = crowd.join_all().await;
    // had all of them waited, they would have had every place there is, for three seconds
    let patient = waited.iter().filter(|time| **time > Duration::from_secs(2)).count();
    assert!((1..=8).contains(&patient), "{patient} waited");
    assert!(alone < Duration::from_secs(2), "a sign-in by password took {alone:?}");
    assert_eq!(idp.asked("discovery"), 1);
    idp.now(|manners| manners.hangs = false);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_a_provider_that_fails_halfway_is_said_to_be_away_and_no_transaction_waits_for_it() {
    let (world, idp) = with_provider(&[]).await;
    let world = Arc::new(world);
    let answer = world.fetches_answer().await;
    idp.now(|manners| manners.down = true);
    let refusal = world.ask(&answer, None).await.expect_err("refused");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.retry_after), ("COMMON_0010", Some(5)));
    idp.now(|manners| manners.down = false);
    // what was begun is over
    assert_eq!(world.refused(&answer, None).await, "COMMON_0001");
    let answer = world.fetches_answer().await;
    idp.now(|manners| manners.hangs = true);
    let asking = {
        let world = world.clone();
        tokio::spawn(async move { world.refused(&answer, None).await })
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()";
    assert_eq!(world.count(open).await, 0);
    assert_eq!(asking.await.unwrap(), "COMMON_0010");
    idp.now(|manners| manners.hangs = false);
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn i083_sign_ups_at_providers_count_with_the_others_of_their_address() {
    let (world, idp) = with_provider(&[("LOGIN_RATE", "off"), ("REGISTER_RATE", "2/h")]).await;
    let by_password = world.ask_from("192.0.2.7", &crate::world::register("a@example.org")).await;
    by_password.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    for n in 1..=3 {
        idp.now(|manners| manners.person = person(&format!("sub-{n}"), &format!("p{n}@example.org")));
        let answer = world.fetches_answer().await;
        let answered = world.ask_from("192.0.2.7", &answer).await;
        if n == 1 {
            answered.unwrap_or_else(|refusal| panic!("{}", refusal.body));
            continue;
        }
        let refusal = answered.map(drop).expect_err("a third sign-up");
        assert_eq!(refusal.problem.error_code, "COMMON_0012");
        assert!(refusal.retry_after.is_some_and(|seconds| (3500..=3600).contains(&seconds)));
    }
    assert_eq!(world.made().await, [1, 2, 1]);
    // who has an account signs in
    idp.now(|manners| manners.person = person("sub-1", "p1@example.org"));
    let answer = world.fetches_answer().await;
    world.ask_from("192.0.2.7", &answer).await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn i082_what_begins_a_sign_in_is_limited_for_its_address_and_keeps_no_row_when_refused() {
    let settings = [crate::factors::ON, &[("LOGIN_RATE", "3/m")]].concat();
    let (world, _idp) = with_provider(&settings).await;
    let start = StartOidc { provider: "mock".to_owned() };
    for n in 0..8 {
        let (begun, asked) =
            (world.ask_from("192.0.2.7", &start).await, world.ask_from("192.0.2.7", &AskForPasskey {}).await);
        let codes = [begun.map(drop), asked.map(drop)].map(|it| it.map_err(|it| it.problem.error_code));
        let expected = if n < 3 { Ok(()) } else { Err("COMMON_0012".to_owned()) };
        assert_eq!(codes, [expected.clone(), expected], "{n}");
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.challenges").await, 6);
    world.ask_from("192.0.2.8", &start).await.map(drop).unwrap_or_else(|refusal| panic!("{}", refusal.body));
}
