//! What staff see of accounts and do with them.

use std::sync::Arc;

use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::factors::ON;
use crate::world::{PASSWORD, WRONG, World, login, register, sid};

/// The token of a member of staff.
async fn signed_in(world: &World, email: &str, role: Role) -> String {
    world.staff(email, role).await;
    world.logs_in(email).await.access_token
}

fn ids(page: &lectern_subjects::Page<ListedUser>) -> Vec<UserId> {
    page.items.iter().map(|user| user.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn i070_moderators_and_auditors_see_accounts_without_persons_and_others_see_none() {
    let world = World::start().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let moderator = signed_in(&world, "moderator@example.org", Role::Moderator).await;
    let auditor = signed_in(&world, "auditor@example.org", Role::Auditor).await;
    let operator = signed_in(&world, "operator@example.org", Role::Operator).await;
    let with_phone = Register { phone: Some("+821012345678".into()), ..register("a@example.org") };
    let user = world.ok(&with_phone, None).await;

    let seen = world.ok(&ListUsers::default(), Some(&admin)).await;
    assert_eq!((seen.items.len(), seen.items[0].id), (5, user.id), "newest first");
    assert_eq!(seen.items[0].email.as_deref(), Some("a@example.org"));
    assert_eq!(seen.items[0].phone.as_deref(), Some("+821012345678"));
    for token in [&moderator, &auditor] {
        let blind = world.ok(&ListUsers::default(), Some(token)).await;
        assert_eq!(ids(&blind), ids(&seen));
        let text = serde_json::to_string(&blind).unwrap();
        assert!(
            !text.contains("example.org") && !text.contains("Somebody") && !text.contains("+82"),
            "{text}"
        );
        let searching = ListUsers { q: Some("an".into()), ..ListUsers::default() };
        let refusal = world.ask(&searching, Some(token)).await.expect_err("it would tell");
        assert_eq!(
            (refusal.problem.error_code.as_str(), &refusal.problem.details["pointer"]),
            ("COMMON_0013", &json!("/q"))
        );
        assert_eq!(world.refused(&GetUser { id: user.id }, Some(token)).await, "COMMON_0013");
    }
    let refusal = world.ask(&ListUsers::default(), Some(&operator)).await.expect_err("no staff of accounts");
    assert_eq!(refusal.problem.details, json!({ "needs_permission": "user:read" }));
    assert_eq!(world.refused(&DisableUser { id: user.id }, Some(&moderator)).await, "COMMON_0013");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_searched_and_read_page_by_page() {
    let world = World::start().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let mut made = Vec::new();
    for (email, name) in [
        ("ann@example.org", "Zoë Öberg"),
        ("ANTON@example.org", "öyvind"),
        ("bob@example.org", "100% Sure".replace('%', "").as_str()),
        ("b_b@example.org", "Bob"),
        ("bxb@example.org", "Anna"),
    ] {
        made.push(world.ok(&Register { name: name.to_owned(), ..register(email) }, None).await.id);
    }
    world.ok(&DisableUser { id: made[1] }, Some(&admin)).await;
    world.ok(&DeleteUser { id: made[2] }, Some(&admin)).await;
    let list = async |role: Option<Role>, active: Option<bool>, q: Option<&str>| {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let request = ListUsers { role, active, q: q.map(str::to_owned), limit: Some(2), cursor };
            let page = world.ok(&request, Some(&admin)).await;
            assert!(page.items.len() <= 2);
            found.extend(ids(&page));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return found;
            }
        }
    };
    let learners = [made[4], made[3], made[1], made[0]];
    assert_eq!(list(Some(Role::User), None, None).await, learners, "newest first, each once, no deleted one");
    assert_eq!(list(None, None, None).await.len(), 5);
    assert_eq!(list(None, Some(false), None).await, [made[1]]);
    assert_eq!(list(Some(Role::User), Some(true), None).await, [made[4], made[3], made[0]]);
    assert_eq!(list(Some(Role::Service), None, None).await, []);
    assert_eq!(
        list(None, None, Some("AN")).await,
        [made[4], made[1], made[0]],
        "address or name, in any case"
    );
    assert_eq!(list(None, Some(true), Some("an")).await, [made[4], made[0]]);
    assert_eq!(list(None, None, Some("öY")).await, [made[1]], "the name begins so, no word in it");
    assert_eq!(list(None, None, Some("b_")).await, [made[3]], "nothing has a meaning of its own");
    assert_eq!(list(None, None, Some("%%")).await, []);
    for wrong in [
        ListUsers { limit: Some(0), ..ListUsers::default() },
        ListUsers { limit: Some(101), ..ListUsers::default() },
        ListUsers { q: Some(String::new()), ..ListUsers::default() },
        ListUsers { q: Some("a".into()), ..ListUsers::default() },
        ListUsers { cursor: Some("nonsense".into()), ..ListUsers::default() },
    ] {
        assert_eq!(world.refused(&wrong, Some(&admin)).await, "COMMON_0001");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_change_what_an_account_says_and_never_over_a_newer_version() {
    let world = World::start().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let user = world.registers("a@example.org").await;
    let nothing = UpdateUser {
        id: user.id,
        name: None,
        phone: None,
        business_type: None,
        business_number: None,
        industry: None,
        region: None,
    };
    let change = UpdateUser {
        name: Some("New Name".into()),
        phone: Some(Some("+14155550100".into())),
        ..nothing.clone()
    };
    let stale =
        world.ask_with(&change, Some(&admin), |outgoing| outgoing.if_match = Some("\"7\"".into())).await;
    assert_eq!(stale.expect_err("another version").problem.error_code, "COMMON_0011");
    let changed =
        world.ask_with(&change, Some(&admin), |outgoing| outgoing.if_match = Some("\"1\"".into())).await;
    let changed = changed.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    assert_eq!((changed.user.name.as_str(), changed.user.version), ("New Name", 2));
    let seen = world.ok(&GetUser { id: user.id }, Some(&admin)).await;
    assert_eq!(seen, changed);
    assert_eq!(world.facts("user.updated").await[0]["data"]["updated_fields"], json!(["name", "phone"]));
    let audited = world.audited("user.updated").await;
    assert_eq!((audited.len(), &audited[0]["details"]), (1, &json!({ "updated_fields": ["name", "phone"] })));
    let cleared = UpdateUser { phone: Some(None), ..nothing.clone() };
    assert_eq!(world.ok(&cleared, Some(&admin)).await.user.phone, None);
    // the same again is no change
    assert_eq!(world.ok(&cleared, Some(&admin)).await.user.version, 3);
    assert_eq!(world.refused(&nothing, Some(&admin)).await, "COMMON_0001");
    let unknown = UpdateUser { id: UserId(uuid::Uuid::nil()), ..change };
    assert_eq!(world.refused(&unknown, Some(&admin)).await, "USER_1101");
}

#[tokio::test(flavor = "multi_thread")]
async fn i028_a_deleted_account_is_gone_with_all_that_it_said_and_its_address_is_free() {
    let world = World::start().await;
    world.run_identity().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let with_phone = Register {
        phone: Some("+821012345678".into()),
        region: Some("Busan".into()),
        ..register("gone@example.org")
    };
    let user = world.ok(&with_phone, None).await;
    let pair = world.logs_in_from("gone@example.org", "203.0.113.7", "Firefox").await;
    world.ask(&login("gone@example.org", WRONG), None).await.expect_err("wrong");

    world.ok(&DeleteUser { id: user.id }, Some(&admin)).await;
    assert!(world.is_told(sid(&pair)).await, "told before it was answered");
    assert_eq!(world.refreshes(&pair).await.unwrap_err(), "USER_1011");
    assert_eq!(world.refused(&login("gone@example.org", PASSWORD), None).await, "USER_1001");
    for _ in 0..2 {
        assert_eq!(world.refused(&GetUser { id: user.id }, Some(&admin)).await, "USER_1101");
        assert_eq!(world.refused(&DeleteUser { id: user.id }, Some(&admin)).await, "USER_1101");
    }
    let row = format!("SELECT row_to_json(u)::text FROM identity.users u WHERE id = '{}'", user.id);
    let row: serde_json::Value = serde_json::from_str(&world.db.value(&row).await.unwrap().unwrap()).unwrap();
    let address = format!("deleted_{}@deleted.com", user.id);
    for (column, value) in [
        ("email", json!(address)),
        ("email_norm", json!(address)),
        ("name", json!("Deleted User")),
        ("is_active", json!(false)),
        ("password_hash", json!(null)),
        ("phone_sealed", json!(null)),
        ("region", json!(null)),
        ("status", json!("deleted")),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    for trace in ["login_history", "email_codes", "audit_private"] {
        let left = format!("SELECT count(*) FROM identity.{trace} WHERE user_id = '{}'", user.id);
        assert_eq!(world.count(&left).await, 0, "{trace}");
    }
    let traces =
        "SELECT count(*) FROM identity.auth_sessions WHERE ip_last = '203.0.113.7' OR user_agent = 'Firefox'";
    assert_eq!(world.count(traces).await, 0);
    let fact = &world.facts("user.deleted").await[0]["data"];
    assert_eq!((&fact["user_id"], &fact["email"]), (&json!(user.id), &json!(address)));
    let audited = world.audited("user.deleted").await;
    assert_eq!((audited.len(), &audited[0]["details"]["reason"]), (1, &json!("admin_action")));
    // somebody else may have the address now
    let next = world.registers("gone@example.org").await;
    assert_ne!(next.id, user.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i9_an_account_that_is_switched_off_has_no_session_left_and_can_not_sign_in() {
    let world = World::start().await;
    world.run_identity().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let user = world.registers("a@example.org").await;
    let pairs = [world.logs_in("a@example.org").await, world.logs_in("a@example.org").await];
    let off = world.ok(&DisableUser { id: user.id }, Some(&admin)).await;
    assert!(!off.is_active);
    for pair in &pairs {
        assert!(world.is_told(sid(pair)).await, "told before it was answered");
        assert_eq!(world.refreshes(pair).await.unwrap_err(), "USER_1011");
        let check = CheckToken { sid: sid(pair), user: user.id, uv: 1 };
        assert!(!world.ok(&check, None).await.active);
    }
    // said only to who knows the password
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1002");
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    world.ok(&DisableUser { id: user.id }, Some(&admin)).await;
    assert_eq!((world.announced("user.disabled").await, world.audited("user.disabled").await.len()), (1, 1));

    assert!(world.ok(&EnableUser { id: user.id }, Some(&admin)).await.is_active);
    world.ok(&EnableUser { id: user.id }, Some(&admin)).await;
    assert_eq!((world.announced("user.enabled").await, world.audited("user.enabled").await.len()), (1, 1));
    assert_eq!(world.refreshes(&pairs[0]).await.unwrap_err(), "USER_1011", "what ended stays ended");
    world.logs_in("a@example.org").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i9_no_sign_in_slips_past_the_switch() {
    let world = Arc::new(World::start_with(&[("MAX_SESSIONS_PER_USER", "0")]).await);
    world.run_identity().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let user = world.registers("a@example.org").await.id;
    let live = format!(
        "SELECT count(*) FROM identity.auth_sessions WHERE user_id = '{user}' AND revoked_at IS NULL"
    );
    for _ in 0..5 {
        let mut signing_in = JoinSet::new();
        for _ in 0..8 {
            let world = world.clone();
            signing_in.spawn(async move { world.ask(&login("a@example.org", PASSWORD), None).await.is_ok() });
        }
        world.ok(&DisableUser { id: user }, Some(&admin)).await;
        assert_eq!(world.count(&live).await, 0);
        signing_in.join_all().await;
        assert_eq!(world.count(&live).await, 0);
        world.ok(&EnableUser { id: user }, Some(&admin)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_staff_lift_the_lock_of_wrong_passwords() {
    let world = World::start().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let user = world.registers("a@example.org").await.id;
    for _ in 0..5 {
        world.ask(&login("a@example.org", WRONG), None).await.expect_err("wrong");
    }
    assert_eq!(world.refused(&login("a@example.org", PASSWORD), None).await, "USER_1003");
    world.ok(&UnlockUser { id: user }, Some(&admin)).await;
    world.logs_in("a@example.org").await;
    world.ok(&UnlockUser { id: user }, Some(&admin)).await;
    assert_eq!((world.announced("user.unlocked").await, world.audited("user.unlocked").await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn i081_staff_lift_the_lock_of_wrong_codes_and_of_wrong_passwords_within_a_session_too() {
    let world = World::start_with(ON).await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    let (pair, app) = world.with_app("a@example.org").await;
    let user = world.ok(&GetMe {}, Some(&pair.access_token)).await.id;
    let mfa_token = world.mfa_token("a@example.org").await;
    let proof = Reauthenticate { password: Some(WRONG.into()), ..Reauthenticate::default() };
    for _ in 0..5 {
        assert_eq!(world.verifies(&mfa_token, &app.wrong(&world)).await.unwrap_err(), "USER_1008");
        assert_eq!(world.refused(&proof, Some(&pair.access_token)).await, "USER_1001");
    }
    assert_eq!(world.verifies(&mfa_token, &app.code(&world, 0)).await.unwrap_err(), "USER_1003");
    assert_eq!(world.refused(&proof, Some(&pair.access_token)).await, "USER_1003");
    world.ok(&UnlockUser { id: user }, Some(&admin)).await;
    assert_eq!((world.announced("user.unlocked").await, world.audited("user.unlocked").await.len()), (1, 1));
    assert_eq!(world.refused(&proof, Some(&pair.access_token)).await, "USER_1001");
    world.verifies(&mfa_token, &app.code(&world, 0)).await.expect("signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_very_many_have_is_looked_for_a_stretch_at_a_time() {
    let world = World::start().await;
    let admin = signed_in(&world, "admin@example.org", Role::Admin).await;
    // seven thousand who begin so, one for every two; the oldest of the others does too
    let many = "INSERT INTO identity.users (id, email, email_norm, name, created_at, updated_at)
         SELECT gen_random_uuid(), mail, mail, 'Many', now() - n * interval '1 s', now()
         FROM (SELECT n, CASE WHEN n % 2 = 0 OR n > 20000 THEN 'load' ELSE 'else' END || n || '@many.org' AS mail
               FROM generate_series(1, 14000) n UNION SELECT 20001, 'load20001@many.org') AS made";
    world.db.execute(many).await.unwrap();
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let request = ListUsers { q: Some("LOAD".into()), limit: Some(100), cursor, ..ListUsers::default() };
        let page = world.ok(&request, Some(&admin)).await;
        assert!(
            page.items.len() <= 100
                && page.items.iter().all(|user| user.email.as_ref().unwrap().starts_with("load"))
        );
        found.extend(ids(&page));
        pages += 1;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let all = "SELECT count(*) FROM identity.users WHERE email LIKE 'load%'";
    assert_eq!(i64::try_from(found.len()).unwrap(), world.count(all).await, "each once, in {pages} pages");
    found.sort_unstable_by_key(|id| id.0);
    found.dedup();
    assert_eq!(found.len(), 7001);
    // of whom none is among the newest: pages may be empty, and the list goes on
    world
        .db
        .execute(
            "UPDATE identity.users SET created_at = created_at - interval '1 day' WHERE email LIKE 'load%'",
        )
        .await
        .unwrap();
    let request = ListUsers { q: Some("load".into()), ..ListUsers::default() };
    let first = world.ok(&request, Some(&admin)).await;
    assert!(first.items.is_empty() && first.next_cursor.is_some());
    let second = world.ok(&ListUsers { cursor: first.next_cursor, ..request }, Some(&admin)).await;
    assert_eq!(second.items.len(), 20);
}
