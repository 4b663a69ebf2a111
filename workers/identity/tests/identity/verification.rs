//! Codes and letters.

use lectern_subjects::identity::*;

use crate::world::{PASSWORD, World, login, register};

fn verify(email: &str, code: &str) -> VerifyEmail {
    VerifyEmail { email: email.to_owned(), code: code.to_owned() }
}

/// Another code than this one.
fn other(code: &str) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1) % 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn i021_a_wrong_code_counts_and_after_five_even_the_right_one_waits() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let code = world.code("a@example.org", 1).await;
    for _ in 0..5 {
        assert_eq!(world.refused(&verify("a@example.org", &other(&code)), None).await, "USER_1106");
    }
    let refusal = world.ask(&verify("a@example.org", &code), None).await.expect_err("tries used up");
    assert_eq!(refusal.problem.error_code, "COMMON_0012");
    assert!(refusal.retry_after.is_some_and(|seconds| (1..=601).contains(&seconds)));
    assert_eq!(world.count("SELECT attempts FROM identity.email_codes").await, 5);
    // a new code has tries of its own, and the old one is no good any more
    world.ok(&ResendVerification { email: "a@example.org".into() }, None).await;
    let newer = world.code("a@example.org", 2).await;
    if newer != code {
        assert_eq!(world.refused(&verify("a@example.org", &code), None).await, "USER_1106");
    }
    world.ok(&verify("a@example.org", &newer), None).await;
    assert_eq!(world.announced("user.email_verified").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i17_a_verification_code_is_good_once() {
    let world = std::sync::Arc::new(World::start().await);
    world.registers("a@example.org").await;
    let code = world.code("a@example.org", 1).await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (world, code) = (world.clone(), code.clone());
        tries.spawn(async move { world.ask(&verify("a@example.org", &code), None).await.is_ok() });
    }
    let right = tries.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(right, 1);
    assert_eq!(world.announced("user.email_verified").await, 1);
    assert_eq!(world.refused(&verify("a@example.org", &code), None).await, "USER_1106");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_code_is_expired() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let code = world.code("a@example.org", 1).await;
    let age = "UPDATE identity.email_codes SET created_at = created_at - interval '10 minutes',
               expires_at = expires_at - interval '10 minutes'";
    world.db.execute(age).await.unwrap();
    assert_eq!(world.refused(&verify("a@example.org", &code), None).await, "USER_1107");
    assert_eq!(world.refused(&verify("nobody@example.org", &code), None).await, "USER_1106");
}

