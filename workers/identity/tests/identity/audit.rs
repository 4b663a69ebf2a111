//! What identity writes into the audit record: in the transaction of the act, without personal data.

use std::time::Duration;

use lectern_core::bus::Outgoing;
use lectern_core::call::ClientInfo;
use lectern_subjects::audit::AuditEntry;
use lectern_subjects::identity::*;
use lectern_subjects::{Request, Role};
use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::world::{PASSWORD, WRONG, World, claims, login, register, sid};

const EMAIL: &str = "ada.audited@example.org";

impl World {
    /// The entries of one kind, in their order, published or not.
    async fn entries(&self, event_type: &str) -> Vec<AuditEntry> {
        let sql = format!(
            "SELECT json_agg(convert_from(payload, 'UTF8')::json ORDER BY seq)
             FROM (SELECT seq, subject, payload FROM identity.outbox
                   UNION SELECT seq, subject, payload FROM identity.outbox_archive) AS written
             WHERE subject LIKE 'audit.identity.v1.{event_type}.%'"
        );
        let rows = self.db.value(&sql).await.expect("read");
        rows.map_or_else(Vec::new, |json| serde_json::from_str(&json).expect("entries"))
    }

    /// Asks as the gateway does for a browser.
    async fn browses<R: Request>(&self, request: &R, token: Option<&str>) -> R::Reply {
        let outgoing = Outgoing {
            token: token.map(Into::into),
            client: ClientInfo::new(Some([203, 0, 113, 7].into()), Some("Mozilla/5.0")),
            deadline: self.clock().now() + Duration::from_secs(50),
            ..Outgoing::own(self.clock())
        };
        self.bus.call_with(outgoing, request).await.expect("answered")
    }
}

#[tokio::test]
async fn i105_accounts_sign_ins_and_sign_outs_are_audited_with_their_actor() {
    let world = World::start().await;
    let ada = world.registers(EMAIL).await.id;
    let code = world.code(EMAIL, 1).await;
    world.ok(&VerifyEmail { email: EMAIL.to_owned(), code }, None).await;
    let pair = world.logs_in(EMAIL).await;
    let admin = world.staff("root@example.org", Role::Admin).await;
    let root = world.logs_in("root@example.org").await;
    let asked = CreateUser {
        email: "made@example.org".to_owned(),
        name: "Made By Staff".to_owned(),
        role: Some(Role::Operator),
        password: Some(PASSWORD.to_owned()),
    };
    let made = world.ok(&asked, Some(&root.access_token)).await.id;
    world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
    // what was refused is no act
    world.refused(&register(EMAIL), None).await;
    world.refused(&login(EMAIL, WRONG), None).await;

    let told = |entries: Vec<AuditEntry>| -> Vec<_> {
        let row = |entry: AuditEntry| {
            assert_eq!((entry.service.as_str(), entry.private_hash), ("identity", None));
            (entry.user_id, entry.actor_id, entry.details["by"].as_str().map(str::to_owned))
        };
        entries.into_iter().map(row).collect()
    };
    let by = |text: &str| Some(text.to_owned());
    assert_eq!(
        told(world.entries("user.created").await),
        [
            (Some(ada), Some(ada), by("sign_up")),
            (Some(admin), None, by("command")),
            (Some(made), Some(admin), by("staff"))
        ]
    );
    assert_eq!(told(world.entries("user.email_verified").await), [(Some(ada), Some(ada), None)]);
    let signed_in = world.entries("user.logged_in").await;
    assert_eq!(signed_in[0].details["sid"], claims(&pair.access_token)["sid"]);
    assert_eq!(
        told(signed_in),
        [(Some(ada), Some(ada), by("password")), (Some(admin), Some(admin), by("password"))]
    );
    let signed_out = world.entries("user.logged_out").await;
    assert_eq!(signed_out[0].details["sessions_ended"], json!([sid(&pair)]));
    assert_eq!(told(signed_out), [(Some(ada), Some(ada), None)]);
}

