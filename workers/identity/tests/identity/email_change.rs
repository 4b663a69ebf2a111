//! Another e-mail address.

use std::sync::Arc;

use lectern_subjects::identity::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, World, login};

fn to(email: &str) -> ChangeEmail {
    ChangeEmail { email: email.to_owned() }
}

fn with(code: &str) -> ConfirmEmail {
    ConfirmEmail { code: code.to_owned() }
}

/// Some code that is not this one.
fn other(code: &str) -> String {
    if code == "000000" { "000001" } else { "000000" }.to_owned()
}

/// Signed up and signed in.
async fn signed_in(world: &World, email: &str) -> TokenPair {
    world.registers(email).await;
    world.logs_in(email).await
}

#[tokio::test(flavor = "multi_thread")]
async fn i102_the_address_changes_when_the_code_that_went_to_the_new_one_comes_back() {
    let world = World::start().await;
    let pair = signed_in(&world, "old@example.org").await;
    let token = Some(pair.access_token.as_str());
    world.ok(&to(" New@Example.org "), token).await;
    let code = world.code("New@Example.org", 1).await;
    let before = world.ok(&GetMe {}, token).await;
    assert_eq!((before.email.as_str(), before.is_verified), ("old@example.org", false), "changed too early");
    let changed = world.ok(&with(&code), token).await;
    assert_eq!((changed.email.as_str(), changed.is_verified), ("New@Example.org", true));
    assert!(changed.version > before.version);
    assert_eq!(world.ok(&GetMe {}, token).await, changed);
    // the old address learns of it: its verification code, and this
    let letters = world.letters("old@example.org", 2).await;
    assert_eq!(letters[1]["subject"], "Your e-mail address was changed");
    assert!(!letters[1]["text"].as_str().unwrap().to_lowercase().contains("new@"), "it names the new one");
    world.logs_in("new@example.org").await;
    assert_eq!(world.refused(&login("old@example.org", PASSWORD), None).await, "USER_1001");
    // nobody has the old one any more
    world.registers("old@example.org").await;

    let (facts, entries) =
        (world.facts("user.email_changed").await, world.audited("user.email_changed").await);
    assert_eq!((facts.len(), entries.len()), (1, 1));
    assert_eq!(facts[0]["data"], json!({ "user_id": changed.id }));
    assert_eq!(world.announced("user.email_verified").await, 1);
    assert_eq!(world.audited("user.email_change_requested").await.len(), 1);
    for message in facts.iter().chain(&entries).map(|it| it.to_string().to_lowercase()) {
        assert!(!message.contains("example.org"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i073_asking_for_an_address_says_nothing_about_who_has_it() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    world.registers("taken@example.org").await;
    let free = world.ok(&to("free@example.org"), Some(&pair.access_token)).await;
    let taken = world.ok(&to("taken@example.org"), Some(&pair.access_token)).await;
    assert_eq!(free, taken);
    // only who reads its mail can learn that it is taken
    let code = world.code("taken@example.org", 2).await;
    assert_eq!(world.refused(&with(&code), Some(&pair.access_token)).await, "USER_1102");
    assert_eq!(world.ok(&GetMe {}, Some(&pair.access_token)).await.email, "a@example.org");
    assert_eq!(world.announced("user.email_changed").await, 0);
    assert_eq!(world.letters_now("a@example.org").len(), 1, "the old address was told of no change");
}

#[tokio::test(flavor = "multi_thread")]
async fn i092_of_two_accounts_that_take_one_address_at_once_one_gets_it() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    let pairs = [signed_in(&world, "a@example.org").await, signed_in(&world, "b@example.org").await];
    let mut codes = Vec::new();
    for (n, pair) in pairs.iter().enumerate() {
        world.ok(&to("one@example.org"), Some(&pair.access_token)).await;
        codes.push(world.code("one@example.org", n + 1).await);
    }
    let mut tries = JoinSet::new();
    for (pair, code) in pairs.into_iter().zip(codes) {
        let world = world.clone();
        tries.spawn(async move {
            let asked = world.ask(&with(&code), Some(&pair.access_token)).await;
            asked.map(|user| user.email).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let mut outcomes = tries.join_all().await;
    outcomes.sort();
    assert_eq!(outcomes, [Ok("one@example.org".to_owned()), Err("USER_1102".to_owned())]);
    assert_eq!(
        world.count("SELECT count(*) FROM identity.users WHERE email_norm = 'one@example.org'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_has_five_tries_that_parallel_requests_share() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    let pair = signed_in(&world, "a@example.org").await;
    world.ok(&to("new@example.org"), Some(&pair.access_token)).await;
    let code = world.code("new@example.org", 1).await;
    let mut tries = JoinSet::new();
    for _ in 0..12 {
        let (world, token, wrong) = (world.clone(), pair.access_token.clone(), other(&code));
        tries.spawn(async move { world.refused(&with(&wrong), Some(&token)).await });
    }
    let codes = tries.join_all().await;
    assert_eq!(codes.iter().filter(|code| *code == "USER_1106").count(), 5, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "COMMON_0012").count(), 7, "{codes:?}");
    let refusal = world.ask(&with(&code), Some(&pair.access_token)).await.expect_err("tries used up");
    assert_eq!(refusal.problem.error_code, "COMMON_0012");
    assert!(refusal.retry_after.is_some_and(|seconds| (1..=601).contains(&seconds)));
    assert_eq!(world.ok(&GetMe {}, Some(&pair.access_token)).await.email, "a@example.org");
    // another one has tries of its own
    world.ok(&to("new@example.org"), Some(&pair.access_token)).await;
    let newer = world.code("new@example.org", 2).await;
    world.ok(&with(&newer), Some(&pair.access_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_a_code_changes_the_address_once() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    let pair = signed_in(&world, "a@example.org").await;
    world.ok(&to("new@example.org"), Some(&pair.access_token)).await;
    let code = world.code("new@example.org", 1).await;
    let mut tries = JoinSet::new();
    for _ in 0..5 {
        let (world, token, code) = (world.clone(), pair.access_token.clone(), code.clone());
        tries.spawn(async move {
            let asked = world.ask(&with(&code), Some(&token)).await;
            asked.map(drop).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let outcomes = tries.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).all(|code| code == "USER_1106"));
    assert_eq!(world.announced("user.email_changed").await, 1);
    assert_eq!(world.refused(&with(&code), Some(&pair.access_token)).await, "USER_1106");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_code_and_a_use_make_older_ones_void() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    let token = Some(pair.access_token.as_str());
    world.ok(&to("first@example.org"), token).await;
    let first = world.code("first@example.org", 1).await;
    world.ok(&to("second@example.org"), token).await;
    let second = world.code("second@example.org", 1).await;
    if first != second {
        assert_eq!(world.refused(&with(&first), token).await, "USER_1106");
    }
    assert_eq!(world.ok(&with(&second), token).await.email, "second@example.org");
    // the older one does not come to life again because the newer one is gone
    assert_eq!(world.refused(&with(&first), token).await, "USER_1106");
    assert_eq!(world.ok(&GetMe {}, token).await.email, "second@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_its_purpose_its_account_and_ten_minutes() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    let token = Some(pair.access_token.as_str());
    let verification = world.code("a@example.org", 1).await;
    world.ok(&to("new@example.org"), token).await;
    let change = world.code("new@example.org", 1).await;
    if verification != change {
        assert_eq!(world.refused(&with(&verification), token).await, "USER_1106");
        let wrong = VerifyEmail { email: "a@example.org".into(), code: change.clone() };
        assert_eq!(world.refused(&wrong, None).await, "USER_1106");
    }
    let stranger = signed_in(&world, "b@example.org").await;
    assert_eq!(world.refused(&with(&change), Some(&stranger.access_token)).await, "USER_1106");
    let age = "UPDATE identity.email_codes SET created_at = created_at - interval '10 minutes',
               expires_at = expires_at - interval '10 minutes'";
    world.db.execute(age).await.unwrap();
    assert_eq!(world.refused(&with(&change), token).await, "USER_1107");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_sends_five_codes_an_hour() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    for n in 0..5 {
        world.ok(&to(&format!("new{n}@example.org")), Some(&pair.access_token)).await;
    }
    let refusal = world.ask(&to("new5@example.org"), Some(&pair.access_token)).await.expect_err("too many");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0012", 429));
    assert!(
        refusal.retry_after.is_some_and(|seconds| (3000..=3601).contains(&seconds)),
        "{:?}",
        refusal.retry_after
    );
    let age = "UPDATE identity.email_codes SET created_at = created_at - interval '1 hour' WHERE id =
               (SELECT min(id::text)::uuid FROM identity.email_codes WHERE purpose = 'change_email')";
    world.db.execute(age).await.unwrap();
    world.ok(&to("new5@example.org"), Some(&pair.access_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_proof_of_who_asks_does_not_change_an_address() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    world.ok(&to("new@example.org"), Some(&pair.access_token)).await;
    let code = world.code("new@example.org", 1).await;
    let age = "UPDATE identity.auth_sessions SET auth_time = auth_time - interval '601 seconds'";
    world.db.execute(age).await.unwrap();
    // a refresh renews the token, not the proof
    let pair = world.refreshes(&pair).await.unwrap();
    let token = Some(pair.access_token.as_str());
    for code in
        [world.refused(&to("other@example.org"), token).await, world.refused(&with(&code), token).await]
    {
        assert_eq!(code, "USER_1009");
    }
    assert_eq!(world.ok(&GetMe {}, token).await.email, "a@example.org");
    let again = world.logs_in("a@example.org").await;
    world.ok(&with(&code), Some(&again.access_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_answered_again_under_its_key_and_a_wrong_code_leaves_the_key_free() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    world.ok(&to("new@example.org"), Some(&pair.access_token)).await;
    let code = world.code("new@example.org", 1).await;
    let confirms = async |code: &str| {
        let request = with(code);
        let asked = world.ask_with(&request, Some(&pair.access_token), |outgoing| {
            outgoing.idempotency_key = Some("confirm".into());
        });
        asked.await.map_err(|refusal| refusal.problem.error_code)
    };
    assert_eq!(confirms(&other(&code)).await, Err("USER_1106".to_owned()));
    let changed = confirms(&code).await.unwrap();
    assert_eq!(confirms(&code).await, Ok(changed));
    assert_eq!(world.announced("user.email_changed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i086_the_address_that_waits_is_sealed() {
    let world = World::start().await;
    let pair = signed_in(&world, "a@example.org").await;
    world.ok(&to("secretive@example.net"), Some(&pair.access_token)).await;
    let row =
        "SELECT encode(address_sealed, 'escape') FROM identity.email_codes WHERE purpose = 'change_email'";
    let sealed = world.db.value(row).await.unwrap().unwrap();
    assert!(!sealed.contains("secretive") && !sealed.contains("example"));
}
