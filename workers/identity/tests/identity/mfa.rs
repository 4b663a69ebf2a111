//! Authenticator apps and recovery codes at sign-in.

use std::sync::Arc;

use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::factors::{AuthApp, ON};
use crate::world::{PASSWORD, WRONG, World, claims, login};

fn times(outcomes: &[Result<TokenPair, String>], code: &str) -> usize {
    outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(|refusal| refusal == code)).count()
}

/// All of these at once.
async fn crowd(world: &Arc<World>, tries: Vec<(String, String)>) -> Vec<Result<TokenPair, String>> {
    let mut crowd = JoinSet::new();
    for (mfa_token, code) in tries {
        let world = world.clone();
        crowd.spawn(async move { world.verifies(&mfa_token, &code).await });
    }
    crowd.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_with_an_authenticator_app_a_password_is_half_a_sign_in() {
    let world = World::start_with(ON).await;
    let (_, app) = world.with_app("a@example.org").await;
    // only who knows the password learns of it, and it opens nothing
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    let refusal = world.ask(&login("a@example.org", PASSWORD), None).await.expect_err("half a sign-in");
    assert_eq!(refusal.problem.error_code, "USER_1007");
    assert_eq!(refusal.body["details"]["kinds"], serde_json::json!(["totp"]));
    assert_eq!(world.count("SELECT count(*) FROM identity.auth_sessions").await, 1);
    let mfa_token = refusal.body["details"]["mfa_token"].as_str().unwrap();
    assert_eq!(world.verifies(mfa_token, &app.wrong(&world)).await.unwrap_err(), "USER_1008");
    let pair = world.verifies(mfa_token, &app.code(&world, 0)).await.expect("signed in");
    let said = claims(&pair.access_token);
    assert_eq!(said["amr"], serde_json::json!(["pwd", "otp", "mfa"]));
    assert_eq!(said["acr"], "aal2");
    world.ok(&GetMe {}, Some(&pair.access_token)).await;
    // what was proved stays what was proved
    let next = claims(&world.refreshes(&pair).await.expect("a refresh").access_token);
    assert_eq!((&next["amr"], &next["auth_time"]), (&said["amr"], &said["auth_time"]));
    assert_eq!(next["acr"], "aal2");
    let history = "SELECT count(*) FROM identity.login_history WHERE failure_reason = 'invalid_code'";
    assert_eq!(world.count(history).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_i089_a_device_is_known_and_a_place_is_looked_at_once_the_second_factor_is_right() {
    const HOME: &str = "192.0.2.7";
    const ELSEWHERE: &str = "198.51.100.7";
    const ON_THE_ROAD: &str = "203.0.113.7";
    let world = World::start_with(&[ON, &[("LOGIN_RATE", "off")]].concat()).await;
    let (pair, _) = world.with_app("a@example.org").await;
    let codes = world.ok(&MakeRecoveryCodes {}, Some(&pair.access_token)).await.codes;
    let signs_in = async |address: &str, code: &str, device_token: Option<String>| {
        let half = Login { device_token: device_token.clone(), ..login("a@example.org", PASSWORD) };
        let refusal = world.ask_from(address, &half).await.expect_err("half a sign-in");
        let mfa_token = refusal.body["details"]["mfa_token"].as_str().expect("a token").to_owned();
        assert_eq!(refusal.body["details"]["device_token"], serde_json::Value::Null);
        let whole = VerifyMfa { mfa_token, code: code.to_owned(), device_token };
        world.ask_from(address, &whole).await.unwrap_or_else(|refusal| panic!("{}", refusal.body))
    };
    let home = signs_in(HOME, &codes[0], None).await;
    signs_in(ON_THE_ROAD, &codes[1], home.device_token.clone()).await;
    assert_eq!(world.announced("security.suspicious").await, 0, "her own device");
    // who has the password only is not there yet
    world.ask_from(ELSEWHERE, &login("a@example.org", PASSWORD)).await.expect_err("half a sign-in");
    assert_eq!(world.announced("security.suspicious").await, 0);
    signs_in(ELSEWHERE, &codes[2], Some("nonsense".to_owned())).await;
    assert_eq!(world.announced("security.suspicious").await, 1);
    let by_code = "SELECT count(*) FROM (SELECT id, subject, payload FROM identity.outbox UNION
                   SELECT id, subject, payload FROM identity.outbox_archive) AS all_of_them
                   WHERE subject LIKE 'audit.identity.v1.user.logged_in.%'
                   AND convert_from(payload, 'UTF8')::jsonb -> 'details' ->> 'by' = 'code'";
    assert_eq!(world.count(by_code).await, 3);
    // a sign-out of the others makes strangers of all devices
    world.ok(&RevokeOtherAuthSessions {}, Some(&home.access_token)).await;
    signs_in("198.51.99.7", &codes[3], home.device_token).await;
    assert_eq!(world.announced("security.suspicious").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_one_code_in_parallel_signs_in_once_on_two_processes() {
    let world = Arc::new(World::start_with(ON).await);
    world.run_identity().await;
    let (_, app) = world.with_app("a@example.org").await;
    let (code, older) = (app.code(&world, 0), app.code(&world, -1));
    let mut tries = Vec::new();
    for _ in 0..4 {
        tries.push((world.mfa_token("a@example.org").await, code.clone()));
    }
    let outcomes = crowd(&world, tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(times(&outcomes, "USER_1008"), 3, "{outcomes:?}");
    assert_eq!(world.announced("user.logged_in").await, 2);
    // nor later, nor a code of an older step
    for code in [code, older] {
        let mfa_token = world.mfa_token("a@example.org").await;
        assert_eq!(world.verifies(&mfa_token, &code).await.unwrap_err(), "USER_1008");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_the_token_between_the_halves_is_good_once() {
    let world = Arc::new(World::start_with(ON).await);
    let (_, app) = world.with_app("a@example.org").await;
    let codes: Vec<String> = {
        let pair = world.signs_in_with(&app, "a@example.org", 0).await;
        world.ok(&MakeRecoveryCodes {}, Some(&pair.access_token)).await.codes
    };
    let mfa_token = world.mfa_token("a@example.org").await;
    let outcomes =
        crowd(&world, codes[..4].iter().map(|code| (mfa_token.clone(), code.clone())).collect()).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    // the others did not cost their codes
    let left = "SELECT count(*) FROM identity.credentials WHERE kind = 'recovery' AND last_used_at IS NULL";
    assert_eq!(world.count(left).await, 9);
    assert_eq!(world.verifies(&mfa_token, &codes[9]).await.unwrap_err(), "USER_1008");
    assert_eq!(world.verifies("nonsense", &codes[9]).await.unwrap_err(), "USER_1008");
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_half_a_sign_in_ends_with_its_time_and_with_its_password() {
    let world = World::start_with(ON).await;
    let (_, app) = world.with_app("a@example.org").await;
    let mfa_token = world.mfa_token("a@example.org").await;
    let later = "UPDATE identity.challenges SET created_at = created_at - interval '5 minutes',
                 expires_at = expires_at - interval '5 minutes'";
    world.db.execute(later).await.unwrap();
    assert_eq!(world.verifies(&mfa_token, &app.code(&world, 0)).await.unwrap_err(), "USER_1008");
    let mfa_token = world.mfa_token("a@example.org").await;
    world.db.execute("UPDATE identity.users SET password_hash = '$argon2id$another'").await.unwrap();
    assert_eq!(world.verifies(&mfa_token, &app.code(&world, 0)).await.unwrap_err(), "USER_1008");
    assert_eq!(world.announced("user.logged_in").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn c14_a_disabled_account_is_refused_in_the_second_half_too() {
    let world = World::start_with(ON).await;
    let (_, app) = world.with_app("a@example.org").await;
    let mfa_token = world.mfa_token("a@example.org").await;
    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    assert_eq!(world.verifies(&mfa_token, &app.code(&world, 0)).await.unwrap_err(), "USER_1002");
    assert_eq!(world.announced("user.logged_in").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_parallel_wrong_codes_get_exactly_five_looks_on_two_processes() {
    let world = Arc::new(World::start_with(ON).await);
    world.run_identity().await;
    let (_, app) = world.with_app("a@example.org").await;
    let mfa_token = world.mfa_token("a@example.org").await;
    let wrong = app.wrong(&world);
    let outcomes = crowd(&world, vec![(mfa_token.clone(), wrong); 20]).await;
    assert_eq!(times(&outcomes, "USER_1008"), 5, "{outcomes:?}");
    assert_eq!(times(&outcomes, "USER_1003"), 15, "{outcomes:?}");
    // the right one waits too, whoever asks, and the password is no way around
    let request = VerifyMfa { mfa_token: mfa_token.clone(), code: app.code(&world, 0), device_token: None };
    let refusal = world.ask(&request, None).await.expect_err("locked");
    assert_eq!(refusal.problem.error_code, "USER_1003");
    assert!(refusal.retry_after.is_some_and(|seconds| (1..=900).contains(&seconds)));
    let another = world.mfa_token("a@example.org").await;
    assert_eq!(world.verifies(&another, &app.code(&world, 0)).await.unwrap_err(), "USER_1003");
    let later = "UPDATE identity.sign_in_attempts SET locked_until = now() - interval '1 second'
                 WHERE locked_until IS NOT NULL";
    world.db.execute(later).await.unwrap();
    world.verifies(&mfa_token, &app.code(&world, 0)).await.expect("fifteen minutes later");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_a_recovery_code_is_good_once_and_new_ones_void_the_old() {
    let world = Arc::new(World::start_with(ON).await);
    let (pair, _) = world.with_app("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    let old = world.ok(&MakeRecoveryCodes {}, token).await.codes;
    let codes = world.ok(&MakeRecoveryCodes {}, token).await.codes;
    assert_eq!(codes.len(), 10);
    let mfa_token = world.mfa_token("a@example.org").await;
    assert_eq!(world.verifies(&mfa_token, &old[0]).await.unwrap_err(), "USER_1008");
    let mut tries = Vec::new();
    for _ in 0..4 {
        // as somebody types it
        tries.push((world.mfa_token("a@example.org").await, codes[0].to_uppercase().replace('-', " ")));
    }
    let outcomes = crowd(&world, tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let letters = world.letters("a@example.org", 5).await;
    assert!(letters.iter().any(|letter| letter["subject"] == "A recovery code of yours was used to sign in"));
    let stored =
        world.db.value("SELECT string_agg(encode(external_key, 'escape'), ' ') FROM identity.credentials");
    let stored = stored.await.unwrap().unwrap();
    assert!(codes.iter().all(|code| !stored.contains(code.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_an_app_counts_after_its_first_code_and_replaces_the_one_before() {
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    assert_eq!(world.refused(&ConfirmTotp { code: "123456".into() }, token).await, "USER_1106");
    let first = AuthApp::new(&world.ok(&StartTotp {}, token).await);
    // begun and not confirmed: nobody is asked, nobody is locked out
    world.logs_in("a@example.org").await;
    let wrong = ConfirmTotp { code: first.wrong(&world) };
    assert_eq!(world.refused(&wrong, token).await, "USER_1106");
    let code = first.code(&world, 0);
    world.ok(&ConfirmTotp { code: code.clone() }, token).await;
    // the code that confirmed is used
    let mfa_token = world.mfa_token("a@example.org").await;
    assert_eq!(world.verifies(&mfa_token, &code).await.unwrap_err(), "USER_1008");
    let second = AuthApp::new(&world.ok(&StartTotp {}, token).await);
    world.verifies(&mfa_token, &first.code(&world, 1)).await.expect("the first counts until then");
    world.ok(&ConfirmTotp { code: second.code(&world, -1) }, token).await;
    let mfa_token = world.mfa_token("a@example.org").await;
    assert_eq!(world.verifies(&mfa_token, &first.code(&world, 1)).await.unwrap_err(), "USER_1008");
    world.verifies(&mfa_token, &second.code(&world, 0)).await.expect("the second counts");
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 1);
    // a secret that waited too long
    let third = AuthApp::new(&world.ok(&StartTotp {}, token).await);
    let old = "UPDATE identity.credentials SET created_at = created_at - interval '1 hour'";
    world.db.execute(old).await.unwrap();
    let late = ConfirmTotp { code: third.code(&world, 0) };
    assert_eq!(world.refused(&late, token).await, "USER_1107");
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_without_an_app_the_password_does_and_every_change_is_said_recorded_and_mailed() {
    let world = World::start_with(ON).await;
    let (pair, _) = world.with_app("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    world.ok(&MakeRecoveryCodes {}, token).await;
    let secret = "SELECT encode(secret_sealed, 'escape') FROM identity.credentials WHERE kind = 'totp'";
    assert!(world.db.value(secret).await.unwrap().unwrap().len() > 40);
    world.ok(&RemoveTotp {}, token).await;
    world.ok(&RemoveTotp {}, token).await;
    world.logs_in("a@example.org").await;
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 0);
    // added, recovery codes added, removed: once each
    assert_eq!(world.announced("user.credential_changed").await, 3);
    let recorded = "SELECT count(*) FROM (SELECT id, subject FROM identity.outbox UNION
                    SELECT id, subject FROM identity.outbox_archive) AS all_of_them
                    WHERE subject LIKE 'audit.identity.v1.user.credential_changed.%'";
    assert_eq!(world.count(recorded).await, 3);
    let letters = world.letters("a@example.org", 4).await;
    let subjects: Vec<&str> = letters.iter().map(|letter| letter["subject"].as_str().unwrap()).collect();
    assert_eq!(
        subjects[1..],
        [
            "An authenticator app was added to your account",
            "New recovery codes were made for your account",
            "An authenticator app was removed from your account"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_switched_off_there_are_no_such_requests() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    let id = world.clock().new_id().into();
    let credential = serde_json::json!({});
    let passkey =
        SignInWithPasskey { challenge: "x".into(), credential: credential.clone(), device_token: None };
    let answers = [
        world
            .refused(&VerifyMfa { mfa_token: "x".into(), code: "123456".into(), device_token: None }, None)
            .await,
        world.refused(&AskForPasskey {}, None).await,
        world.refused(&passkey, None).await,
        world.refused(&StartTotp {}, token).await,
        world.refused(&ConfirmTotp { code: "123456".into() }, token).await,
        world.refused(&RemoveTotp {}, token).await,
        world.refused(&MakeRecoveryCodes {}, token).await,
        world.refused(&StartPasskey {}, token).await,
        world.refused(&AddPasskey { challenge: "x".into(), name: "x".into(), credential }, token).await,
        world.refused(&ListPasskeys::default(), token).await,
        world.refused(&RemovePasskey { id }, token).await,
        world.refused(&Reauthenticate { code: Some("123456".into()), ..Default::default() }, token).await,
        world.refused(&Reauthenticate { passkey: Some(passkey.clone()), ..Default::default() }, token).await,
    ];
    assert!(answers.iter().all(|code| code == "COMMON_0006"), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_recovery_codes_are_made_for_an_app_and_none_of_before_stands_in_for_it() {
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    world.ok(&StartTotp {}, token).await;
    assert_eq!(world.refused(&MakeRecoveryCodes {}, token).await, "USER_1109", "the app does not count yet");
    // as they were left over when they could be made without one
    let (before, _) = world.sets_up_app("a@example.org").await;
    let left = world.ok(&MakeRecoveryCodes {}, Some(&before.access_token)).await.codes;
    world.db.execute("DELETE FROM identity.credentials WHERE kind = 'totp'").await.unwrap();
    let thief = world.logs_in("a@example.org").await;
    let (owner, _) = world.sets_up_app("a@example.org").await;
    let planted = Reauthenticate { code: Some(left[1].clone()), ..Reauthenticate::default() };
    assert_eq!(world.refused(&planted, Some(&thief.access_token)).await, "USER_1008");
    let mfa_token = world.mfa_token("a@example.org").await;
    assert_eq!(world.verifies(&mfa_token, &left[2]).await.unwrap_err(), "USER_1008");
    // an app that replaces one keeps the codes that were made with the one before
    let token = Some(owner.access_token.as_str());
    let codes = world.ok(&MakeRecoveryCodes {}, token).await.codes;
    let next = AuthApp::new(&world.ok(&StartTotp {}, token).await);
    world.ok(&ConfirmTotp { code: next.code(&world, 0) }, token).await;
    world.verifies(&mfa_token, &codes[0]).await.expect("signed in");
}
