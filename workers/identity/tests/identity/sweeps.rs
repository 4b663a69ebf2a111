//! What identity does unasked, whatever has piled up.

use std::time::Duration;

use lectern_harness::testing::{Statement, Statements};

use crate::world::World;

const OLD_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW_KEY: &str = "//////////////////////////////////////////8=";

/// Waits until a number is so.
async fn until(world: &World, sql: &str, wanted: i64) {
    for _ in 0..400 {
        if world.count(sql).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql} gives {}, not {wanted}", world.count(sql).await);
}

/// Statements with this part, once so many were carried out.
async fn noted(
    statements: &mut Statements,
    all: &mut Vec<Statement>,
    part: &str,
    count: usize,
) -> Vec<Statement> {
    for _ in 0..200 {
        all.extend(statements.take().expect("the log"));
        let found: Vec<_> = all.iter().filter(|one| one.text.contains(part)).cloned().collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{part} was not carried out {count} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn i086_i177_sealing_anew_and_telling_a_new_bucket_find_their_rows_by_indexes() {
    let keys = format!("{NEW_KEY},{OLD_KEY}");
    let world = World::prepare(&[("IDENTITY_KEK", &keys), ("IDENTITY_HASH_KEY", OLD_KEY)]).await;
    let mut statements = world.db.notes_statements().await.expect("plans");
    // whatever can do without them does
    for setting in ["enable_sort", "enable_seqscan", "enable_bitmapscan"] {
        let setting = format!("ALTER DATABASE {} SET {setting} = off", world.db.name());
        world.db.execute(&setting).await.expect("a setting");
    }
    world.run_identity().await;
    world.is_ready().await;
    let mut all = Vec::new();
    for statement in noted(&mut statements, &mut all, "FROM 2 FOR 8) = $1 AND", 9).await {
        let plan = statement.plan.to_string();
        assert!(!plan.contains("Sort"), "{}: {:#}", statement.text, statement.plan);
        // those that grow with the number of people
        for (column, index) in [
            ("phone_sealed", "users_phone_sealed_under"),
            ("business_number_sealed", "users_business_number_sealed_under"),
            ("secret_sealed", "credentials_sealed_under"),
        ] {
            let is_it = statement.text.contains(column);
            assert!(!is_it || plan.contains(index), "{}: {:#}", statement.text, statement.plan);
        }
    }
    for (part, index) in [
        ("identity.auth_sessions WHERE revoked_at >", "auth_sessions_revoked_at"),
        ("identity.users WHERE uv > 1", "users_uv_changed_at"),
    ] {
        let statement = &noted(&mut statements, &mut all, part, 1).await[0];
        assert!(statement.plan.to_string().contains(index), "{}: {:#}", statement.text, statement.plan);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_can_make_a_lot_of_goes_in_one_round() {
    let world = World::prepare(&[]).await;
    let challenges = "INSERT INTO identity.challenges (hash, kind, state_sealed, created_at, expires_at)
                      SELECT sha256(n::text::bytea), 'passkey_sign_in', 'x', now() - interval '1 day',
                             now() - interval '1 hour'
                      FROM generate_series(1, 4500) n";
    world.db.execute(challenges).await.expect("challenges");
    world.run_identity().await;
    until(&world, "SELECT count(*) FROM identity.challenges", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_fails_is_not_due_again_at_once() {
    let world = World::start().await;
    let mut connection = world.db.connect().await.expect("a connection");
    for statement in ["BEGIN", "LOCK TABLE identity.users IN ACCESS EXCLUSIVE MODE"] {
        sqlx::query(statement).execute(&mut connection).await.expect(statement);
    }
    world
        .db
        .execute("UPDATE identity.counts SET due_at = '-infinity', counted_at = '-infinity'")
        .await
        .unwrap();
    // its round comes within fifteen seconds
    until(&world, "SELECT count(*) FROM identity.counts WHERE due_at > now() + interval '5 min'", 1).await;
    let counted = "SELECT count(*) FROM identity.counts WHERE counted_at > '-infinity'";
    assert_eq!(world.count(counted).await, 0);
    sqlx::query("ROLLBACK").execute(&mut connection).await.expect("let go");
}