#[tokio::test]
async fn i105_i102_the_eight_acts_that_seed_001_audits_are_in_the_record_once_each_with_who_did_them() {
    let world = World::start().await;
    let root = world.staff("root@example.org", Role::Admin).await;
    let admin = world.logs_in("root@example.org").await.access_token;
    let ada = world.registers(EMAIL).await.id;
    let pair = world.logs_in(EMAIL).await;
    let token = Some(pair.access_token.as_str());
    world.ok(&UpdateMe { name: Some("Ada King".into()), ..UpdateMe::default() }, token).await;
    let change = ChangePassword { current_password: PASSWORD.into(), new_password: "Blue-Kettle-42!".into() };
    world.ok(&change, token).await;
    world.ok(&ChangeEmail { email: "king@example.org".into() }, token).await;
    let code = world.code("king@example.org", 1).await;
    world.ok(&ConfirmEmail { code }, token).await;
    world.ok(&Logout { all: false }, token).await;
    world.ok(&SetRole { id: ada, role: Some(Role::Auditor), roles: None }, Some(&admin)).await;
    world.ok(&DeleteUser { id: ada }, Some(&admin)).await;
    for (act, actor, details) in [
        ("user.created", ada, json!({ "by": "sign_up", "role": "user" })),
        ("user.logged_in", ada, json!({ "by": "password", "sid": sid(&pair), "sessions_ended": [] })),
        ("user.updated", ada, json!({ "updated_fields": ["name"] })),
        ("user.password_changed", ada, json!({ "by": "user" })),
        ("user.email_changed", ada, json!({})),
        ("user.logged_out", ada, json!({ "sessions_ended": [sid(&pair)] })),
        ("user.role_changed", root, json!({ "old": ["user"], "new": ["auditor"], "new_role": "auditor" })),
        ("user.deleted", root, json!({ "reason": "admin_action" })),
    ] {
        let entries = world.entries(act).await;
        let about: Vec<_> = entries.iter().filter(|entry| entry.user_id == Some(ada)).collect();
        assert_eq!(about.len(), 1, "{act}: {entries:?}");
        assert_eq!((about[0].event_type.as_str(), about[0].actor_id), (act, Some(actor)), "{act}");
        for (name, value) in details.as_object().unwrap() {
            assert_eq!(&about[0].details[name], value, "{act}: {:?}", about[0].details);
        }
    }
}

#[tokio::test]
async fn i106_address_and_agent_stand_beside_the_entry_and_never_in_it() {
    let world = World::start().await;
    world.browses(&register(EMAIL), None).await;
    world.browses(&login(EMAIL, PASSWORD), None).await;
    let auditor = world.staff("auditor@example.org", Role::Auditor).await;
    let token = world.logs_in("auditor@example.org").await.access_token;
    let entries = [world.entries("user.created").await, world.entries("user.logged_in").await].concat();
    let ids: Vec<_> = entries.iter().map(|entry| entry.entry_id).collect();
    assert_eq!(ids.len(), 4, "two of Ada, two of the auditor {auditor}");
    for entry in &entries {
        let text = serde_json::to_string(entry).unwrap();
        for personal in ["203.0.113.7", "Mozilla", "ada.audited", "Somebody", "@"] {
            assert!(!text.contains(personal), "{personal} stands in {text}");
        }
    }
    let ask = GetAuditPrivate { entry_ids: ids };
    let parts = world.ok(&ask, Some(&token)).await.items;
    assert_eq!(parts.len(), 2, "those that came from a browser: {parts:?}");
    for part in &parts {
        assert_eq!(part.ip_address.as_deref(), Some("203.0.113.7"));
        assert_eq!(part.user_agent.as_deref(), Some("Mozilla/5.0"));
        let entry = entries.iter().find(|entry| entry.entry_id == part.entry_id).unwrap();
        let private = [hex::decode(&part.salt).unwrap(), b"203.0.113.7\0Mozilla/5.0".to_vec()].concat();
        assert_eq!(entry.private_hash, Some(hex::encode(digest(&SHA256, &private))));
    }
    // what staff do to others is done from the staff's address: it goes with them
    let root = world.staff("root@example.org", Role::Admin).await;
    let token_of_root = world.logs_in("root@example.org").await.access_token;
    let asked = CreateUser {
        email: "made@example.org".to_owned(),
        name: "Made By Staff".to_owned(),
        role: None,
        password: Some(PASSWORD.to_owned()),
    };
    world.browses(&asked, Some(&token_of_root)).await;
    let whose = format!("SELECT count(*) FROM identity.audit_private WHERE user_id = '{root}'");
    assert_eq!(world.count(&whose).await, 1);
    world.db.execute("DELETE FROM identity.audit_private").await.expect("erased");
    assert_eq!(world.ok(&ask, Some(&token)).await.items, []);
    assert_eq!(world.refused(&ask, None).await, "USER_1006");
    let ada = world.logs_in(EMAIL).await.access_token;
    assert_eq!(world.refused(&ask, Some(&ada)).await, "COMMON_0013");
    assert_eq!(world.refused(&GetAuditPrivate { entry_ids: Vec::new() }, Some(&token)).await, "COMMON_0001");
}

