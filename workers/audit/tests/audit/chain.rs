//! One chain: whoever writes it, however often a message comes, whatever comes.

use std::collections::BTreeSet;

use lectern_subjects::id::UserId;
use serde_json::json;

use crate::{House, VERIFY};
use lectern_workbench::until;

/// Rows that break a rule of the chain, by SQL alone: forks, gaps, wrong links, wrong hashes.
const WRONG: &str = "SELECT count(*) FROM (
        SELECT seq, prev_hash, hash, body, lag(seq, 1, 0::bigint) OVER w AS before,
               lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER w AS link
        FROM audit.entries WINDOW w AS (ORDER BY seq)) AS c
    WHERE seq <> before + 1 OR prev_hash <> link OR hash <> sha256(prev_hash || body)";

#[tokio::test(flavor = "multi_thread")]
async fn identity_i11_two_processes_and_redelivery_write_one_chain() {
    let house = House::start().await;
    let mut second = Some(house.run_audit().await);
    let mut ids = BTreeSet::new();
    let mut bodies = Vec::new();
    for number in 0..600 {
        // the chain is whole at every moment, also while it grows
        if number % 20 == 0 {
            let head = house.count("SELECT coalesce(max(seq), 1) FROM audit.entries").await;
            let grown = house.asks(VERIFY, json!({ "from_seq": (head - 50).max(1) })).await.ok();
            assert_eq!(grown.at("/ok"), true, "{grown}");
        }
        let user = UserId(house.clock.new_id());
        let entry =
            house.entry(["identity", "courses", "enrollment"][number % 3], "user.created", Some(user));
        house.publishes(&entry).await;
        // every third one comes twice, as after the broker's window of duplicates
        if number % 3 == 0 {
            house.publishes(&entry).await;
        }
        if let Some(second) = second.take_if(|_| number == 300) {
            second.kill().await;
        }
        ids.insert(entry.entry_id);
        bodies.push(entry);
    }
    house.has(600).await;
    // everything is delivered once more, as to a process that was killed after its commit and before its acknowledgement
    let stream = house.broker().get_stream("AUDIT").await.expect("AUDIT");
    stream.delete_consumer("chain").await.expect("deleted");
    house.make_consumers(&lectern_audit::service().table()).await;
    let third = house.run_audit().await;
    house.is_settled().await;
    third.stop().await;

    assert_eq!(house.count("SELECT count(*) FROM audit.entries").await, 600);
    assert_eq!(house.count("SELECT max(seq) FROM audit.entries").await, 600);
    assert_eq!(
        house.count("SELECT count(DISTINCT entry_id) FROM audit.entries").await,
        i64::try_from(ids.len()).unwrap()
    );
    assert_eq!(house.count(WRONG).await, 0);

    let (mut from, mut checked, mut compared) = (Some(1), 0, 0);
    while let Some(seq) = from {
        let part = house.asks(VERIFY, json!({ "from_seq": seq })).await.ok();
        assert_eq!(part.at("/ok"), true, "{part}");
        checked += part.number("/checked");
        compared += part.number("/compared");
        from = part.at("/next_from_seq").as_i64();
    }
    assert_eq!((checked, compared), (600, 600));
}

#[tokio::test]
async fn what_is_no_entry_goes_to_the_dead_letters_and_the_chain_goes_on() {
    let house = House::start().await;
    let honest = house.entry("identity", "user.created", None);
    house.publishes(&honest).await;
    // an entry under another service's subject, as a service that speaks for another would publish it
    let forged = house.entry("identity", "user.deleted", None);
    house
        .publishes_bytes("audit.courses.v1.user.deleted._".to_owned(), serde_json::to_vec(&forged).unwrap())
        .await;
    house.publishes_bytes("audit.identity.v1.user.created._".to_owned(), b"{".to_vec()).await;
    // the same id with other bytes: an attempt to replace what was recorded
    let mut replaced = honest.clone();
    replaced.details = json!({ "why": "another story" });
    house.publishes(&replaced).await;
    house.publishes(&house.entry("identity", "user.logged_out", None)).await;
    house.has(2).await;
    until("three dead letters", async || {
        let mut dead = house.broker().get_stream("DEAD").await.expect("DEAD");
        (dead.info().await.expect("info").state.messages == 3).then_some(())
    })
    .await;
    assert_eq!(house.verifies().await["ok"], true, "dead letters are no breaks");
    let kept =
        house.count("SELECT count(*) FROM audit.entries WHERE convert_from(body, 'UTF8') LIKE '%a test%'");
    assert_eq!(kept.await, 2);
}

#[tokio::test]
async fn identity_i11_the_table_refuses_forks_gaps_wrong_hashes_and_every_change() {
    let house = House::start().await;
    for _ in 0..3 {
        house.publishes(&house.entry("identity", "user.created", None)).await;
    }
    house.has(3).await;
    let insert = |seq: &str, prev: &str, hash: &str| {
        format!(
            "INSERT INTO audit.entries (seq, prev_hash, hash, body, entry_id, stream_sequence, recorded_at, service,
                                        event_type, timestamp)
             SELECT {seq}, {prev}, {hash}, 'x', gen_random_uuid(), 9, now(), 'x', 'x.x', now()
             FROM audit.entries AS e WHERE e.seq = 3"
        )
    };
    let sound = "sha256(e.hash || 'x')";
    for (what, sql, refusal) in [
        ("a wrong hash", insert("4", "e.hash", "sha256('y')"), "entries_hash"),
        ("a gap", insert("5", "e.hash", sound), "entries_link"),
        ("a fork", insert("4", "e.prev_hash", "sha256(e.prev_hash || 'x')"), "entries_prev_hash_key"),
        ("an unknown link", insert("4", "sha256('y')", "sha256(sha256('y') || 'x')"), "entries_link"),
        (
            "a second beginning",
            insert("4", "decode(repeat('00', 32), 'hex')", "sha256(decode(repeat('00', 32), 'hex') || 'x')"),
            "entries_genesis",
        ),
        ("a change", "UPDATE audit.entries SET user_id = NULL WHERE seq = 2".to_owned(), "append-only"),
        ("a deletion", "DELETE FROM audit.entries WHERE seq = 3".to_owned(), "append-only"),
        ("an emptying", "TRUNCATE audit.entries".to_owned(), "append-only"),
    ] {
        let refused = house.database.execute(&sql).await.expect_err(what);
        assert!(format!("{refused:#}").contains(refusal), "{what}: {refused:#}");
    }
    house.database.execute(&insert("4", "e.hash", sound)).await.expect("the rule itself is let in");
}

#[tokio::test]
async fn the_stream_lets_nothing_be_taken_out() {
    let house = House::start().await;
    house.publishes(&house.entry("identity", "user.created", None)).await;
    house.has(1).await;
    let stream = house.broker().get_stream("AUDIT").await.expect("AUDIT");
    assert!(stream.delete_message(1).await.is_err(), "a message was deleted");
    assert!(stream.purge().await.is_err(), "the stream was purged");
    let mut config = stream.cached_info().config.clone();
    config.deny_delete = false;
    assert!(house.broker().update_stream(config.clone()).await.is_err(), "deletion was allowed");
    (config.deny_delete, config.deny_purge) = (true, false);
    assert!(house.broker().update_stream(config).await.is_err(), "purging was allowed");
    assert_eq!(house.broker().get_stream("AUDIT").await.expect("AUDIT").cached_info().state.messages, 1);
}
