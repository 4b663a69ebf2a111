//! Somebody who owns the database changes what was recorded: verification names the entry. Triggers and foreign keys are
//! switched off for them (`session_replication_role`), as an owner can.

use serde_json::{Value, json};

use crate::{House, VERIFY};

const ENTRIES: i64 = 12;
const COLUMNS: &str =
    "seq, prev_hash, hash, body, entry_id, stream_sequence, recorded_at, service, event_type, user_id,
    actor_id, timestamp";
/// Writes the chain anew from entry 5 on, so that it is whole in itself.
const REWRITE: &str = "DO $$
    DECLARE r record; p bytea; n bigint;
    BEGIN
        SELECT hash INTO p FROM audit.entries WHERE seq = 4;
        n := 5;
        FOR r IN SELECT seq, body FROM audit.entries WHERE seq > 4 ORDER BY seq LOOP
            UPDATE audit.entries SET seq = n, prev_hash = p, hash = sha256(p || body) WHERE seq = r.seq;
            p := sha256(p || r.body);
            n := n + 1;
        END LOOP;
    END $$;";

async fn house() -> House {
    let house = House::start().await;
    for _ in 0..ENTRIES {
        house.publishes(&house.entry("identity", "user.role_changed", None)).await;
    }
    house.has(ENTRIES).await;
    house.is_settled().await;
    let sound = house.verifies().await;
    assert_eq!((&sound["ok"], &sound["checked"], &sound["compared"]), (&json!(true), &json!(12), &json!(12)));
    house.owner(&format!("CREATE TABLE audit.saved AS SELECT {COLUMNS} FROM audit.entries")).await;
    house
}

impl House {
    /// What an owner of the database can do.
    async fn owner(&self, sql: &str) {
        self.database.execute(&format!("SET session_replication_role = replica; {sql}")).await.expect(sql);
    }

    /// Attacks, verifies, and puts everything back.
    async fn attacked(&self, sql: &str) -> (Value, Value) {
        self.owner(sql).await;
        let found = self.verifies().await;
        let restore = format!(
            "DELETE FROM audit.entries; INSERT INTO audit.entries ({COLUMNS}) SELECT {COLUMNS} FROM audit.saved"
        );
        self.owner(&restore).await;
        assert_eq!(self.verifies().await["ok"], true, "not put back");
        assert_eq!(found["ok"], found["broken"].is_null(), "{found}");
        (found["broken"]["seq"].clone(), found["broken"]["reason"].clone())
    }
}

#[tokio::test]
async fn identity_i11_every_change_removal_and_reordering_is_found_and_named() {
    let house = house().await;
    let changed = "convert_to(replace(convert_from(body, 'UTF8'), 'a test', 'a lie!'), 'UTF8')";
    for (what, sql, seq, reason) in [
        (
            "a searched column",
            "UPDATE audit.entries SET actor_id = gen_random_uuid() WHERE seq = 5",
            5,
            "changed_entry",
        ),
        (
            "a time",
            "UPDATE audit.entries SET timestamp = timestamp - interval '1 day' WHERE seq = 5",
            5,
            "changed_entry",
        ),
        ("a removed entry", "DELETE FROM audit.entries WHERE seq = 5", 5, "missing_entry"),
        ("the first", "DELETE FROM audit.entries WHERE seq = 1", 1, "missing_entry"),
        ("the newest", "DELETE FROM audit.entries WHERE seq = 12", 12, "missing_entry"),
        ("the newest three", "DELETE FROM audit.entries WHERE seq > 9", 10, "missing_entry"),
        ("all of them", "DELETE FROM audit.entries", 1, "missing_entry"),
        (
            "two that changed places",
            "UPDATE audit.entries SET seq = 99 WHERE seq = 4; UPDATE audit.entries SET seq = 4 WHERE seq = 8;
             UPDATE audit.entries SET seq = 8 WHERE seq = 99",
            4,
            "wrong_link",
        ),
        (
            "other bytes with their own hash",
            &format!(
                "UPDATE audit.entries SET body = {changed}, hash = sha256(prev_hash || {changed}) WHERE seq = 12"
            ),
            12,
            "differs_from_stream",
        ),
        (
            "a chain written anew over other bytes",
            &format!(
                "UPDATE audit.entries SET body = {changed}, hash = sha256(prev_hash || {changed}) WHERE seq = 5; {REWRITE}"
            ),
            5,
            "differs_from_stream",
        ),
        (
            "a chain written anew over other bytes and dated before the stream",
            &format!(
                "UPDATE audit.entries SET body = {changed}, hash = sha256(prev_hash || {changed}) WHERE seq = 5;
                 UPDATE audit.entries SET recorded_at = '2020-01-01'; {REWRITE}"
            ),
            5,
            "differs_from_stream",
        ),
        (
            "a chain written anew without an entry",
            &format!("DELETE FROM audit.entries WHERE seq = 5; {REWRITE}"),
            5,
            "missing_entry",
        ),
    ] {
        assert_eq!(house.attacked(sql).await, (json!(seq), json!(reason)), "{what}");
    }
    // bytes without their hash: only after the rule itself was removed
    house.owner("ALTER TABLE audit.entries DROP CONSTRAINT entries_hash").await;
    let bytes_only = format!("UPDATE audit.entries SET body = {changed} WHERE seq = 6");
    assert_eq!(house.attacked(&bytes_only).await, (json!(6), json!("changed_entry")));
}

#[tokio::test]
async fn identity_i11_the_chain_is_judged_by_itself_when_the_stream_is_lost() {
    let house = house().await;
    house.delete_stream("AUDIT").await;
    let alone = house.verifies().await;
    assert_eq!((&alone["ok"], &alone["checked"], &alone["compared"]), (&json!(true), &json!(12), &json!(0)));
    house.owner("UPDATE audit.entries SET hash = sha256(prev_hash || 'x'), body = 'x' WHERE seq = 7").await;
    let found = house.verifies().await;
    assert_eq!(found["broken"]["seq"], 7, "{found}");
    // the same from the middle, and only up to a place before it
    let part = house.asks(VERIFY, json!({ "from_seq": 3, "to_seq": 6 })).await.ok();
    assert_eq!((part.at("/ok"), part.number("/checked"), part.number("/through_seq")), (&json!(true), 4, 6));
    let behind = house.asks(VERIFY, json!({ "from_seq": 8 })).await.ok();
    assert_eq!((behind.number("/broken/seq"), behind.text("/broken/reason")), (8, "wrong_link".to_owned()));

    // a new stream under the old name: its sequences say nothing about the old entries
    house.make_stream("AUDIT", "").await;
    house.make_consumers(&lectern_audit::service().table()).await;
    house.publishes(&house.entry("identity", "user.created", None)).await;
    house.has(13).await;
    let newest = house.asks(VERIFY, json!({ "from_seq": 9 })).await.ok();
    assert_eq!((newest.at("/ok"), newest.number("/compared")), (&json!(true), 1), "{newest}");
}
