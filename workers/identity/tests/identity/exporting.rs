//! What identity shows of a person to the person (GDPR Art. 20).

use std::sync::Arc;

use lectern_subjects::identity::*;
use lectern_subjects::privacy::{ExportIdentity, PersonalData, Section};
use tokio::task::JoinSet;

use crate::factors::ON;
use crate::world::{PASSWORD, WRONG, World, login};

fn section<'a>(page: &'a PersonalData, kind: &str) -> &'a Section {
    let found = page.sections.iter().find(|section| section.kind == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {page:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn i108_seed_001s_fields_come_first_then_the_rest_and_no_secret() {
    let world = World::start_with(ON).await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    assert_eq!(world.refused(&login("b@example.org", WRONG), None).await, "USER_1001");
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    world.ok(&StartTotp {}, token).await;
    world.ok(&ChangeEmail { email: "new@example.org".to_owned() }, token).await;
    let page = world.ok(&ExportIdentity::default(), token).await;
    assert_eq!(page.next_cursor, None);
    let kinds: Vec<&str> = page.sections.iter().map(|section| section.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "personal_data",
            "login_history",
            "sessions",
            "sign_in_methods",
            "acted_from",
            "account",
            "email_changes"
        ]
    );
    let personal = section(&page, "personal_data");
    assert!(personal.single && personal.rows.len() == 1);
    let mut fields: Vec<&str> = personal.rows[0].keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["created_at", "email", "name", "phone"]);
    assert_eq!(personal.rows[0]["email"], "a@example.org");
    let history = &section(&page, "login_history").rows;
    assert_eq!(history.len(), 2, "hers, not the other's: {history:#?}");
    assert_eq!(
        (&history[0]["success"], &history[0]["failure_reason"]),
        (&false.into(), &"invalid_password".into())
    );
    assert_eq!(section(&page, "email_changes").rows[0]["email"], "new@example.org");
    assert_eq!(section(&page, "sign_in_methods").rows[0]["kind"], "totp");
    let all = serde_json::to_string(&page).unwrap();
    for secret in
        ["b@example.org", PASSWORD, "$argon2", "sealed", "hash", "secret", "external_key", "public_key"]
    {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i108_a_long_history_comes_in_pages_each_row_once_even_at_one_moment() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    // half of them at the same moment: the id decides
    let rows = "INSERT INTO identity.login_history (id, user_id, action, ip, user_agent, success, created_at)
                SELECT gen_random_uuid(), u.id, 'login', '192.0.2.7', n::text, true,
                       '2026-01-01Z'::timestamptz + (n / 2500) * n * interval '1 s'
                FROM identity.users u, generate_series(1, 5000) n";
    world.db.execute(rows).await.unwrap();
    let (mut seen, mut cursor, mut pages) = (std::collections::BTreeSet::new(), None, 0);
    loop {
        let page = world.ok(&ExportIdentity { cursor }, Some(&pair.access_token)).await;
        assert!(serde_json::to_vec(&page).unwrap().len() < 512 * 1024);
        pages += 1;
        for section in page.sections.iter().filter(|section| section.kind == "login_history") {
            for row in &section.rows {
                let new = seen.insert(row["user_agent"].to_string());
                assert!(new || row["user_agent"].is_null(), "twice: {row:?}");
            }
        }
        let last = page.sections.iter().any(|section| section.kind == "account");
        assert_eq!(last, page.next_cursor.is_none(), "the account ends it");
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert!(pages >= 5 && seen.len() >= 5000, "{pages} pages, {} rows", seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn i108_an_export_begins_after_a_recent_proof_five_times_an_hour_and_is_told() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let stale = world.a_while_later(&pair).await;
    assert_eq!(world.refused(&BeginExport {}, Some(&stale.access_token)).await, "USER_1009");
    // nor is anything shown without beginning it
    assert_eq!(world.refused(&ExportIdentity::default(), Some(&stale.access_token)).await, "USER_1009");
    let proof = Reauthenticate { password: Some(PASSWORD.to_owned()), ..Reauthenticate::default() };
    let fresh = Arc::new(world.ok(&proof, Some(&stale.access_token)).await);
    let mut crowd = JoinSet::new();
    for _ in 0..12 {
        let (world, fresh) = (world.clone(), fresh.clone());
        crowd.spawn(async move {
            match world.ask(&BeginExport {}, Some(&fresh.access_token)).await {
                Ok(export) => {
                    assert_eq!(export.services.len(), lectern_subjects::SERVICES.len());
                    true
                }
                Err(refusal) => {
                    assert_eq!(refusal.problem.error_code, "COMMON_0012");
                    assert!(refusal.retry_after.is_some_and(|wait| (3000..=3600).contains(&wait)));
                    false
                }
            }
        });
    }
    let begun = crowd.join_all().await.into_iter().filter(|begun| *begun).count();
    assert_eq!(begun, 5);
    let letters = world.letters("a@example.org", 6).await;
    let told = letters.iter().filter(|letter| letter["subject"] == "A copy of your data was made").count();
    assert_eq!(told, 5, "{letters:#?}");
    for subject in ["evt.identity.v1.user.export_ready.%", "audit.identity.v1.user.exported.%"] {
        let rows = format!(
            "SELECT count(*) FROM (SELECT subject FROM identity.outbox UNION ALL SELECT subject FROM identity.outbox_archive) o
             WHERE subject LIKE '{subject}'"
        );
        assert_eq!(world.count(&rows).await, 5, "{subject}");
    }
    // an account that is gone has nothing to show
    world.ok(&EraseMe {}, Some(&fresh.access_token)).await;
    assert_eq!(world.refused(&ExportIdentity::default(), Some(&fresh.access_token)).await, "USER_1011");
}
