//! Sign-up, staff-made accounts, the own account.

use std::sync::Arc;

use lectern_subjects::Role;
use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::world::{PASSWORD, WRONG, World, claims, login, register};

#[tokio::test(flavor = "multi_thread")]
async fn i169_register_verify_login_me_logout() {
    let world = World::start().await;
    let user = world.registers(" Alice@Example.org ").await;
    assert_eq!((user.email.as_str(), user.role, user.is_active), ("Alice@Example.org", Role::User, true));
    assert!(!user.is_verified && user.last_login_at.is_none());
    let code = world.code("Alice@Example.org", 1).await;
    world.ok(&VerifyEmail { email: "alice@example.org".into(), code }, None).await;
    let pair = world.logs_in("alice@example.ORG").await;
    assert_eq!((pair.token_type.as_str(), pair.expires_in), ("bearer", 1800));
    let me = world.ok(&GetMe {}, Some(&pair.access_token)).await;
    assert_eq!(me.id, user.id);
    assert!(me.is_verified && me.last_login_at.is_some() && me.version > user.version);
    let bye = world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
    assert_eq!(bye.message, "Successfully logged out");
    for (fact, times) in
        [("user.created", 1), ("user.email_verified", 1), ("user.logged_in", 1), ("user.logged_out", 1)]
    {
        assert_eq!(world.announced(fact).await, times, "{fact}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_says_at_sign_up_is_kept_and_private_parts_are_sealed() {
    let world = World::start().await;
    let asked = Register {
        phone: Some("+821012345678".into()),
        business_number: Some("123-45-67890".into()),
        industry: Some("Bakery".into()),
        ..register("bakery@example.org")
    };
    world.ok(&asked, None).await;
    let pair = world.logs_in("bakery@example.org").await;
    let me = world.ok(&GetMe {}, Some(&pair.access_token)).await;
    assert_eq!(me.phone.as_deref(), Some("+821012345678"));
    let row = world.db.value("SELECT to_jsonb(u) FROM identity.users u").await.unwrap().unwrap();
    assert!(row.contains("Bakery"));
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    for private in ["+821012345678", "123-45-67890", PASSWORD] {
        assert!(!row.contains(private) && !row.contains(&hex(private)), "a private part stands in the row");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i048_i049_i075_an_account_begins_active_and_unverified_and_keeps_its_times() {
    let world = World::start().await;
    let before = world.clock().now();
    let user = world.registers("a@example.org").await;
    assert!(user.is_active && !user.is_verified && user.role == Role::User && user.last_login_at.is_none());
    assert!((before..=world.clock().now()).contains(&user.created_at), "{user:?}");
    // a refused sign-in is none
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    assert_eq!(world.count("SELECT count(last_login_at) FROM identity.users").await, 0);
    let asked = world.clock().now();
    let token = world.logs_in("a@example.org").await.access_token;
    let first = world.ok(&GetAccount {}, Some(&token)).await;
    let signed_in = first.user.last_login_at.expect("signed in");
    assert!((asked..=world.clock().now()).contains(&signed_in), "{first:?}");
    assert_eq!(
        (first.user.created_at, first.updated_at),
        (user.created_at, user.created_at),
        "nothing was changed"
    );

    let change = UpdateMe { name: Some("Another Name".into()), ..UpdateMe::default() };
    world.ok(&change, Some(&token)).await;
    let changed = world.ok(&GetAccount {}, Some(&token)).await;
    assert!((signed_in..=world.clock().now()).contains(&changed.updated_at), "{changed:?}");
    assert_eq!((changed.user.created_at, changed.user.last_login_at), (user.created_at, Some(signed_in)));
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    let token = world.logs_in("a@example.org").await.access_token;
    let again = world.ok(&GetAccount {}, Some(&token)).await;
    assert!(again.user.last_login_at > Some(changed.updated_at), "{again:?}");
    assert_eq!(again.updated_at, changed.updated_at, "to sign in changes nothing of what an account says");
}

#[tokio::test(flavor = "multi_thread")]
async fn i088_an_address_is_taken_as_people_have_them_and_what_is_none_is_refused_wherever_it_is_asked_for() {
    let world = World::start().await;
    let longest = format!("{}@{}.{}.{}.org", "a".repeat(64), "b".repeat(63), "c".repeat(63), "d".repeat(58));
    assert_eq!(longest.len(), 255);
    for good in
        ["a@b.co", "first.last+tag@sub.example.org", "o'brien_x@example.org", " A@Example.ORG ", &longest]
    {
        let user = world.ok(&register(good), None).await;
        assert_eq!(user.email, good.trim());
    }
    let token = world.logs_in("a@b.co").await.access_token;
    let written = world.count("SELECT count(*) FROM identity.users").await;
    let too_long = longest.replace("d.org", "dd.org");
    let local = format!("{}@example.org", "a".repeat(65));
    for bad in [
        "",
        "@",
        "a",
        "a@",
        "@example.org",
        "a@example",
        "a@@example.org",
        "a@b@example.org",
        "a b@example.org",
        "a@exa mple.org",
        "a@-example.org",
        "a@example-.org",
        "a@example..org",
        "a@.example.org",
        "a@example.org.",
        ".a@example.org",
        "a.@example.org",
        "a..b@example.org",
        "a@ex_ample.org",
        "a\u{0}@example.org",
        "a\r\nBcc: b@example.org",
        "\u{4f60}@example.org",
        "a@\u{4f8b}.org",
        "<a@example.org>",
        &too_long,
        &local,
    ] {
        for code in [
            world.refused(&register(bad), None).await,
            world.refused(&login(bad, PASSWORD), None).await,
            world.refused(&ForgotPassword { email: bad.into() }, None).await,
            world.refused(&ResendVerification { email: bad.into() }, None).await,
            world.refused(&VerifyEmail { email: bad.into(), code: "123456".into() }, None).await,
            world.refused(&ChangeEmail { email: bad.into() }, Some(&token)).await,
        ] {
            assert_eq!(code, "USER_1104", "{bad:?}");
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn i092_the_same_address_at_the_same_time_makes_one_account() {
    let world = Arc::new(World::start().await);
    let mut tries = JoinSet::new();
    for n in 0..10 {
        let world = world.clone();
        let email = if n % 2 == 0 { "twin@example.org" } else { "TWIN@example.org" };
        tries.spawn(async move { world.ask(&register(email), None).await.map_err(|r| r.problem.error_code) });
    }
    let outcomes = tries.join_all().await;
    assert_eq!(outcomes.iter().filter(|made| made.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(|made| matches!(made, Err(code) if code == "USER_1102")).count(), 9);
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 1);
    // nothing of the others is half-written
    assert_eq!(world.count("SELECT count(*) FROM identity.email_codes").await, 1);
    assert_eq!(world.announced("user.created").await, 1);
    assert_eq!(
        world.letters("twin@example.org", 0).await.len()
            + world.letters("TWIN@example.org", 0).await.len()
            + usize::try_from(world.count("SELECT count(*) FROM identity.mail_queue").await).unwrap(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i091_a_weak_password_is_refused_with_every_missed_rule() {
    let world = World::start().await;
    let weak = Register { password: "password123".into(), ..register("weak@example.org") };
    let refusal = world.ask(&weak, None).await.expect_err("too weak");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1103", 400));
    let rules: Vec<_> =
        refusal.problem.details.as_array().unwrap().iter().map(|d| d["rule"].clone()).collect();
    assert_eq!(rules, ["upper", "symbol", "common"]);
    let own =
        Register { password: "Quincy-2024-x!".into(), name: "Quincy".into(), ..register("q@example.org") };
    let refusal = world.ask(&own, None).await.expect_err("contains the name");
    assert_eq!(refusal.problem.details[0]["rule"], "context");
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i036_a_password_that_no_account_can_have_is_refused_before_anybody_looks() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    for short in ["", "Test12!", "가나다라마바사"] {
        let refusal = world.ask(&login("a@example.org", short), None).await.expect_err("too short");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0001", 400));
        assert_eq!(refusal.body["details"][0]["pointer"], "/password", "{}", refusal.body);
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.sign_in_attempts").await, 0);
    assert_eq!(world.refused(&login("a@example.org", "Test123!"), None).await, "USER_1001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i027_an_admin_makes_accounts_but_no_machines() {
    let world = World::start().await;
    let admin = world.staff("admin@example.org", Role::Admin).await;
    let token = world.logs_in("admin@example.org").await.access_token;
    assert_eq!(claims(&token)["roles"], serde_json::json!(["admin"]));
    let asked = |email: &str, role| CreateUser {
        email: email.to_owned(),
        name: "Somebody".to_owned(),
        role,
        password: Some(PASSWORD.to_owned()),
    };
    let made = world.ok(&asked("auditor@example.org", Some(Role::Auditor)), Some(&token)).await;
    assert!(made.is_verified && made.role == Role::Auditor);
    world.logs_in("auditor@example.org").await;
    let plain = world.ok(&asked("plain@example.org", None), Some(&token)).await;
    assert_eq!(plain.role, Role::User);
    assert_eq!(
        world.refused(&asked("robot@example.org", Some(Role::Service)), Some(&token)).await,
        "USER_1303"
    );
    assert_eq!(world.refused(&asked("plain@example.org", None), Some(&token)).await, "USER_1102");
    let user = world.logs_in("plain@example.org").await.access_token;
    assert_eq!(world.refused(&asked("x@example.org", None), Some(&user)).await, "COMMON_0013");
    assert_eq!(world.refused(&asked("x@example.org", None), None).await, "USER_1006");
    // the one made by the command line is announced like the others, and by nobody
    assert_eq!(world.announced("user.created").await, 3);
    let by_nobody = format!(
        "SELECT count(*) FROM (SELECT key, payload FROM identity.outbox
        UNION ALL SELECT key, payload FROM identity.outbox_archive) o
        WHERE key = '{admin}' AND convert_from(payload, 'UTF8')::jsonb -> 'actor_id' = 'null'"
    );
    assert!(world.count(&by_nobody).await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_refuses_what_the_requests_refuse() {
    let world = World::prepare(&[]).await;
    let pool = world.db.pool("identity", 1).await.unwrap();
    let (env, clock) = (world.env(), world.clock());
    world.staff("first@example.org", Role::Operator).await;
    for (email, role, password, told) in [
        ("FIRST@example.org", Role::User, PASSWORD, "USER_1102"),
        ("no address", Role::User, PASSWORD, "address"),
        ("robot@example.org", Role::Service, PASSWORD, "USER_1303"),
        ("weak@example.org", Role::User, "short", "length"),
    ] {
        let made =
            lectern_identity::create_user_direct(&pool, &env, clock, email, "Somebody Else", role, password);
        let error = format!("{:#}", made.await.expect_err(email));
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 1);
    assert_eq!(world.announced("user.created").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_and_nothing_is_written() {
    let world = World::start().await;
    for email in ["", "no-at.example.org", "a b@example.org", "a@nodot", "\u{e4}@example.org"] {
        assert_eq!(world.refused(&register(email), None).await, "USER_1104", "{email:?}");
        assert_eq!(world.refused(&login(email, PASSWORD), None).await, "USER_1104", "{email:?}");
    }
    let unnamed = Register { name: "x".into(), ..register("a@example.org") };
    assert_eq!(world.refused(&unnamed, None).await, "COMMON_0001");
    let injected = world.refused(&login("a'--@example.org", "' OR 1=1 --"), None).await;
    assert_eq!(injected, "USER_1001");
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM identity.mail_queue").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_nobody_chooses_a_role_at_sign_up_unless_the_server_was_told_so() {
    let asked = |role, email: &str| Register { role: Some(role), ..register(email) };
    let world = World::start().await;
    for role in [Role::Moderator, Role::Operator, Role::Auditor, Role::Admin, Role::Service] {
        assert_eq!(world.refused(&asked(role, "a@example.org"), None).await, "USER_1303", "{role}");
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 0);
    assert_eq!(world.ok(&asked(Role::User, "a@example.org"), None).await.role, Role::User);

    let world = World::start_with(&[("ALLOW_ROLE_ON_REGISTER", "true")]).await;
    let operator = world.ok(&asked(Role::Operator, "o@example.org"), None).await;
    assert_eq!((operator.role, operator.is_verified), (Role::Operator, false));
    assert_eq!(world.refused(&asked(Role::Service, "s@example.org"), None).await, "USER_1303");
}