#[tokio::test]
async fn identity_i11_no_audit_no_commit() {
    let world = World::start().await;
    world.registers(EMAIL).await;
    let rule = "ALTER TABLE identity.outbox ADD CONSTRAINT no_audit CHECK (stream <> 'AUDIT') NOT VALID";
    world.db.execute(rule).await.expect("no audit from now on");
    assert_eq!(world.refused(&login(EMAIL, PASSWORD), None).await, "COMMON_0014");
    assert_eq!(world.refused(&register("other@example.org"), None).await, "COMMON_0014");
    assert_eq!(world.count("SELECT count(*) FROM identity.auth_sessions").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 1);
    assert_eq!(world.announced("user.logged_in").await, 0);
    world.db.execute("ALTER TABLE identity.outbox DROP CONSTRAINT no_audit").await.expect("again");
    world.logs_in(EMAIL).await;
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_is_audited_once() {
    let world = World::start_with(&[("REFRESH_GRACE_SECONDS", "0")]).await;
    let ada = world.registers(EMAIL).await.id;
    let pair = world.logs_in(EMAIL).await;
    world.refreshes(&pair).await.expect("rotated");
    for _ in 0..3 {
        assert_eq!(world.refreshes(&pair).await.err().as_deref(), Some("USER_1010"));
    }
    let entries = world.entries("session.reuse_detected").await;
    let told: Vec<_> = entries.iter().map(|entry| (entry.user_id, entry.actor_id, &entry.details)).collect();
    assert_eq!(told, [(Some(ada), None, &json!({ "sid": sid(&pair) }))]);
}

#[tokio::test]
async fn service_tokens_are_audited_when_they_are_issued_and_ended() {
    let world = World::start().await;
    let pool = world.db.pool("identity", 1).await.unwrap();
    let life = Duration::from_secs(60);
    lectern_identity::issue_service_token(
        &pool,
        &world.env(),
        "robot",
        &[Role::Operator],
        life,
        world.clock(),
    )
    .await
    .expect("issued");
    lectern_identity::revoke_service_tokens(&pool, "robot", world.clock()).await.expect("ended");
    let issued = world.entries("service_token.issued").await;
    assert_eq!((issued.len(), &issued[0].details["name"]), (1, &json!("robot")));
    assert_eq!(issued[0].details["roles"], json!(["operator"]));
    let revoked = world.entries("service_token.revoked").await;
    assert_eq!(revoked[0].details, json!({ "name": "robot", "ended": 1 }));
}

#[tokio::test]
async fn from_where_something_was_done_that_is_about_nobody_is_kept_for_ninety_days() {
    let world = World::prepare(&[]).await;
    // ids that say when: milliseconds in their first six bytes
    let entry = |days: u32, who: &str| {
        format!(
            "INSERT INTO identity.audit_private (entry_id, user_id, address, salt) VALUES (
                 (lpad(to_hex((extract(epoch FROM now() - interval '{days} days') * 1000)::bigint), 12, '0')
                  || '7000' || '8000' || substr(md5(random()::text), 1, 12))::uuid,
                 {who}, '203.0.113.{days}', decode(repeat('00', 16), 'hex'))"
        )
    };
    for (days, who) in [(91, "NULL"), (89, "NULL"), (1, "NULL"), (120, "gen_random_uuid()")] {
        world.db.execute(&entry(days, who)).await.expect("written");
    }
    world.run_identity().await;
    for _ in 0..600 {
        if world.count("SELECT count(*) FROM identity.audit_private").await == 3 {
            let old = "SELECT count(*) FROM identity.audit_private WHERE address = '203.0.113.91'";
            return assert_eq!(world.count(old).await, 0);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is forgotten");
}
