//! What somebody says of themselves.

use std::sync::Arc;

use lectern_subjects::identity::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{World, register};

fn called(name: &str) -> UpdateMe {
    UpdateMe { name: Some(name.to_owned()), ..UpdateMe::default() }
}

/// Everything that there is to change.
fn everything() -> UpdateMe {
    let text = |text: &str| Some(Some(text.to_owned()));
    UpdateMe {
        name: Some(" Mina Park-Lee ".into()),
        phone: text("+821012345678"),
        business_type: text("academy"),
        business_number: text("123-45-67890"),
        industry: text("education"),
        region: text("Busan"),
        locale: Some("ko-KR".into()),
        time_zone: Some("Asia/Seoul".into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i024_i025_what_a_user_changes_is_shown_and_the_rest_stays() {
    let world = World::start().await;
    let user = world.registers("mina@example.org").await;
    let pair = world.logs_in("mina@example.org").await;
    let token = Some(pair.access_token.as_str());
    let before = world.ok(&GetAccount {}, token).await;
    assert_eq!((before.locale.as_str(), before.time_zone.as_str()), ("en", "UTC"));
    assert!(before.mfa.is_empty() && before.business_number.is_none());

    let updated = world.ok(&everything(), token).await;
    assert_eq!((updated.name.as_str(), updated.phone.as_deref()), ("Mina Park-Lee", Some("+821012345678")));
    assert_eq!((updated.id, updated.version), (user.id, before.user.version + 1));
    let after = world.ok(&GetAccount {}, token).await;
    assert_eq!(after.user, updated);
    assert_eq!(world.ok(&GetMe {}, token).await, updated, "the two versions of me differ");
    let shown = [&after.business_type, &after.business_number, &after.industry, &after.region];
    assert_eq!(shown.map(|text| text.as_deref().unwrap()), ["academy", "123-45-67890", "education", "Busan"]);
    assert_eq!((after.locale.as_str(), after.time_zone.as_str()), ("ko-KR", "Asia/Seoul"));
    assert!(after.updated_at > before.updated_at);

    let later = world.ok(&called("Mina"), token).await;
    assert_eq!((later.name.as_str(), later.phone.as_deref()), ("Mina", Some("+821012345678")));
    let after = world.ok(&GetAccount {}, token).await;
    assert_eq!((after.region.as_deref(), after.time_zone.as_str()), (Some("Busan"), "Asia/Seoul"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i086_what_is_private_is_sealed_and_neither_told_nor_audited() {
    let world = World::start().await;
    let user = world.registers("mina@example.org").await;
    let pair = world.logs_in("mina@example.org").await;
    world.ok(&everything(), Some(&pair.access_token)).await;
    let row = world.db.value("SELECT to_jsonb(u) FROM identity.users u").await.unwrap().unwrap();
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    for private in ["+821012345678", "123-45-67890"] {
        assert!(!row.contains(private) && !row.contains(&hex(private)), "{private} stands in the row");
    }
    let (facts, entries) = (world.facts("user.updated").await, world.audited("user.updated").await);
    assert_eq!((facts.len(), entries.len()), (1, 1));
    let names = json!([
        "name",
        "phone",
        "business_type",
        "business_number",
        "industry",
        "region",
        "locale",
        "time_zone"
    ]);
    assert_eq!(facts[0]["data"]["updated_fields"], names);
    assert_eq!(facts[0]["data"]["user_id"], json!(user.id));
    assert_eq!((&entries[0]["actor_id"], &entries[0]["user_id"]), (&json!(user.id), &json!(user.id)));
    assert_eq!(entries[0]["details"], json!({ "updated_fields": names }));
    for message in facts.iter().chain(&entries).map(ToString::to_string) {
        for private in ["+8210", "67890", "Busan", "Seoul"] {
            assert!(!message.contains(private), "{private} in {message}");
        }
    }
    // seed 001's followers read address and name in the fact (I-097); the record names nobody
    for entry in entries.iter().map(ToString::to_string) {
        assert!(!entry.contains("Mina") && !entry.contains("mina@"), "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i024_null_clears_what_an_account_may_be_without() {
    let world = World::start().await;
    world.registers("mina@example.org").await;
    let pair = world.logs_in("mina@example.org").await;
    let token = Some(pair.access_token.as_str());
    world.ok(&everything(), token).await;
    let clear = UpdateMe {
        phone: Some(None),
        business_type: Some(None),
        business_number: Some(None),
        industry: Some(None),
        region: Some(None),
        ..UpdateMe::default()
    };
    assert_eq!(world.ok(&clear, token).await.phone, None);
    let account = world.ok(&GetAccount {}, token).await;
    let cleared = [account.business_type, account.business_number, account.industry, account.region];
    assert!(cleared.iter().all(Option::is_none), "{cleared:?}");
    assert_eq!((account.user.name.as_str(), account.locale.as_str()), ("Mina Park-Lee", "ko-KR"));
    let sealed =
        "SELECT count(*) FROM identity.users WHERE phone_sealed IS NULL AND business_number_sealed IS NULL";
    assert_eq!(world.count(sealed).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i024_what_changes_nothing_is_no_change_and_nothing_at_all_is_refused() {
    let world = World::start().await;
    world.registers("mina@example.org").await;
    let pair = world.logs_in("mina@example.org").await;
    let token = Some(pair.access_token.as_str());
    let first = world.ok(&everything(), token).await;
    assert_eq!(world.ok(&everything(), token).await, first);
    assert_eq!(world.announced("user.updated").await, 1);
    let refusal = world.ask(&UpdateMe::default(), token).await.expect_err("nothing to change");
    assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0001", 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn i046_what_one_says_of_a_business_has_its_length_and_one_character_more_is_refused_and_named() {
    let world = World::start().await;
    let said = |length: [usize; 4]| {
        let [kind, number, industry, region] = length.map(|length| Some("가".repeat(length)));
        Register {
            business_type: kind,
            business_number: number,
            industry,
            region,
            ..register("mina@example.org")
        }
    };
    for (field, length) in [
        ("business_type", [51, 50, 100, 100]),
        ("business_number", [50, 51, 100, 100]),
        ("industry", [50, 50, 101, 100]),
        ("region", [50, 50, 100, 101]),
    ] {
        let refusal = world.ask(&said(length), None).await.expect_err("too long");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0001", 400));
        assert_eq!(refusal.body["details"][0]["pointer"], format!("/{field}"), "{}", refusal.body);
    }
    assert_eq!(world.count("SELECT count(*) FROM identity.users").await, 0);
    world.ok(&said([50, 50, 100, 100]), None).await;
    let token = world.logs_in("mina@example.org").await.access_token;
    let account = world.ok(&GetAccount {}, Some(&token)).await;
    let kept = [account.business_type, account.business_number, account.industry, account.region];
    assert_eq!(kept.map(|text| text.map_or(0, |text| text.chars().count())), [50, 50, 100, 100]);
    let longer = Some(Some("가".repeat(51)));
    for change in [
        UpdateMe { business_type: longer.clone(), ..UpdateMe::default() },
        UpdateMe { business_number: longer, ..UpdateMe::default() },
    ] {
        assert_eq!(world.refused(&change, Some(&token)).await, "COMMON_0001");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_update_of_another_version_is_refused_and_changes_nothing() {
    let world = World::start().await;
    world.registers("mina@example.org").await;
    let pair = world.logs_in("mina@example.org").await;
    let token = Some(pair.access_token.as_str());
    let before = world.ok(&GetMe {}, token).await;
    let expecting = async |name: &str, version: i64| {
        let tag = format!("\"{version}\"");
        world.ask_with(&called(name), token, |outgoing| outgoing.if_match = Some(tag)).await
    };
    for stale in [before.version - 1, before.version + 1] {
        let refusal = expecting("Stale", stale).await.expect_err("another version");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("COMMON_0011", 412));
    }
    assert_eq!(world.ok(&GetMe {}, token).await, before);
    let updated = expecting("Fresh", before.version).await.unwrap_or_else(|_| panic!("the version it has"));
    assert_eq!((updated.name.as_str(), updated.version), ("Fresh", before.version + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_of_parallel_updates_of_one_version_one_is_made() {
    let world = Arc::new(World::start().await);
    world.run_identity().await;
    world.registers("mina@example.org").await;
    let pair = world.logs_in("mina@example.org").await;
    for round in 0..5 {
        let version = world.ok(&GetMe {}, Some(&pair.access_token)).await.version;
        let mut tries = JoinSet::new();
        for n in 0..6 {
            let (world, token) = (world.clone(), pair.access_token.clone());
            tries.spawn(async move {
                let update = called(&format!("Name {round} {n}"));
                let tag = format!("\"{version}\"");
                let asked = world.ask_with(&update, Some(&token), |outgoing| outgoing.if_match = Some(tag));
                asked.await.map_err(|refusal| refusal.problem.error_code)
            });
        }
        let (made, refused): (Vec<_>, Vec<_>) = tries.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(refused.iter().all(|code| code == &Err("COMMON_0011".to_owned())), "{refused:?}");
        let stands = world.ok(&GetMe {}, Some(&pair.access_token)).await;
        assert_eq!(made[0].as_ref(), Ok(&stands));
    }
    let versions: Vec<_> =
        world.facts("user.updated").await.iter().map(|fact| fact["entity_version"].as_i64()).collect();
    assert!(versions.len() == 5 && versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_parallel_updates_of_different_fields_are_all_made() {
    let world = Arc::new(World::start().await);
    world.ok(&register("mina@example.org"), None).await;
    let pair = world.logs_in("mina@example.org").await;
    let text = |text: &str| Some(Some(text.to_owned()));
    let updates = [
        called("Mina"),
        UpdateMe { phone: text("+821012345678"), ..UpdateMe::default() },
        UpdateMe { region: text("Busan"), ..UpdateMe::default() },
        UpdateMe { time_zone: Some("Asia/Seoul".into()), ..UpdateMe::default() },
    ];
    let mut tries = JoinSet::new();
    for update in updates {
        let (world, token) = (world.clone(), pair.access_token.clone());
        tries.spawn(async move { world.ok(&update, Some(&token)).await });
    }
    tries.join_all().await;
    let account = world.ok(&GetAccount {}, Some(&pair.access_token)).await;
    assert_eq!((account.user.name.as_str(), account.user.phone.as_deref()), ("Mina", Some("+821012345678")));
    assert_eq!((account.region.as_deref(), account.time_zone.as_str()), (Some("Busan"), "Asia/Seoul"));
}
