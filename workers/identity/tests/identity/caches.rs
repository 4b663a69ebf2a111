//! What a process remembers of accounts is never older than what anybody was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lectern_core::metrics;
use lectern_harness::servers::Proxy;
use lectern_subjects::Role;
use lectern_subjects::identity::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{World, claims};

fn called(name: String) -> UpdateMe {
    UpdateMe { name: Some(name), ..UpdateMe::default() }
}

fn counter(series: &str) -> f64 {
    let text = metrics::render();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or_default()
}

/// Two processes of identity; which of them answers is the broker's choice.
async fn two() -> World {
    let world = World::start().await;
    world.run_identity().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn i110_i112_p9_of_two_processes_none_shows_an_older_profile_than_was_acknowledged() {
    metrics::init("test", 1);
    let world = Arc::new(two().await);
    world.registers("ada@example.org").await;
    let token = world.logs_in("ada@example.org").await.access_token;
    let hits = r#"cache_hits_total{cache_type="user"}"#;
    let before = counter(hits);
    let acknowledged = Arc::new(AtomicI64::new(0));
    let done = Arc::new(AtomicI64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (world, token) = (world.clone(), token.clone());
        let (acknowledged, done) = (acknowledged.clone(), done.clone());
        readers.spawn(async move {
            let mut looks = 0;
            while done.load(Ordering::SeqCst) == 0 {
                let least = acknowledged.load(Ordering::SeqCst);
                let seen = world.ok(&GetMe {}, Some(&token)).await;
                assert!(seen.version >= least, "version {} after {least} was acknowledged", seen.version);
                looks += 1;
            }
            looks
        });
    }
    for round in 0..300 {
        let written = world.ok(&called(format!("Ada {round}")), Some(&token)).await;
        acknowledged.store(written.version, Ordering::SeqCst);
        // as often as there are processes, and more
        for _ in 0..4 {
            let seen = world.ok(&GetMe {}, Some(&token)).await;
            assert_eq!((seen.name, seen.version), (written.name.clone(), written.version));
        }
        if round % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    done.store(1, Ordering::SeqCst);
    let looks: i32 = readers.join_all().await.iter().sum();
    let remembered = counter(hits) - before;
    println!("300 changes, {looks} looks beside them, {remembered} of all looks from memory");
    assert!(looks > 300 && remembered > 300.0, "{looks} looks, {remembered} from memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn i112_a_role_a_switch_and_an_erasure_show_at_once_everywhere() {
    let world = two().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let id = world.registers("ada@example.org").await.id;
    let shows = async |what: &str, fits: &dyn Fn(&User) -> bool| {
        for _ in 0..12 {
            let account = world.ok(&GetUser { id }, Some(&admin)).await;
            assert!(fits(&account.user), "{what}: {:?}", account.user);
        }
    };
    shows("registered", &|user| user.role == Role::User && user.last_login_at.is_none()).await;
    world.logs_in("ada@example.org").await;
    shows("signed in", &|user| user.last_login_at.is_some()).await;
    world.ok(&SetRole { id, role: Some(Role::Operator), roles: None }, Some(&admin)).await;
    shows("role given", &|user| user.role == Role::Operator).await;
    world.ok(&DisableUser { id }, Some(&admin)).await;
    shows("switched off", &|user| !user.is_active).await;
    world.ok(&EnableUser { id }, Some(&admin)).await;
    shows("switched on", &|user| user.is_active).await;
    world.ok(&DeleteUser { id }, Some(&admin)).await;
    for _ in 0..12 {
        assert_eq!(world.refused(&GetUser { id }, Some(&admin)).await, "USER_1101", "erased");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i112_p9_a_fact_voids_what_nobody_told_and_a_least_version_passes_the_cache_by() {
    let world = World::start().await;
    let id = world.registers("ada@example.org").await.id;
    let token = world.logs_in("ada@example.org").await.access_token;
    let seen = world.ok(&GetMe {}, Some(&token)).await;
    let least = async |version| {
        let asked =
            world.ask_with(&GetMe {}, Some(&token), |outgoing| outgoing.min_version = Some(version)).await;
        asked.unwrap_or_else(|refusal| panic!("{}", refusal.body)).name
    };
    let changes = async |name: &str| {
        let change = format!("UPDATE identity.users SET name = '{name}', version = version + 1");
        world.db.execute(&change).await.unwrap();
    };
    // behind the doors: as if the process that wrote it had died before it could say so
    changes("Countess").await;
    assert_eq!(world.ok(&GetMe {}, Some(&token)).await.name, seen.name, "it is not from memory");
    assert_eq!(least(seen.version).await, seen.name, "good enough for who saw this version");
    assert_eq!(least(seen.version + 1).await, "Countess");
    assert_eq!(world.ok(&GetMe {}, Some(&token)).await.name, "Countess", "what was read is kept");
    changes("Lovelace").await;
    let tell = async |version: i64| {
        let fact = json!({ "subject_id": id, "entity_version": version, "data": {} }).to_string();
        let subject = format!("evt.identity.v1.user.updated.{id}");
        world.bus.jetstream().publish(subject, fact.into()).await.unwrap().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    tell(seen.version + 1).await;
    assert_eq!(world.ok(&GetMe {}, Some(&token)).await.name, "Countess", "late news voids nothing");
    tell(seen.version + 2).await;
    assert_eq!(world.ok(&GetMe {}, Some(&token)).await.name, "Lovelace");
}

#[tokio::test(flavor = "multi_thread")]
async fn i112_p9_a_process_that_missed_the_news_forgets_everything() {
    let world = World::start().await;
    let door = Proxy::to(world.nats.url().trim_start_matches("nats://").parse().unwrap()).await.unwrap();
    world.run_identity_at(&door.in_url(&world.nats.url())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.registers("ada@example.org").await;
    let token = world.logs_in("ada@example.org").await.access_token;
    assert_eq!(claims(&token)["role"], "user");
    for round in 0..3 {
        for _ in 0..12 {
            world.ok(&GetMe {}, Some(&token)).await;
        }
        door.shut();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let written = world.ok(&called(format!("Ada {round}")), Some(&token)).await;
        // pings and facts have passed before it is back
        tokio::time::sleep(Duration::from_millis(500)).await;
        door.open();
        tokio::time::sleep(Duration::from_secs(4)).await;
        for _ in 0..40 {
            assert_eq!(world.ok(&GetMe {}, Some(&token)).await.name, written.name);
        }
    }
}
