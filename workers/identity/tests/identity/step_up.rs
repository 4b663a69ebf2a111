//! Proving oneself anew without signing out.

use lectern_subjects::identity::*;

use crate::factors::{Device, ON};
use crate::world::{PASSWORD, WRONG, World, claims, sid};

fn with_password(password: &str) -> Reauthenticate {
    Reauthenticate { password: Some(password.to_owned()), ..Reauthenticate::default() }
}

fn with_code(code: String) -> Reauthenticate {
    Reauthenticate { code: Some(code), ..Reauthenticate::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn asvs_v7_what_changes_an_accounts_safety_needs_a_recent_proof_and_the_session_goes_on_with_a_new_one()
{
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    // a refresh is no proof, however fresh its token is
    let stale = world.a_while_later(&pair).await;
    let token = Some(stale.access_token.as_str());
    let id = world.clock().new_id().into();
    let credential = serde_json::json!({});
    let refused = [
        world.refused(&StartTotp {}, token).await,
        world.refused(&ConfirmTotp { code: "123456".into() }, token).await,
        world.refused(&RemoveTotp {}, token).await,
        world.refused(&MakeRecoveryCodes {}, token).await,
        world.refused(&StartPasskey {}, token).await,
        world.refused(&AddPasskey { challenge: "x".into(), name: "x".into(), credential }, token).await,
        world.refused(&RemovePasskey { id }, token).await,
    ];
    assert!(refused.iter().all(|code| code == "USER_1009"), "{refused:?}");
    world.ok(&ListPasskeys::default(), token).await;
    let fresh = world.ok(&with_password(PASSWORD), token).await;
    assert_eq!(sid(&fresh), sid(&pair));
    let auth_time = |pair: &TokenPair| claims(&pair.access_token)["auth_time"].as_i64().unwrap();
    assert!(auth_time(&fresh) - auth_time(&stale) >= 660);
    world.ok(&StartTotp {}, Some(&fresh.access_token)).await;
    let next = world.refreshes(&fresh).await.expect("a refresh");
    assert_eq!(auth_time(&next), auth_time(&fresh));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_new_pair_takes_the_place_of_the_old_refresh_token() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let fresh = world.ok(&with_password(PASSWORD), Some(&pair.access_token)).await;
    // whoever lost the answer gets it again with the token that they have, for a moment
    assert_eq!(world.refreshes(&pair).await.expect("the grace"), fresh);
    assert_eq!(world.count("SELECT count(*) FROM identity.refresh_tokens").await, 2);
    world.db.execute("UPDATE identity.refresh_tokens SET grace_until = now() - interval '1 s' WHERE consumed_at IS NOT NULL").await.unwrap();
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1010");
    assert_eq!(world.refreshes(&fresh).await.unwrap_err(), "USER_1010");
    assert_eq!(world.refused(&with_password(PASSWORD), Some(&fresh.access_token)).await, "USER_1011");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_refresh_whose_answer_was_lost_is_answered_again_though_the_user_has_proved_anew_meanwhile() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let lost = world.refreshes(&pair).await.expect("a refresh");
    let fresh = world.ok(&with_password(PASSWORD), Some(&pair.access_token)).await;
    assert_eq!(world.refreshes(&pair).await.expect("the grace"), lost);
    assert_eq!(world.refreshes(&lost).await.expect("the grace"), fresh);
    world.refreshes(&fresh).await.expect("a refresh");
    // one line of descent: of all these one is live
    let live = "SELECT count(*) FROM identity.refresh_tokens WHERE consumed_at IS NULL";
    assert_eq!(world.count(live).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i1_proofs_and_refreshes_at_once_leave_one_line_of_descent() {
    let world = std::sync::Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (world, pair) = (world.clone(), pair.clone());
        crowd.spawn(async move {
            match n % 3 {
                0 => world.ask(&with_password(PASSWORD), Some(&pair.access_token)).await.is_ok(),
                _ => world.refreshes(&pair).await.is_ok(),
            }
        });
    }
    let outcomes = crowd.join_all().await;
    assert!(outcomes.iter().all(|ok| *ok), "{outcomes:?}");
    let live = "SELECT count(*) FROM identity.refresh_tokens WHERE consumed_at IS NULL";
    assert_eq!(world.count(live).await, 1);
    let two_children = "SELECT count(*) - count(DISTINCT parent_hash) - 1 FROM identity.refresh_tokens";
    assert_eq!(world.count(two_children).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_where_a_second_factor_is_on_a_password_alone_is_no_proof() {
    let world = World::start_with(ON).await;
    let (pair, app) = world.with_app("a@example.org").await;
    let stale = world.a_while_later(&pair).await;
    let token = Some(stale.access_token.as_str());
    let refusal = world.ask(&with_password(PASSWORD), token).await.expect_err("not enough");
    assert_eq!(refusal.problem.error_code, "USER_1007");
    assert_eq!(refusal.body["details"], serde_json::json!({ "kinds": ["totp"] }));
    assert_eq!(world.refused(&with_code(app.wrong(&world)), token).await, "USER_1008");
    let code = app.code(&world, 0);
    let fresh = world.ok(&with_code(code.clone()), token).await;
    assert_eq!(claims(&fresh.access_token)["amr"], serde_json::json!(["pwd", "otp", "mfa"]));
    world.ok(&RemoveTotp {}, Some(&fresh.access_token)).await;
    // identity_i17: it was used here
    assert_eq!(world.refused(&with_code(code), Some(&fresh.access_token)).await, "USER_1008");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i4_wrong_proofs_within_a_session_get_five_looks_whatever_asks_for_them() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    for _ in 0..3 {
        assert_eq!(world.refused(&with_password(WRONG), token).await, "USER_1001");
    }
    let change = |password: &str| ChangePassword {
        current_password: password.to_owned(),
        new_password: "Blue-Kettle-42!".to_owned(),
    };
    for _ in 0..2 {
        assert_eq!(world.refused(&change(WRONG), token).await, "USER_1001");
    }
    let refusal = world.ask(&with_password(PASSWORD), token).await.expect_err("locked");
    assert_eq!(refusal.problem.error_code, "USER_1003");
    assert!(refusal.retry_after.is_some());
    assert_eq!(world.refused(&change(PASSWORD), token).await, "USER_1003");
    // they are no wrong sign-ins
    world.logs_in("a@example.org").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i078_who_has_a_second_factor_changes_none_without_showing_one() {
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    // a session of the time before, proved by a password a moment ago
    let before = world.logs_in("a@example.org").await;
    let token = Some(before.access_token.as_str());
    let begun = world.ok(&StartPasskey {}, token).await;
    let credential = Device::empty().makes(&begun.options).await;
    let (there, app) = world.sets_up_app("a@example.org").await;
    let id = world.clock().new_id().into();
    let add = AddPasskey { challenge: begun.challenge, name: "Phone".to_owned(), credential };
    for refusal in [
        world.ask(&RemoveTotp {}, token).await.expect_err("no factor"),
        world.ask(&StartTotp {}, token).await.map(drop).expect_err("no factor"),
        world.ask(&ConfirmTotp { code: app.code(&world, 0) }, token).await.expect_err("no factor"),
        world.ask(&MakeRecoveryCodes {}, token).await.map(drop).expect_err("no factor"),
        world.ask(&StartPasskey {}, token).await.map(drop).expect_err("no factor"),
        world.ask(&add, token).await.map(drop).expect_err("no factor"),
        world.ask(&RemovePasskey { id }, token).await.expect_err("no factor"),
    ] {
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1009", 403));
        assert_eq!(refusal.body["details"], serde_json::json!({ "kinds": ["totp"] }));
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 1);
    // who shows one may
    let fresh = world.ok(&with_code(app.code(&world, 0)), token).await;
    world.ok(&MakeRecoveryCodes {}, Some(&fresh.access_token)).await;
    // and so may the session in which the app was set up: its first code was shown there
    world.ok(&RemoveTotp {}, Some(&there.access_token)).await;
    // with none left, a recent proof is enough again
    world.ok(&StartTotp {}, token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_at_a_time_and_a_passkey_proves_its_own_user_only() {
    let world = World::start_with(ON).await;
    for email in ["a@example.org", "b@example.org"] {
        world.registers(email).await;
    }
    let (a, b) = (world.logs_in("a@example.org").await, world.logs_in("b@example.org").await);
    let token = Some(a.access_token.as_str());
    let none = Reauthenticate::default();
    let two = Reauthenticate { code: Some("123456".into()), ..with_password(PASSWORD) };
    assert_eq!(world.refused(&none, token).await, "COMMON_0001");
    assert_eq!(world.refused(&two, token).await, "COMMON_0001");
    let (mut of_a, mut of_b) = (Device::empty(), Device::empty());
    world.adds_passkey(&a, &mut of_a).await;
    world.adds_passkey(&b, &mut of_b).await;
    let a = world.a_while_later(&a).await;
    let token = Some(a.access_token.as_str());
    let shows = |passkey| Reauthenticate { passkey: Some(passkey), ..Reauthenticate::default() };
    let foreign = shows(world.signed(&mut of_b).await);
    assert_eq!(world.refused(&foreign, token).await, "USER_1008");
    let own = shows(world.signed(&mut of_a).await);
    let fresh = world.ok(&own, token).await;
    assert_eq!(sid(&fresh), sid(&a));
    assert_eq!(claims(&fresh.access_token)["amr"], serde_json::json!(["pwd", "pop", "user", "mfa"]));
    world.ok(&StartTotp {}, Some(&fresh.access_token)).await;
}

/// One code at both doors at once: at sign-in, and as a proof of an open session.
#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_a_code_that_is_shown_at_two_doors_at_once_opens_one() {
    let world = std::sync::Arc::new(World::start_with(ON).await);
    world.run_identity().await;
    let (pair, app) = world.with_app("a@example.org").await;
    let recovery = world.ok(&MakeRecoveryCodes {}, Some(&pair.access_token)).await.codes;
    let codes = [app.code(&world, 0), recovery[0].clone(), recovery[1].clone(), recovery[2].clone()];
    for code in codes {
        // those that come too late count as wrong
        world.db.execute("UPDATE identity.sign_in_attempts SET failed = 0").await.unwrap();
        let mut doors = tokio::task::JoinSet::new();
        for n in 0..4 {
            let half = world.mfa_token("a@example.org").await;
            let (world, code, token) = (world.clone(), code.clone(), pair.access_token.clone());
            doors.spawn(async move {
                if n % 2 == 0 {
                    return world.verifies(&half, &code).await.map(drop);
                }
                let proof = world.ask(&with_code(code), Some(&token)).await;
                proof.map(drop).map_err(|refusal| refusal.problem.error_code)
            });
        }
        let outcomes = doors.join_all().await;
        let right = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(right, 1, "{outcomes:?}");
        for refused in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(refused, "USER_1008");
        }
    }
}

/// What changes factors looks at those that there are when it has the account's lock, not before.
#[tokio::test(flavor = "multi_thread")]
async fn asvs_v7_an_app_that_is_confirmed_meanwhile_is_not_removed_by_who_has_shown_none() {
    let world = std::sync::Arc::new(World::start_with(ON).await);
    world.registers("a@example.org").await;
    let (thief, owner) = (world.logs_in("a@example.org").await, world.logs_in("a@example.org").await);
    world.ok(&StartTotp {}, Some(&owner.access_token)).await;
    let mut confirms = world.db.connect().await.expect("connected");
    sqlx::raw_sql("BEGIN; SELECT FROM identity.users FOR NO KEY UPDATE")
        .execute(&mut confirms)
        .await
        .expect("held");
    let removes = {
        let (world, thief) = (world.clone(), thief.access_token.clone());
        tokio::spawn(async move { world.ask(&RemoveTotp {}, Some(&thief)).await })
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while world.count(waiting).await == 0 && !removes.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    sqlx::raw_sql("UPDATE identity.credentials SET confirmed_at = now(), last_used_step = 1; COMMIT")
        .execute(&mut confirms)
        .await
        .expect("confirmed");
    let refusal = removes.await.unwrap().expect_err("an app is there that was not shown");
    assert_eq!(refusal.problem.error_code, "USER_1009");
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials WHERE kind = 'totp'").await, 1);
}

/// A wrong proof that is looked at while its account is erased: counted, and nothing is written about who is gone.
#[tokio::test(flavor = "multi_thread")]
async fn i107_a_wrong_proof_of_an_account_that_is_erased_meanwhile_leaves_nothing_but_its_count() {
    let world = World::start_with(ON).await;
    let (pair, app) = world.with_app("a@example.org").await;
    let mfa_token = world.mfa_token("a@example.org").await;
    let hash = world.db.value("SELECT password_hash FROM identity.users").await.unwrap().expect("a hash");
    // erased at the last moment: with the count of the wrong proof
    let erase = "CREATE FUNCTION identity.erase() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     UPDATE identity.users SET status = 'deleted', password_hash = NULL; RETURN NEW; END $$;
                 CREATE TRIGGER erase AFTER UPDATE OF failed ON identity.sign_in_attempts
                     FOR EACH ROW WHEN (NEW.failed > OLD.failed) EXECUTE FUNCTION identity.erase()";
    world.db.execute(erase).await.unwrap();
    let token = Some(pair.access_token.as_str());
    let written = "SELECT (SELECT count(*) FROM identity.login_history)
                   + (SELECT count(*) FROM identity.outbox) + (SELECT count(*) FROM identity.outbox_archive)";
    let before = world.count(written).await;
    let code = app.wrong(&world);
    let change =
        ChangePassword { current_password: WRONG.to_owned(), new_password: "Blue-Kettle-42!".to_owned() };
    for (nth, what) in ["code at sign-in", "password", "code", "present password"].into_iter().enumerate() {
        let there = format!("UPDATE identity.users SET status = 'active', password_hash = '{hash}'");
        world.db.execute(&there).await.unwrap();
        let refused = match nth {
            0 => world.verifies(&mfa_token, &code).await.map(drop).unwrap_err(),
            1 => world.refused(&with_password(WRONG), token).await,
            2 => world.refused(&with_code(code.clone()), token).await,
            _ => world.refused(&change, token).await,
        };
        assert!(["USER_1001", "USER_1008"].contains(&refused.as_str()), "{what}: {refused}");
        assert_eq!(world.count(written).await, before, "{what}");
    }
    assert_eq!(world.count("SELECT sum(failed) FROM identity.sign_in_attempts").await, 4);
}
