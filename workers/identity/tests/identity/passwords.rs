//! Forgotten, reset and changed passwords.

use std::sync::Arc;

use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, claims, login, register, sid};

const NEW: &str = "Blue-Kettle-42!";
const OPEN_LINKS: &str = "SELECT count(*) FROM identity.password_resets WHERE consumed_at IS NULL";

fn forgot(email: &str) -> ForgotPassword {
    ForgotPassword { email: email.to_owned() }
}

fn reset(token: &str, new: &str) -> ResetPassword {
    ResetPassword { token: token.to_owned(), new_password: new.to_owned() }
}

fn change(current: &str, new: &str) -> ChangePassword {
    ChangePassword { current_password: current.to_owned(), new_password: new.to_owned() }
}

/// A new link's token, the `nth` of this address.
async fn link(world: &World, email: &str, nth: usize) -> String {
    world.ok(&forgot(email), None).await;
    world.link_token(email, nth).await
}

async fn subjects_of_letters(world: &World, to: &str, count: usize) -> Vec<String> {
    let letters = world.letters(to, count).await;
    letters.iter().map(|letter| letter["subject"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn i005_a_forgotten_password_is_set_anew_by_the_mailed_link_and_every_session_ends() {
    let world = World::start().await;
    let user = world.registers("a@example.org").await;
    let (phone, laptop) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    world.ok(&forgot(" A@Example.ORG "), None).await;
    let token = world.link_token("a@example.org", 1).await;
    world.ok(&reset(&token, NEW), None).await;
    for pair in [&phone, &laptop] {
        assert!(world.is_told(sid(pair)).await);
        assert_eq!(world.refreshes(pair).await.unwrap_err(), "USER_1011");
        assert_eq!(world.refused(&GetMe {}, Some(&pair.access_token)).await, "USER_1011");
    }
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1001");
    let pair = world.ok(&login("a@example.org", NEW), None).await;
    let me = world.ok(&GetMe {}, Some(&pair.access_token)).await;
    assert!(me.id == user.id && me.is_verified, "the letter was read, so the address is verified");
    assert_eq!(claims(&pair.access_token)["uv"], 2, "older claims are void");
    for (fact, times) in [
        ("user.password_reset_requested", 1),
        ("user.password_changed", 1),
        ("user.email_verified", 1),
        ("session.revoked", 2),
    ] {
        assert_eq!(world.announced(fact).await, times, "{fact}");
    }
    for act in ["user.password_reset_requested", "user.password_changed"] {
        assert_eq!(world.audited(act).await.len(), 1, "{act}");
    }
    let letters = subjects_of_letters(&world, "a@example.org", 3).await;
    assert!(letters.contains(&"Your password was changed".to_owned()), "{letters:?}");
    // good once
    assert_eq!(world.refused(&reset(&token, "Green-Teapot-43!"), None).await, "USER_1106");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i6_asking_for_a_link_looks_at_no_account_so_it_can_not_tell_who_is_there() {
    let world = World::start().await;
    world.registers("known@example.org").await;
    // nobody can read or lock an account; whatever asks for one runs into its lock timeout
    let mut keeper = world.db.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE identity.users IN ACCESS EXCLUSIVE MODE")
        .execute(&mut keeper)
        .await
        .unwrap();
    let known = world.ok(&forgot("known@example.org"), None).await;
    let unknown = world.ok(&forgot("enemy@example.org"), None).await;
    assert_eq!(known, unknown);
    // the same is written for both, and neither address stands there
    let sizes =
        "SELECT count(DISTINCT octet_length(sealed)) * 10 + count(*) FROM identity.password_reset_requests";
    assert_eq!(world.count(sizes).await, 12);
    let rows = "SELECT string_agg(encode(sealed, 'escape'), '') FROM identity.password_reset_requests";
    let rows = world.db.value(rows).await.unwrap().unwrap();
    assert!(!rows.contains("known") && !rows.contains("enemy"));
    sqlx::raw_sql("ROLLBACK").execute(&mut keeper).await.unwrap();
    world.link_token("known@example.org", 1).await;
    while world.count("SELECT count(*) FROM identity.password_reset_requests").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(world.letters_now("enemy@example.org").is_empty());
    assert_eq!(world.announced("user.password_reset_requested").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_of_parallel_resets_with_one_link_exactly_one_sets_the_password() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let token = link(&world, "a@example.org", 1).await;
    let mut crowd = JoinSet::new();
    for n in 0..10 {
        let (world, token) = (world.clone(), token.clone());
        crowd.spawn(async move {
            let new = format!("Blue-Kettle-{n}!");
            let code =
                world.ask(&reset(&token, &new), None).await.map_err(|refusal| refusal.problem.error_code);
            (new, code.map(drop))
        });
    }
    let outcomes = crowd.join_all().await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    assert!(
        outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).all(|code| code == "USER_1106")
    );
    world.ok(&login("a@example.org", &winners[0].0), None).await;
    assert_eq!(world.announced("user.password_changed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i005_unknown_old_and_foreign_links_are_no_good_and_a_bad_password_does_not_use_one_up() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let token = link(&world, "a@example.org", 1).await;
    for unknown in ["", "nonsense", &"x".repeat(43), &token.to_lowercase()] {
        assert_eq!(world.refused(&reset(unknown, NEW), None).await, "USER_1106");
    }
    let weak = world.ask(&reset(&token, "short"), None).await.expect_err("too weak");
    assert_eq!(weak.problem.error_code, "USER_1103");
    assert_eq!(weak.body["details"][0]["pointer"], "/new_password");
    assert_eq!(world.refused(&reset(&token, PASSWORD), None).await, "USER_1105");
    assert_eq!(world.count(OPEN_LINKS).await, 1);
    // thirty minutes
    let age = |minutes: u32| {
        format!(
            "UPDATE identity.password_resets SET created_at = created_at - interval '{minutes} minutes',
             expires_at = expires_at - interval '{minutes} minutes'"
        )
    };
    world.db.execute(&age(30)).await.unwrap();
    assert_eq!(world.refused(&reset(&token, NEW), None).await, "USER_1107");
    world.db.execute(&age(0).replace('-', "+").replace("0 minutes", "1 minutes")).await.unwrap();
    world.ok(&reset(&token, NEW), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i005_only_the_hash_of_a_link_is_kept() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let token = link(&world, "a@example.org", 1).await;
    let row = world.db.value("SELECT to_jsonb(r) FROM identity.password_resets r").await.unwrap().unwrap();
    let hex: String = token.bytes().map(|b| format!("{b:02x}")).collect();
    assert!(!row.contains(&token) && !row.contains(&hex) && !row.contains("example"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_reset_link_passes_the_account_lock() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    for _ in 0..5 {
        assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    }
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1003");
    let token = link(&world, "a@example.org", 1).await;
    world.ok(&reset(&token, NEW), None).await;
    world.ok(&login("a@example.org", NEW), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i005_an_hour_has_five_links_and_one_that_is_used_voids_the_others() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    for _ in 0..8 {
        world.ok(&forgot("a@example.org"), None).await;
    }
    let newest = world.link_token("a@example.org", 5).await;
    while world.count("SELECT count(*) FROM identity.password_reset_requests").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.count(OPEN_LINKS).await, 5);
    // one letter at sign-up and one per link
    assert_eq!(world.letters("a@example.org", 6).await.len(), 6);
    let oldest = world.link_token("a@example.org", 1).await;
    world.ok(&reset(&oldest, NEW), None).await;
    assert_eq!(world.count(OPEN_LINKS).await, 0);
    assert_eq!(world.refused(&reset(&newest, "Green-Teapot-43!"), None).await, "USER_1106");
}

#[tokio::test(flavor = "multi_thread")]
async fn i005_a_link_is_void_once_the_password_or_the_address_is_another_or_the_account_is_off() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let first = link(&world, "a@example.org", 1).await;
    world.ok(&change(PASSWORD, NEW), Some(&pair.access_token)).await;
    assert_eq!(world.refused(&reset(&first, "Green-Teapot-43!"), None).await, "USER_1106");
    // the mailbox that it went to may be somebody else's now
    let second = link(&world, "a@example.org", 2).await;
    let moves = "UPDATE identity.users SET email = 'b@example.org', email_norm = 'b@example.org'";
    world.db.execute(moves).await.unwrap();
    assert_eq!(world.refused(&reset(&second, "Green-Teapot-43!"), None).await, "USER_1106");
    let third = link(&world, "b@example.org", 1).await;
    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    assert_eq!(world.refused(&reset(&third, "Green-Teapot-43!"), None).await, "USER_1106");
    world.ok(&forgot("b@example.org"), None).await;
    while world.count("SELECT count(*) FROM identity.password_reset_requests").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.announced("user.password_reset_requested").await, 3, "none for the disabled account");
}

#[tokio::test(flavor = "multi_thread")]
async fn i101_a_changed_password_ends_the_other_sessions_and_keeps_this_one() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let (here, there) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    world.ok(&change(PASSWORD, NEW), Some(&here.access_token)).await;
    assert!(world.is_told(sid(&there)).await && !world.is_told(sid(&here)).await);
    assert_eq!(world.refreshes(&there).await.unwrap_err(), "USER_1011");
    world.ok(&GetMe {}, Some(&here.access_token)).await;
    world.refreshes(&here).await.expect("this session lives on");
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1001");
    world.ok(&login("a@example.org", NEW), None).await;
    assert_eq!(
        (world.announced("user.password_changed").await, world.announced("session.revoked").await),
        (1, 1)
    );
    assert_eq!(world.audited("user.password_changed").await.len(), 1);
    let letters = subjects_of_letters(&world, "a@example.org", 2).await;
    assert!(letters.contains(&"Your password was changed".to_owned()), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_wrong_present_passwords_get_exactly_five_looks_and_are_no_wrong_sign_ins() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut guesses = JoinSet::new();
    for _ in 0..30 {
        let (world, token) = (world.clone(), pair.access_token.clone());
        guesses.spawn(async move { world.refused(&change(WRONG, NEW), Some(&token)).await });
    }
    let codes = guesses.join_all().await;
    assert_eq!(codes.iter().filter(|code| *code == "USER_1001").count(), 5, "exactly five are looked at");
    assert_eq!(codes.iter().filter(|code| *code == "USER_1003").count(), 25);
    // nor does the right one, for a while; a proof of who asks is no way around
    let refusal = world.ask(&change(PASSWORD, NEW), Some(&pair.access_token)).await.expect_err("locked");
    assert_eq!(refusal.problem.error_code, "USER_1003");
    assert!(refusal.retry_after.is_some_and(|seconds| (1..=900).contains(&seconds)));
    let proof = Reauthenticate { password: Some(PASSWORD.into()), ..Reauthenticate::default() };
    assert_eq!(world.refused(&proof, Some(&pair.access_token)).await, "USER_1003");
    assert_eq!(world.announced("user.password_changed").await, 0);
    assert_eq!(world.facts("security.suspicious").await[0]["data"]["activity_type"], "lockout");
    // a thief of a token can't lock the owner's sign-in, nor keep a new password from them
    world.logs_in("a@example.org").await;
    let token = link(&world, "a@example.org", 1).await;
    world.ok(&reset(&token, NEW), None).await;
    let again = world.ok(&login("a@example.org", NEW), None).await;
    world.ok(&change(NEW, "Green-Teapot-43!"), Some(&again.access_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_a_stranger_who_locks_the_sign_in_keeps_nobody_from_changing_the_password() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    for _ in 0..5 {
        world.ask(&login("a@example.org", WRONG), None).await.expect_err("wrong");
    }
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1003");
    let proof = Reauthenticate { password: Some(PASSWORD.into()), ..Reauthenticate::default() };
    let fresh = world.ok(&proof, Some(&pair.access_token)).await;
    world.ok(&change(PASSWORD, NEW), Some(&fresh.access_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_changes_of_one_password_exactly_one_is_made() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut crowd = JoinSet::new();
    for n in 0..4 {
        let (world, token) = (world.clone(), pair.access_token.clone());
        crowd.spawn(async move {
            let new = format!("Blue-Kettle-{n}!");
            let code = world.ask(&change(PASSWORD, &new), Some(&token)).await;
            code.map(|_| new).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let outcomes = crowd.join_all().await;
    let made: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(made.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|code| code == "USER_1001"));
    world.ok(&login("a@example.org", made[0]), None).await;
    assert_eq!(world.announced("user.password_changed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i077_a_new_password_is_none_of_the_last_five() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    let password = |n: usize| if n == 0 { PASSWORD.to_owned() } else { format!("Blue-Kettle-{n}!") };
    for n in 0..5 {
        world.ok(&change(&password(n), &password(n + 1)), token).await;
    }
    // 1 to 5 are the last five; 0 is the sixth
    for used in 1..=5 {
        let refusal =
            world.ask(&change(&password(5), &password(used)), token).await.expect_err("used before");
        assert_eq!(refusal.problem.error_code, "USER_1105", "{used}");
        assert_eq!(refusal.body["details"][0]["pointer"], "/new_password");
    }
    let mail = link(&world, "a@example.org", 1).await;
    assert_eq!(world.refused(&reset(&mail, &password(2)), None).await, "USER_1105");
    assert_eq!(world.count("SELECT count(*) FROM identity.password_history").await, 4, "no more than count");
    world.ok(&change(&password(5), &password(0)), token).await;
    // passwords that were refused cost no sign-in attempt
    assert_eq!(world.count("SELECT max(failed) FROM identity.sign_in_attempts").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i077_without_a_history_any_password_will_do_and_none_is_kept() {
    let world = World::start_with(&[("PASSWORD_HISTORY_SIZE", "0")]).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    for (old, new) in [(PASSWORD, PASSWORD), (PASSWORD, NEW), (NEW, PASSWORD)] {
        world.ok(&change(old, new), Some(&pair.access_token)).await;
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.password_history").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_only_soon_after_a_sign_in() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    world
        .db
        .execute("UPDATE identity.auth_sessions SET auth_time = auth_time - interval '11 minutes'")
        .await
        .unwrap();
    let later = world.refreshes(&pair).await.unwrap();
    assert_eq!(world.refused(&change(PASSWORD, NEW), Some(&later.access_token)).await, "USER_1009");
    let again = world.logs_in("a@example.org").await;
    world.ok(&change(PASSWORD, NEW), Some(&again.access_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c9_profile_nist_takes_a_phrase_that_profile_seed_refuses() {
    const PHRASE: &str = "seven quiet herons";
    let seed = World::start().await;
    let asked = Register { password: PHRASE.into(), ..register("a@example.org") };
    assert_eq!(seed.refused(&asked, None).await, "USER_1103");
    let nist = World::start_with(&[("PASSWORD_PROFILE", "nist")]).await;
    nist.ok(&asked, None).await;
    let pair = nist.ok(&login("a@example.org", PHRASE), None).await;
    assert_eq!(nist.refused(&change(PHRASE, "password123"), Some(&pair.access_token)).await, "USER_1103");
    nist.ok(&change(PHRASE, "eight loud herons"), Some(&pair.access_token)).await;
}
