//! What followers read of accounts, as it stands in stream EVENTS: seed 001's names (I-096 to I-103).

use std::time::Duration;

use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::*;
use serde_json::{Value, json};

use crate::world::{PASSWORD, World, login, register, sid};

impl World {
    /// The newest message about a user in the stream, once there is one: subject, envelope, and the id that the broker
    /// knows it by.
    async fn published(&self, fact: &str, user: UserId) -> (Value, String) {
        let subject = format!("evt.identity.v1.{fact}.{user}");
        let stream = self.bus.jetstream().get_stream("EVENTS").await.expect("EVENTS");
        for _ in 0..600 {
            if let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await {
                let id = message.headers.get("Nats-Msg-Id").expect("an id").to_string();
                return (serde_json::from_slice(&message.payload).expect("JSON"), id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{subject} was never published");
    }

    /// What such a fact says, and who caused it; its envelope must be that of a fact about this user.
    async fn told(&self, fact: &str, user: UserId) -> (Value, Value) {
        let (envelope, id) = self.published(fact, user).await;
        for (field, value) in [
            ("event_type", json!(fact)),
            ("version", json!("1.0.0")),
            ("subject_id", json!(user)),
            ("event_id", json!(id)),
        ] {
            assert_eq!(envelope[field], value, "{field} of {envelope}");
        }
        assert!(envelope["occurred_at"].is_string() && envelope["entity_version"].is_u64(), "{envelope}");
        (envelope["data"].clone(), envelope["actor_id"].clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i096_i103_every_new_account_is_announced_with_what_seed_001_says_of_it() {
    let world = World::start().await;
    let signed_up = world.registers(" Ada@Example.org ").await;
    let root = world.staff("root@example.org", Role::Admin).await;
    let token = world.logs_in("root@example.org").await.access_token;
    let asked = CreateUser {
        email: "made@example.org".into(),
        name: "Made By Staff".into(),
        role: Some(Role::Operator),
        password: Some(PASSWORD.into()),
    };
    let made = world.ok(&asked, Some(&token)).await;
    let by_command = world.ok(&GetMe {}, Some(&token)).await;
    assert_eq!(by_command.id, root);
    for (user, actor) in
        [(signed_up.clone(), json!(signed_up.id)), (made, json!(root)), (by_command, Value::Null)]
    {
        let said = json!({
            "user_id": user.id, "email": user.email, "name": user.name, "role": user.role, "created_at": user.created_at,
        });
        assert_eq!(world.told("user.created", user.id).await, (said, actor));
    }
    assert_eq!(signed_up.email, "Ada@Example.org");
    // an address that is taken is no new account
    world.refused(&register("ada@example.org"), None).await;
    assert_eq!(world.announced("user.created").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn i097_a_changed_account_is_announced_as_it_is_now_with_the_fields_that_differ() {
    let world = World::start().await;
    let user = world.registers("ada@example.org").await;
    let pair = world.logs_in("ada@example.org").await;
    let change = UpdateMe {
        name: Some("Ada King".into()),
        phone: Some(Some("+821012345678".into())),
        region: Some(None),
        ..UpdateMe::default()
    };
    world.ok(&change, Some(&pair.access_token)).await;
    let account = world.ok(&GetAccount {}, Some(&pair.access_token)).await;
    let said = json!({
        "user_id": user.id, "email": "ada@example.org", "name": "Ada King", "updated_fields": ["name", "phone"],
        "updated_at": account.updated_at,
    });
    assert_eq!(world.told("user.updated", user.id).await, (said, json!(user.id)));

    // what staff change is announced alike
    let other = world.registers("bob@example.org").await;
    let root = world.staff("root@example.org", Role::Admin).await;
    let token = world.logs_in("root@example.org").await.access_token;
    let change = UpdateUser {
        id: other.id,
        name: None,
        phone: None,
        business_type: None,
        business_number: None,
        industry: Some(Some("Baking".into())),
        region: None,
    };
    let account = world.ok(&change, Some(&token)).await;
    let said = json!({
        "user_id": other.id, "email": "bob@example.org", "name": "Somebody", "updated_fields": ["industry"],
        "updated_at": account.updated_at,
    });
    assert_eq!(world.told("user.updated", other.id).await, (said, json!(root)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i098_a_deleted_account_is_announced_with_a_made_up_address() {
    let world = World::start().await;
    let user = world.registers("ada@example.org").await;
    let root = world.staff("root@example.org", Role::Admin).await;
    let token = world.logs_in("root@example.org").await.access_token;
    world.ok(&DeleteUser { id: user.id }, Some(&token)).await;
    let (said, actor) = world.told("user.deleted", user.id).await;
    let when = world
        .db
        .value(&format!(
            "SELECT to_json(requested_at) #>> '{{}}' FROM identity.erasures WHERE user_id = '{}'",
            user.id
        ))
        .await;
    let when: chrono::DateTime<chrono::Utc> = when.unwrap().expect("an erasure").parse().unwrap();
    let address = format!("deleted_{}@deleted.com", user.id);
    assert_eq!(said, json!({ "user_id": user.id, "email": address, "deleted_at": when }));
    assert_eq!(actor, json!(root));
}

#[tokio::test(flavor = "multi_thread")]
async fn i099_i100_a_sign_in_and_a_sign_out_are_announced_with_their_session() {
    let world = World::start().await;
    let user = world.registers("ada@example.org").await;
    world.refused(&login("ada@example.org", "Wrong-Horse-7!"), None).await;
    let pair = world.logs_in("ada@example.org").await;
    let me = world.ok(&GetMe {}, Some(&pair.access_token)).await;
    let said = json!({
        "user_id": user.id, "email": "ada@example.org", "sid": sid(&pair), "amr": ["pwd"], "timestamp": me.last_login_at,
    });
    assert_eq!(world.told("user.logged_in", user.id).await, (said, json!(user.id)));
    assert_eq!(world.announced("user.logged_in").await, 1, "a refused sign-in is none");

    world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
    let said = json!({ "user_id": user.id, "sid": sid(&pair) });
    assert_eq!(world.told("user.logged_out", user.id).await, (said, json!(user.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i101_i102_changes_of_password_address_and_role_are_announced_and_carry_no_person() {
    let world = World::start().await;
    let user = world.registers("ada@example.org").await;
    let pair = world.logs_in("ada@example.org").await;
    let token = Some(pair.access_token.as_str());
    let change = ChangePassword { current_password: PASSWORD.into(), new_password: "Blue-Kettle-42!".into() };
    world.ok(&change, token).await;
    let said = json!({ "user_id": user.id, "by": "user" });
    assert_eq!(world.told("user.password_changed", user.id).await, (said, json!(user.id)));

    world.ok(&ChangeEmail { email: "king@example.org".into() }, token).await;
    let code = world.code("king@example.org", 1).await;
    world.ok(&ConfirmEmail { code }, token).await;
    let said = json!({ "user_id": user.id });
    assert_eq!(world.told("user.email_changed", user.id).await, (said, json!(user.id)));

    let root = world.staff("root@example.org", Role::Admin).await;
    let admin = world.logs_in("root@example.org").await.access_token;
    world.ok(&SetRole { id: user.id, role: Some(Role::Moderator), roles: None }, Some(&admin)).await;
    let said = json!({ "user_id": user.id, "old": ["user"], "new": ["moderator"] });
    assert_eq!(world.told("user.role_changed", user.id).await, (said, json!(root)));
}
