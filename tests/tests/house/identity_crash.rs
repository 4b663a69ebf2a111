//! Identity is killed again and again while people change their accounts: nothing that was committed stays untold, nothing
//! is told that was not committed, and each account's facts come in the order of its versions (identity I10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lectern_harness::{Actor, Stack, StackOptions};
use reqwest::Method;
use serde_json::{Value, json};

/// Where a process dies by itself; the hits that are let through differ, so that it dies at work.
const POINTS: [&str; 5] = [
    "tx.before_commit=abort@9",
    "tx.after_commit=abort@9",
    "relay.before_publish=abort@4",
    "relay.after_publish=abort@4",
    "relay.after_mark=abort@4",
];

/// Changes the own name until told to stop; answers how many changes were answered 200.
async fn changes(person: Actor, stop: Arc<AtomicBool>, nth: Arc<AtomicU32>) -> u32 {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("Name {}", nth.fetch_add(1, Ordering::Relaxed));
        let ask = person.asks(Method::PUT, "/users/me").json(json!({ "name": name }));
        if ask.try_send().await.is_ok_and(|answer| answer.status == 200) {
            done += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done
}

/// Every fact of identity in the stream, in its order.
async fn told(stack: &Stack) -> Vec<Value> {
    let jetstream = async_nats::jetstream::new(stack.bus_as("admin").await.expect("admin"));
    let stream = jetstream.get_stream("EVENTS").await.expect("EVENTS");
    let config = async_nats::jetstream::consumer::pull::OrderedConfig {
        filter_subject: "evt.identity.v1.>".to_owned(),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let pending = consumer.cached_info().num_pending;
    let messages = consumer.messages().await.expect("messages").take(usize::try_from(pending).expect("few"));
    messages
        .map(|message| serde_json::from_slice(&message.expect("a message").payload).expect("JSON"))
        .collect()
        .await
}

async fn number(stack: &Stack, sql: &str) -> i64 {
    stack.database().value(sql).await.expect("read").expect("a number").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i10_killed_anywhere_identity_tells_every_commit_in_order_and_nothing_else() {
    let others = "gateway,courses,content,playback,enrollment,notifications,audit";
    let stack = Stack::start(StackOptions::default().processes([others])).await;
    let mut identity = stack.start_roles("identity", &[]).await;
    let mut people = Vec::new();
    for n in 0..4 {
        people.push(stack.learner(&format!("Person {n}")).await);
    }
    let (stop, nth) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let busy: Vec<_> =
        people.iter().map(|who| tokio::spawn(changes(who.clone(), stop.clone(), nth.clone()))).collect();
    let mut deaths = 0;
    for point in POINTS {
        identity.kill9();
        let mut doomed = stack.launch("identity", &[("LECTERN_FAULTS", point)]).expect("started");
        assert!(doomed.ends_within(Duration::from_secs(60)).await.is_some(), "it did not die at {point}");
        identity = stack.start_roles("identity", &[]).await;
        // and once more wherever it happens to be
        tokio::time::sleep(Duration::from_millis(300 + 170 * deaths)).await;
        deaths += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for person in busy {
        answered += person.await.expect("joined");
    }
    let waiting = "SELECT count(*) FROM identity.outbox";
    for tries in 0.. {
        if number(&stack, waiting).await == 0 {
            break;
        }
        assert!(tries < 240, "facts are never told: {}", identity.log());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    let told = told(&stack).await;
    let text = |fact: &Value, field: &str| fact[field].as_str().expect("text").to_owned();
    let ids: BTreeSet<String> = told.iter().map(|fact| text(fact, "event_id")).collect();
    let committed = "SELECT string_agg(id::text, ' ') FROM identity.outbox_archive WHERE stream = 'EVENTS'";
    let committed = stack.database().value(committed).await.expect("read").expect("facts");
    let committed: BTreeSet<String> = committed.split(' ').map(str::to_owned).collect();
    let lost: Vec<_> = committed.difference(&ids).collect();
    let invented: Vec<_> = ids.difference(&committed).collect();
    assert!(lost.is_empty() && invented.is_empty(), "lost: {lost:?}, invented: {invented:?}");

    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for fact in &told {
        let seen = versions.entry(text(fact, "subject_id")).or_default();
        let version = fact["entity_version"].as_i64().expect("a number");
        // told once more after a kill is not told late: the broker drops a repetition
        assert!(seen.last().is_none_or(|last| *last < version), "{version} after {seen:?}: {fact}");
        seen.push(version);
    }
    let mut changed = 0;
    for person in &people {
        let id = person.looks_at_self().await.ok().id();
        let now = number(&stack, &format!("SELECT version FROM identity.users WHERE id = '{id}'")).await;
        let seen = &versions[&id];
        // every version of the account is one fact: the newest too, and none is missing before it
        assert_eq!(seen, &(1..=now).collect::<Vec<_>>(), "{id}");
        let updates = told.iter().filter(|fact| fact["subject_id"] == id.as_str());
        changed += updates.filter(|fact| fact["event_type"] == "user.updated").count();
    }
    println!("{deaths} deaths; {answered} changes were answered, {changed} are told");
    assert!(answered > 20 && changed >= answered as usize, "{answered} answered, {changed} told");
}
