//! Links that staff have mailed: to who shall set another password, and to who is invited. Letters go over a real mail
//! server.

use lectern_subjects::Role;
use lectern_subjects::identity::*;
use serde_json::json;

use crate::post::world;
use crate::post_office::{Arrived, PostOffice};
use crate::world::{PASSWORD, World, claims, login, sid};

const NEW: &str = "Blue-Kettle-42!";
const OPEN_LINKS: &str = "SELECT count(*) FROM identity.password_resets WHERE consumed_at IS NULL";

fn invited(email: &str) -> CreateUser {
    CreateUser { email: email.to_owned(), name: "Ina Novak".to_owned(), role: None, password: None }
}

fn reset(token: &str) -> ResetPassword {
    ResetPassword { token: token.to_owned(), new_password: NEW.to_owned() }
}

async fn admin(world: &World) -> String {
    world.staff("admin@example.org", Role::Admin).await;
    world.logs_in("admin@example.org").await.access_token
}

/// The token in a letter.
fn token(letter: &Arrived) -> String {
    let text = letter.part("text/plain");
    let (_, rest) = text.split_once("https://learn.test/password/reset#token=").expect("a link");
    rest.lines().next().unwrap().to_owned()
}

/// Makes every link so much older.
async fn ages(world: &World, by: &str) {
    let older = format!(
        "UPDATE identity.password_resets SET created_at = created_at - interval '{by}',
         expires_at = expires_at - interval '{by}'"
    );
    world.db.execute(&older).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i027_who_is_invited_chooses_the_first_password_and_has_a_verified_address() {
    let office = PostOffice::open().await;
    let world = world(&office, &[("LOGIN_REQUIRES_VERIFIED_EMAIL", "true")]).await;
    let admin = admin(&world).await;
    let made = world.ok(&invited("Ina@Example.org"), Some(&admin)).await;
    assert!(!made.is_verified && made.is_active && made.role == Role::User && made.last_login_at.is_none());
    assert_eq!(
        world.ok(&GetUser { id: made.id }, Some(&admin)).await.user,
        made,
        "the version is the one answered"
    );
    let letter = office.arrived(1).await.remove(0);
    assert_eq!(letter.to, ["Ina@Example.org"]);
    assert_eq!(letter.header("Subject"), "An account was made for you");
    // no password opens it before
    for guess in [PASSWORD, NEW] {
        assert_eq!(world.refused(&login("ina@example.org", guess), None).await, "USER_1001");
    }
    ages(&world, "6 days 23 hours 59 minutes").await;
    world.ok(&reset(&token(&letter)), None).await;
    let pair = world.ok(&login("ina@example.org", NEW), None).await;
    let me = world.ok(&GetMe {}, Some(&pair.access_token)).await;
    assert!(me.id == made.id && me.is_verified);
    for (fact, times) in [
        ("user.created", 2),
        ("user.password_reset_requested", 1),
        ("user.password_changed", 1),
        ("user.email_verified", 1),
    ] {
        assert_eq!(world.announced(fact).await, times, "{fact}");
    }
    let audited = world.audited("user.password_reset_requested").await;
    assert_eq!((audited.len(), &audited[0]["details"]), (1, &json!({ "occasion": "invited" })));
    assert_eq!(audited[0]["actor_id"], claims(&admin)["sub"]);
    // good once
    assert_eq!(world.refused(&reset(&token(&letter)), None).await, "USER_1106");
}

#[tokio::test(flavor = "multi_thread")]
async fn i027_an_invitation_lasts_a_week_or_as_long_as_is_set_and_is_sent_again_when_it_is_over() {
    let office = PostOffice::open().await;
    let world = world(&office, &[("INVITATION_DAYS", "2")]).await;
    let admin = admin(&world).await;
    let made = world.ok(&invited("ina@example.org"), Some(&admin)).await;
    let first = token(&office.arrived(1).await[0]);
    ages(&world, "2 days").await;
    assert_eq!(world.refused(&reset(&first), None).await, "USER_1107");
    let again = SendPasswordReset { id: made.id };
    assert_eq!(world.ok(&again, Some(&admin)).await.message, "An invitation is on its way");
    let letter = office.arrived(2).await.remove(1);
    assert_eq!(letter.header("Subject"), "An account was made for you");
    world.ok(&reset(&token(&letter)), None).await;
    world.ok(&login("ina@example.org", NEW), None).await;
    // who has come is invited no more
    assert!(world.ok(&again, Some(&admin)).await.message.starts_with("A link"));
    let letters = office.arrived(4).await;
    let subjects: Vec<String> = letters.iter().map(|letter| letter.header("Subject")).collect();
    assert!(subjects.contains(&"Set a new password".to_owned()), "{subjects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i027_an_invitation_that_can_not_be_made_leaves_no_letter_and_one_address_has_one() {
    let world = World::start().await;
    let admin = admin(&world).await;
    let user = world.registers("user@example.org").await;
    let plain = world.logs_in("user@example.org").await.access_token;
    let machine = CreateUser { role: Some(Role::Service), ..invited("robot@example.org") };
    assert_eq!(world.refused(&machine, Some(&admin)).await, "USER_1303");
    assert_eq!(world.refused(&invited("USER@example.org"), Some(&admin)).await, "USER_1102");
    assert_eq!(world.refused(&invited("no address"), Some(&admin)).await, "USER_1104");
    assert_eq!(world.refused(&invited("ina@example.org"), Some(&plain)).await, "COMMON_0013");
    assert_eq!(world.refused(&invited("ina@example.org"), None).await, "USER_1006");
    assert_eq!(world.refused(&SendPasswordReset { id: user.id }, Some(&plain)).await, "COMMON_0013");
    assert_eq!(world.refused(&SendPasswordReset { id: user.id }, None).await, "USER_1006");
    assert_eq!(world.count(OPEN_LINKS).await, 0);
    // a role comes with the invitation, as it comes with a password
    let auditor = CreateUser { role: Some(Role::Auditor), ..invited("ina@example.org") };
    assert_eq!(world.ok(&auditor, Some(&admin)).await.role, Role::Auditor);
    assert_eq!(world.count(OPEN_LINKS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn asvs_6_4_6_an_admin_has_a_link_mailed_sees_neither_it_nor_a_password_and_changes_nothing_by_it() {
    let office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    let admin = admin(&world).await;
    let user = world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let answer = world.ok(&SendPasswordReset { id: user.id }, Some(&admin)).await;
    let letters = office.arrived(2).await;
    let letter = letters.iter().find(|letter| letter.header("Subject") == "Set a new password").unwrap();
    let token = token(letter);
    assert_eq!(letter.to, ["a@example.org"]);
    assert!(letter.part("text/plain").starts_with("An administrator asks you to set a new password."));
    assert!(!serde_json::to_string(&answer).unwrap().contains(&token));
    // nothing has changed: neither the password nor a session
    world.logs_in("a@example.org").await;
    let pair = world.refreshes(&pair).await.expect("the session goes on");
    assert_eq!(world.announced("user.password_changed").await, 0);
    let audited = world.audited("user.password_reset_requested").await;
    assert_eq!((audited.len(), &audited[0]["details"]), (1, &json!({ "occasion": "admin" })));
    assert!(!audited[0].to_string().contains(&token));
    // what the link does, it does for its owner
    world.ok(&reset(&token), None).await;
    assert!(world.is_told(sid(&pair)).await);
    world.ok(&login("a@example.org", NEW), None).await;
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1001");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_has_five_links_of_staff_and_the_sixth_says_when_there_is_another() {
    let world = World::start().await;
    let admin = admin(&world).await;
    let user = world.registers("a@example.org").await;
    let request = SendPasswordReset { id: user.id };
    for _ in 0..5 {
        world.ok(&request, Some(&admin)).await;
    }
    let refusal = world.ask(&request, Some(&admin)).await.expect_err("too many letters");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0012", 429));
    assert!(refusal.retry_after.is_some_and(|seconds| (3500..=3600).contains(&seconds)));
    assert_eq!(world.count(OPEN_LINKS).await, 5);
    // who forgot it has links of their own
    world.ok(&ForgotPassword { email: "a@example.org".into() }, None).await;
    world.link_token("a@example.org", 6).await;
    ages(&world, "1 hour").await;
    world.ok(&request, Some(&admin)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_staff_is_for_who_may_use_it_and_a_repeated_request_mails_one() {
    let world = World::start().await;
    let admin = admin(&world).await;
    let user = world.registers("a@example.org").await;
    let request = SendPasswordReset { id: user.id };
    for _ in 0..3 {
        let sent = world.ask_with(&request, Some(&admin), |outgoing| {
            outgoing.idempotency_key = Some("once".to_owned());
        });
        sent.await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    }
    assert_eq!(world.count(OPEN_LINKS).await, 1);
    world.ok(&DisableUser { id: user.id }, Some(&admin)).await;
    let refusal = world.ask(&request, Some(&admin)).await.expect_err("switched off");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0013", 403));
    world.ok(&DeleteUser { id: user.id }, Some(&admin)).await;
    assert_eq!(world.refused(&request, Some(&admin)).await, "USER_1101");
    let nobody = SendPasswordReset { id: uuid::Uuid::nil().into() };
    assert_eq!(world.refused(&nobody, Some(&admin)).await, "USER_1101");
}
