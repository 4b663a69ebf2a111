//! Two identity processes, one loses its database: it leaves the queue groups, and comes back by itself.

use std::time::{Duration, Instant};

use lectern_harness::servers::Proxy;
use lectern_harness::testing::RoleProcess;
use lectern_harness::{Stack, StackOptions};
use serde_json::Value;

use crate::load::{Load, Shot};

const ME: &str = "svc.identity.v1.users.me_get";

async fn becomes(process: &RoleProcess, ready: bool) -> Duration {
    let begun = Instant::now();
    while (process.readiness().await == Some(200)) != ready {
        assert!(begun.elapsed() < Duration::from_secs(30), "not {ready} after 30 s:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

/// Requests answered, and why one of them is not ready, as `$SRV.STATS` tells.
async fn stats(stack: &Stack) -> Vec<(u64, Value)> {
    let bus = stack.bus().await;
    let heard = bus.asks_all("$SRV.STATS.identity", Duration::from_millis(400)).await.expect("asked");
    let endpoints = heard.iter().flat_map(|stats| stats["endpoints"].as_array().into_iter().flatten());
    let me = endpoints.filter(|endpoint| endpoint["subject"] == ME);
    me.map(|it| (it["num_requests"].as_u64().unwrap_or_default(), it["data"]["not_ready"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_its_database_leaves_and_rejoins_and_no_request_fails() {
    let stack = Stack::start(StackOptions::default().processes(["gateway,identity"])).await;
    let database = stack.database().url().to_owned();
    let address = database.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let door = Proxy::to(address.parse().expect("an address")).await.expect("a door");
    let second = stack.start_roles("identity", &[("DATABASE_URL", &door.in_url(&database))]).await;
    let alice = stack.learner("Alice").await;
    let token = alice.access_token();
    let shot = Shot {
        subject: ME,
        body: "{}".into(),
        token,
        patience: Duration::from_secs(10),
        pause: Duration::ZERO,
    };

    for lost in ["shut", "stalled"] {
        if lost == "shut" {
            door.shut()
        } else {
            door.stall()
        }
        let left = becomes(&second, false).await;
        // a request that it took before it left may still end badly within its own deadline
        tokio::time::sleep(Duration::from_secs(1)).await;
        let heard = stats(&stack).await;
        assert!(
            heard.iter().any(|(_, why)| why.as_str().is_some_and(|why| why.contains("database"))),
            "{heard:?}"
        );
        let load = Load::on(&stack, shot.clone(), 8).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let tally = load.ends().await;
        alice.looks_at_self().await.ok();
        println!("database {lost}: left after {left:?}; then {} ok, {} failed", tally.ok, tally.failed.len());
        assert!(
            tally.failed.is_empty() && tally.ok > 0,
            "{} failed: {:?}",
            tally.failed.len(),
            tally.failed.first()
        );

        door.open();
        let back = becomes(&second, true).await;
        println!("database open again: rejoined after {back:?}");
        let before = stats(&stack).await;
        let load = Load::on(&stack, shot.clone(), 8).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let tally = load.ends().await;
        assert!(tally.failed.is_empty(), "{:?}", tally.failed.first());
        let after = stats(&stack).await;
        assert_eq!((before.len(), after.len()), (2, 2), "two instances: {before:?} {after:?}");
        let least = |heard: &[(u64, Value)]| heard.iter().map(|(count, _)| *count).min();
        assert!(least(&after) > least(&before), "one of them answers nothing: {before:?} {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i115_a_request_that_meets_a_silent_database_asks_it_again_and_says_so() {
    let stack = Stack::start(StackOptions::default().processes(["gateway"])).await;
    let database = stack.database().url().to_owned();
    let address = database.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let door = Proxy::to(address.parse().expect("an address")).await.expect("a door");
    let url = door.in_url(&database);
    let one = [("DATABASE_URL", url.as_str()), ("DATABASE_POOL_SIZE", "1")];
    let identity = stack.start_roles("identity", &one).await;
    let anyone = stack.anonymous();
    // nothing is computed for it before the database is asked
    let code = serde_json::json!({ "email": "carol@example.org", "code": "000000" });
    door.stall();
    // one of the things that are done regularly waits on the only connection for an answer
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (answer, ()) = tokio::join!(anyone.posts("/auth/verify-email", code), async {
        // longer than a connection is waited for, shorter than the request has
        tokio::time::sleep(Duration::from_millis(2000)).await;
        door.open();
    });
    answer.refused(400, "USER_1106");
    let log = identity.log();
    let said = log.lines().filter(|line| line.contains("database_error_retry")).collect::<Vec<_>>();
    assert!(!said.is_empty() && said[0].contains("attempt=1"), "{log}");
    assert!(!log.contains("carol@"));
}