#[tokio::test(flavor = "multi_thread")]
async fn resending_says_nothing_about_who_is_there_and_has_a_limit() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let ask = |email: &str| ResendVerification { email: email.to_owned() };
    let unknown = world.ok(&ask("nobody@example.org"), None).await;
    for _ in 0..8 {
        assert_eq!(world.ok(&ask("a@example.org"), None).await, unknown);
    }
    // the first at sign-up and four more
    assert_eq!(world.count("SELECT count(*) FROM identity.email_codes").await, 5);
    assert_eq!(world.letters("a@example.org", 5).await.len(), 5);
    assert!(world.letters_now("nobody@example.org").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn c24_in_the_test_environment_the_code_is_123456() {
    let world = World::start_with(&[("ENVIRONMENT", "test")]).await;
    world.registers("a@example.org").await;
    world.ok(&verify("a@example.org", "123456"), None).await;
    assert_eq!(world.code("a@example.org", 1).await, "123456");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_asked_for_an_unverified_address_can_not_sign_in() {
    let world = World::start_with(&[("LOGIN_REQUIRES_VERIFIED_EMAIL", "true")]).await;
    world.registers("a@example.org").await;
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1004");
    // only who knows the password learns that
    assert_eq!(world.refused(&login("a@example.org", "Wrong-Horse-7!"), None).await, "USER_1001");
    let code = world.code("a@example.org", 1).await;
    world.ok(&verify("a@example.org", &code), None).await;
    world.logs_in("a@example.org").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i080_switched_off_no_code_is_mailed_and_there_are_no_such_requests() {
    let world = World::start_with(&[("ENABLE_EMAIL_VERIFICATION", "false")]).await;
    assert!(!world.registers("a@example.org").await.is_verified);
    assert_eq!(world.count("SELECT count(*) FROM identity.email_codes").await, 0);
    assert_eq!(world.refused(&verify("a@example.org", "123456"), None).await, "COMMON_0006");
    let again = ResendVerification { email: "a@example.org".to_owned() };
    assert_eq!(world.refused(&again, None).await, "COMMON_0006");
    world.logs_in("a@example.org").await;
    assert!(world.letters_now("a@example.org").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mailbox_letters_wait_sealed() {
    let world = World::start_with(&[("MAILBOX_FILE", "")]).await;
    world.ok(&register("secretive@example.org"), None).await;
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(world.count("SELECT count(*) FROM identity.mail_queue").await, 1);
    let letter =
        world.db.value("SELECT encode(sealed, 'escape') FROM identity.mail_queue").await.unwrap().unwrap();
    assert!(!letter.contains("secretive") && !letter.contains("verification code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i6_wrong_codes_are_answered_alike_whether_an_account_waits_for_its_code_or_not() {
    let world = World::start_with(&[("LETTER_RATE", "off")]).await;
    let waiting = ["waits@example.org", "late@example.org"];
    for email in waiting {
        world.registers(email).await;
    }
    let code = world.code("waits@example.org", 1).await;
    world.registers("done@example.org").await;
    let right = world.code("done@example.org", 1).await;
    world.ok(&verify("done@example.org", &right), None).await;
    let old = "UPDATE identity.email_codes SET created_at = created_at - interval '10 minutes',
               expires_at = expires_at - interval '10 minutes'
               WHERE user_id = (SELECT id FROM identity.users WHERE email = 'late@example.org')";
    world.db.execute(old).await.unwrap();
    // so that it is nobody's
    world.db.execute("DELETE FROM identity.address_attempts").await.unwrap();
    let answers = async |email: &str| {
        let mut answers = Vec::new();
        for round in 0..3 {
            for _ in 0..7 {
                let refusal = world.ask(&verify(email, &other(&code)), None).await.expect_err("wrong");
                let wait = refusal.retry_after.map(|seconds| (590..=601).contains(&seconds));
                answers.push((round, refusal.problem.error_code, wait));
            }
            world.ok(&ResendVerification { email: email.to_owned() }, None).await;
        }
        answers
    };
    let unknown = answers("nobody@example.org").await;
    assert_eq!(unknown.iter().filter(|(_, code, _)| code == "USER_1106").count(), 15);
    assert_eq!(
        unknown.iter().filter(|(_, code, wait)| code == "COMMON_0012" && *wait == Some(true)).count(),
        6
    );
    for email in ["waits@example.org", "late@example.org", "done@example.org"] {
        assert_eq!(answers(email).await, unknown, "{email}");
    }
    // an hour has five codes: after them the tries start over for nobody
    for email in ["nobody@example.org", "done@example.org"] {
        for _ in 0..4 {
            world.ok(&ResendVerification { email: email.to_owned() }, None).await;
        }
        for _ in 0..5 {
            assert_eq!(world.refused(&verify(email, "000000"), None).await, "USER_1106");
        }
        world.ok(&ResendVerification { email: email.to_owned() }, None).await;
        assert_eq!(world.refused(&verify(email, "000000"), None).await, "COMMON_0012");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i4_parallel_wrong_codes_get_exactly_five_answers_for_nobody_too() {
    let world = std::sync::Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let code = world.code("a@example.org", 1).await;
    for email in ["a@example.org", "nobody@example.org"] {
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (world, code) = (world.clone(), other(&code));
            crowd.spawn(async move { world.refused(&verify(email, &code), None).await });
        }
        let codes = crowd.join_all().await;
        assert_eq!(codes.iter().filter(|code| *code == "USER_1106").count(), 5, "{email}: {codes:?}");
        assert_eq!(codes.iter().filter(|code| *code == "COMMON_0012").count(), 15, "{email}: {codes:?}");
    }
}
