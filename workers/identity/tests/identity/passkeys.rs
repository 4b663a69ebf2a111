//! Passkeys, with an authenticator in software.

use std::sync::Arc;

use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::factors::{Device, ON};
use crate::world::{WRONG, World, claims, login};

#[tokio::test(flavor = "multi_thread")]
async fn webauthn_a_passkey_is_registered_signs_in_as_both_factors_and_is_removed() {
    let world = World::start_with(ON).await;
    let (pair, _) = world.with_app("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    let mut device = Device::empty();
    let passkey = world.adds_passkey(&pair, &mut device).await;
    // no code is asked for, though there is an authenticator app
    let signed = world.signed(&mut device).await;
    let signed_in = world.ok(&signed, None).await;
    let said = claims(&signed_in.access_token);
    assert_eq!(said["amr"], serde_json::json!(["pop", "user", "mfa"]));
    assert_eq!(said["sub"], claims(&pair.access_token)["sub"]);
    world.ok(&GetMe {}, Some(&signed_in.access_token)).await;
    let listed = world.ok(&ListPasskeys::default(), token).await;
    assert_eq!(listed.items.len(), 1);
    assert_eq!((listed.items[0].id, listed.items[0].name.as_str()), (passkey.id, "Phone"));
    assert!(listed.items[0].last_used_at.is_some());
    let refusal = world.ask(&login("a@example.org", crate::world::PASSWORD), None).await.expect_err("half");
    assert_eq!(refusal.body["details"]["kinds"], serde_json::json!(["totp", "passkey"]));
    world.ok(&RemovePasskey { id: passkey.id }, token).await;
    assert_eq!(world.refused(&RemovePasskey { id: passkey.id }, token).await, "USER_1109");
    let signed = world.signed(&mut device).await;
    assert_eq!(world.refused(&signed, None).await, "USER_1008");
    let letters = world.letters("a@example.org", 4).await;
    assert_eq!(letters[2]["subject"], "A passkey was added to your account");
    assert_eq!(letters[3]["subject"], "A passkey was removed from your account");
    assert_eq!(world.announced("user.credential_changed").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_passkey_passes_the_lock_that_wrong_passwords_put_on_an_account() {
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut device = Device::empty();
    world.adds_passkey(&pair, &mut device).await;
    for _ in 0..5 {
        world.refused(&login("a@example.org", WRONG), None).await;
    }
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1003");
    let signed = world.signed(&mut device).await;
    world.ok(&signed, None).await;
    // and leaves it where it is
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1003");
    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    let signed = world.signed(&mut device).await;
    assert_eq!(world.refused(&signed, None).await, "USER_1002");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_a_challenge_is_answered_once_on_two_processes() {
    let world = Arc::new(World::start_with(ON).await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    // without a counter, so that nothing but the challenge says that it is the first answer
    let mut device = Device::without_counter();
    world.adds_passkey(&pair, &mut device).await;
    let signed = world.signed(&mut device).await;
    let mut crowd = JoinSet::new();
    for _ in 0..8 {
        let (world, signed) = (world.clone(), signed.clone());
        crowd.spawn(async move {
            world.ask(&signed, None).await.map(drop).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let outcomes = crowd.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let refusals: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(refusals.iter().all(|code| *code == "USER_1008"), "{refusals:?}");
    // nor is a late answer taken
    let late = world.signed(&mut device).await;
    let later = "UPDATE identity.challenges SET created_at = created_at - interval '5 minutes',
                 expires_at = expires_at - interval '5 minutes'";
    world.db.execute(later).await.unwrap();
    assert_eq!(world.refused(&late, None).await, "USER_1008");
}

#[tokio::test(flavor = "multi_thread")]
async fn webauthn_a_copied_key_another_page_and_an_unlooked_touch_are_refused() {
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut device = Device::empty();
    world.adds_passkey(&pair, &mut device).await;
    let mut copy = device.copied();
    let signed = world.signed(&mut device).await;
    world.ok(&signed, None).await;
    // 7.2 step 22: its counter stands where the other's has been
    let signed = world.signed(&mut copy).await;
    assert_eq!(world.refused(&signed, None).await, "USER_1008");
    assert_eq!(world.announced("security.suspicious").await, 1);
    let mut elsewhere = device.copied().at("http://localhost:4000");
    let signed = world.signed(&mut elsewhere).await;
    assert_eq!(world.refused(&signed, None).await, "USER_1008");
    let asked = world.ok(&AskForPasskey {}, None).await;
    let credential = device.signs_unverified(&asked.options).await;
    let unverified = SignInWithPasskey { challenge: asked.challenge, credential, device_token: None };
    assert_eq!(world.refused(&unverified, None).await, "USER_1008");
    // the challenge of another
    let (one, other) = (world.signed(&mut device).await, world.signed(&mut device).await);
    let mixed =
        SignInWithPasskey { challenge: one.challenge, credential: other.credential, device_token: None };
    assert_eq!(world.refused(&mixed, None).await, "USER_1008");
    let nonsense = SignInWithPasskey {
        challenge: "x".into(),
        credential: serde_json::json!({ "id": 1 }),
        device_token: None,
    };
    assert_eq!(world.refused(&nonsense, None).await, "COMMON_0001");
    assert_eq!(world.announced("user.logged_in").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn webauthn_a_new_key_answers_its_own_users_challenge_once() {
    let world = World::start_with(ON).await;
    for email in ["a@example.org", "b@example.org"] {
        world.registers(email).await;
    }
    let (a, b) = (world.logs_in("a@example.org").await, world.logs_in("b@example.org").await);
    let (of_a, of_b) = (Some(a.access_token.as_str()), Some(b.access_token.as_str()));
    let asked = world.ok(&StartPasskey {}, of_a).await;
    assert_eq!(asked.options["publicKey"]["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(asked.options["publicKey"]["authenticatorSelection"]["userVerification"], "required");
    let credential = Device::empty().makes(&asked.options).await;
    let request = AddPasskey { challenge: asked.challenge, name: "Phone".into(), credential };
    assert_eq!(world.refused(&request, of_b).await, "USER_1107");
    world.ok(&request, of_a).await;
    assert_eq!(world.refused(&request, of_a).await, "USER_1107");
    // an answer to another challenge
    let asked = world.ok(&StartPasskey {}, of_a).await;
    let stale = AddPasskey { challenge: asked.challenge, ..request };
    assert_eq!(world.refused(&stale, of_a).await, "COMMON_0001");
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 1);
    // somebody else's passkey is not there
    let id = world.ok(&ListPasskeys::default(), of_a).await.items[0].id;
    assert_eq!(world.refused(&RemovePasskey { id }, of_b).await, "USER_1109");
    assert!(world.ok(&ListPasskeys::default(), of_b).await.items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn user_1108_of_two_passkeys_removed_at_once_one_stays_where_there_is_no_password() {
    let world = Arc::new(World::start_with(ON).await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(world.adds_passkey(&pair, &mut Device::empty()).await.id);
    }
    let page = world.ok(&ListPasskeys { limit: Some(1), cursor: None }, Some(&pair.access_token)).await;
    let rest = ListPasskeys { limit: Some(1), cursor: page.next_cursor.clone() };
    assert_eq!(page.items[0].id, ids[0]);
    assert_eq!(world.ok(&rest, Some(&pair.access_token)).await.items[0].id, ids[1]);
    world.db.execute("UPDATE identity.users SET password_hash = NULL").await.unwrap();
    let mut crowd = JoinSet::new();
    for id in ids {
        let (world, token) = (world.clone(), pair.access_token.clone());
        crowd.spawn(async move {
            let removed = world.ask(&RemovePasskey { id }, Some(&token)).await;
            removed.map(drop).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let mut outcomes = crowd.join_all().await;
    outcomes.sort();
    assert_eq!(outcomes, [Ok(()), Err("USER_1108".to_owned())]);
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 1);
}
