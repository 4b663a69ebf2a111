//! What seed 001 documents of the tables (I-045 to I-055), read from the catalogue of a migrated database and tried on it.

use std::collections::{BTreeMap, BTreeSet};

use lectern_harness::{Database, TestServers};
use serde_json::Value;

async fn migrated() -> Database {
    TestServers::database_with("identity", &["crates/core/migrations", "migrations/identity"]).await
}

/// Rows as JSON.
async fn rows(db: &Database, sql: &str) -> Vec<Value> {
    let json = db.value(&format!("SELECT json_agg(r)::text FROM ({sql}) r")).await.expect(sql);
    json.map(|json| serde_json::from_str(&json).expect("rows")).unwrap_or_default()
}

/// The constraint or column that refused a statement.
async fn refused(db: &Database, sql: &str) -> String {
    format!("{:#}", db.execute(sql).await.expect_err(sql))
}

/// An account with these values, and what must be there besides.
fn account(n: u32, columns: &str, values: &str) -> String {
    format!(
        "INSERT INTO identity.users (id, email, email_norm, name, created_at, updated_at{columns})
         VALUES ('00000000-0000-7000-8000-{n:012}', 'u{n}@example.org', 'u{n}@example.org', 'Somebody', now(), now(){values})"
    )
}

#[tokio::test]
async fn i045_i046_the_columns_of_accounts_hold_what_seed_001_says_and_no_more() {
    let db = migrated().await;
    let mut columns = BTreeMap::new();
    for row in rows(
        &db,
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns
         WHERE table_schema = 'identity' AND table_name = 'users'",
    )
    .await
    {
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        columns.insert(text("column_name"), (text("data_type"), text("is_nullable") == "NO"));
    }
    for (name, kind, required) in [
        ("id", "uuid", true),
        ("email", "text", true),
        // none for an account that signs in by passkey alone, and for a deleted one
        ("password_hash", "text", false),
        ("name", "text", true),
        // sealed: I-086
        ("phone_sealed", "bytea", false),
        ("business_type", "text", false),
        ("business_number_sealed", "bytea", false),
        ("industry", "text", false),
        ("region", "text", false),
        ("role", "text", true),
        ("is_active", "boolean", true),
        ("is_verified", "boolean", true),
        ("created_at", "timestamp with time zone", true),
        ("updated_at", "timestamp with time zone", true),
        ("last_login_at", "timestamp with time zone", false),
    ] {
        assert_eq!(columns.get(name), Some(&(kind.to_owned(), required)), "{name}");
    }
    db.execute(&account(1, "", "")).await.expect("an account");
    // lengths: the last that fits, and one more
    for (column, longest) in [
        ("email", 255),
        ("password_hash", 255),
        ("name", 100),
        ("business_type", 50),
        ("industry", 100),
        ("region", 100),
    ] {
        let set = |length: usize| format!("UPDATE identity.users SET {column} = repeat('x', {length})");
        db.execute(&set(longest)).await.expect(column);
        let said = refused(&db, &set(longest + 1)).await;
        assert!(said.contains(&format!("users_{column}_check")), "{column}: {said}");
    }
    // one account per address, whatever its case
    let twin = account(2, "", "")
        .replace("'u2@example.org', 'u2@example.org'", "'U1@example.org', 'u1@example.org'");
    assert!(refused(&db, &twin).await.contains("users_email_norm_key"));
    let twin = account(1, "", "").replace("u1@", "u3@");
    assert!(refused(&db, &twin).await.contains("users_pkey"));
    let upper = "UPDATE identity.users SET email_norm = 'U1@example.org'";
    assert!(refused(&db, upper).await.contains("users_email_norm_check"));
}

#[tokio::test]
async fn i047_i048_an_account_is_a_user_active_and_not_verified_unless_it_is_said_and_has_no_other_role() {
    let db = migrated().await;
    db.execute(&account(1, "", "")).await.expect("an account");
    let made = &rows(&db, "SELECT role, roles, is_active, is_verified, status FROM identity.users").await[0];
    let defaults = serde_json::json!({
        "role": "user", "roles": ["user"], "is_active": true, "is_verified": false, "status": "active",
    });
    assert_eq!(made, &defaults);
    for (n, role) in ["user", "moderator", "operator", "auditor", "admin"].into_iter().enumerate() {
        let values = format!(", '{role}', '{{{role}}}'");
        db.execute(&account(10 + u32::try_from(n).unwrap(), ", role, roles", &values)).await.expect(role);
    }
    for role in ["superuser", "service", "Admin", ""] {
        let values = format!(", '{role}', '{{user}}'");
        let said = refused(&db, &account(30, ", role, roles", &values)).await;
        assert!(said.contains("users_role"), "{role}: {said}");
    }
    let said = refused(&db, "UPDATE identity.users SET is_active = true").await;
    assert!(said.contains("is_active"), "it follows from the status: {said}");
    db.execute("UPDATE identity.users SET status = 'disabled' WHERE role = 'user'")
        .await
        .expect("switched off");
    assert_eq!(
        db.value("SELECT bool_or(is_active)::text FROM identity.users WHERE role = 'user'")
            .await
            .unwrap()
            .as_deref(),
        Some("false")
    );
}

/// The indexes that a statement is carried out by.
async fn plan(db: &Database, sql: &str) -> BTreeSet<String> {
    fn names(node: &Value, found: &mut BTreeSet<String>) {
        match node {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_str()) {
                        ("Index Name", Some(index)) => drop(found.insert(index.to_owned())),
                        _ => names(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            _ => {}
        }
    }
    let mut connection = db.connect().await.expect("a connection");
    let explained = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) {sql}")));
    let json: Value = explained.fetch_one(&mut connection).await.expect(sql);
    let mut found = BTreeSet::new();
    names(&json, &mut found);
    found
}

/// Enough rows that an index is worth it: 20,000 accounts, 40,000 sign-ins, one in a hundred of them refused.
async fn filled() -> Database {
    let db = migrated().await;
    for fill in [
        "INSERT INTO identity.users (id, email, email_norm, name, status, role, roles, created_at, updated_at)
         SELECT gen_random_uuid(), 'u' || n || '@example.org', 'u' || n || '@example.org', 'Somebody',
                CASE n % 3 WHEN 0 THEN 'active' ELSE 'disabled' END, r, ARRAY[r], now() - n * interval '1 minute', now()
         FROM (SELECT n, CASE n % 1000 WHEN 0 THEN 'operator' ELSE 'user' END AS r FROM generate_series(1, 20000) n) x",
        "INSERT INTO identity.login_history (id, user_id, action, ip, user_agent, success, failure_reason, created_at)
         SELECT gen_random_uuid(), id, 'login', '203.0.113.7', 'Firefox', n % 100 <> 0,
                CASE n % 100 WHEN 0 THEN 'invalid_password' END, now() - n * interval '1 second'
         FROM (SELECT id, row_number() OVER () * 2 + i AS n FROM identity.users, generate_series(0, 1) i) x",
        "ANALYZE identity.users",
        "ANALYZE identity.login_history",
    ] {
        db.execute(fill).await.expect(fill);
    }
    db
}

#[tokio::test]
async fn i050_i052_what_seed_001_looks_up_is_looked_up_by_an_index() {
    let db = filled().await;
    for (sql, index) in [
        ("SELECT id FROM identity.users WHERE email_norm = 'u77@example.org'", "users_email_norm_key"),
        ("SELECT count(*) FROM identity.users WHERE role = 'operator'", "users_role"),
        ("SELECT id FROM identity.users WHERE created_at > now() - interval '1 hour'", "users_created_at"),
        (
            "SELECT id FROM identity.users WHERE is_active ORDER BY created_at DESC, id DESC LIMIT 20",
            "users_active",
        ),
        (
            "SELECT * FROM identity.login_history WHERE user_id = '00000000-0000-7000-8000-000000000001'
             ORDER BY created_at DESC, id DESC LIMIT 20",
            "login_history_page",
        ),
        (
            "SELECT id FROM identity.login_history WHERE created_at < now() - interval '11 hours'",
            "login_history_created_at",
        ),
        (
            "SELECT id FROM identity.login_history WHERE NOT success AND created_at > now() - interval '1 hour'",
            "login_history_failed",
        ),
    ] {
        let used = plan(&db, sql).await;
        assert_eq!(used, BTreeSet::from([index.to_owned()]), "{sql}");
    }
    let partial = rows(
        &db,
        "SELECT indexname, indexdef FROM pg_indexes
         WHERE schemaname = 'identity' AND indexname IN ('users_active', 'login_history_failed') ORDER BY indexname",
    )
    .await;
    let only = |row: &Value| {
        row["indexdef"].as_str().expect("a definition").split_once(" WHERE ").expect("partial").1.to_owned()
    };
    assert_eq!(partial.iter().map(only).collect::<Vec<_>>(), ["(NOT success)", "is_active"]);
}

#[tokio::test]
async fn i051_the_history_holds_what_seed_001_says_and_goes_with_its_account() {
    let db = migrated().await;
    db.execute(&account(1, "", "")).await.expect("an account");
    let row = |columns: &str| {
        format!(
            "INSERT INTO identity.login_history (id, user_id, action, ip, user_agent, success, failure_reason, created_at)
             SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', {columns}, now()"
        )
    };
    db.execute(&row("'login', repeat('x', 45), repeat('x', 500), false, repeat('x', 100)"))
        .await
        .expect("the longest");
    db.execute(&row("'logout', NULL, NULL, true, NULL")).await.expect("from the bus");
    for (wrong, constraint) in [
        ("'login', repeat('x', 46), NULL, true, NULL", "login_history_ip_check"),
        ("'login', NULL, repeat('x', 501), true, NULL", "login_history_user_agent_check"),
        ("'login', NULL, NULL, false, repeat('x', 101)", "login_history_failure_reason_check"),
        ("'peek', NULL, NULL, true, NULL", "login_history_action_check"),
        ("'login', NULL, NULL, false, NULL", "login_history_failure_has_reason"),
        ("'login', NULL, NULL, true, 'invalid_password'", "login_history_failure_has_reason"),
    ] {
        let said = refused(&db, &row(wrong)).await;
        assert!(said.contains(constraint), "{wrong}: {said}");
    }
    let foreign = row("'login', NULL, NULL, true, NULL").replace("000000000001", "000000000002");
    assert!(refused(&db, &foreign).await.contains("login_history_user_id_fkey"));
    db.execute("DELETE FROM identity.users").await.expect("the account is gone");
    assert_eq!(
        db.value("SELECT count(*)::text FROM identity.login_history").await.unwrap().as_deref(),
        Some("0")
    );
}

#[tokio::test]
async fn i055_references_between_tables_never_come_back_to_where_they_began() {
    let db = migrated().await;
    let keys = rows(
        &db,
        "SELECT conrelid::regclass::text AS source, confrelid::regclass::text AS target FROM pg_constraint
         WHERE contype = 'f' AND connamespace = 'identity'::regnamespace",
    )
    .await;
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in &keys {
        let text = |name: &str| key[name].as_str().expect("a table").to_owned();
        // a token knows the one that it was made for: rows of one table, each older than the next
        if text("source") != text("target") {
            arrows.entry(text("source")).or_default().insert(text("target"));
        }
    }
    assert!(arrows.len() >= 10, "no references were read: {keys:?}");
    // whatever refers to nothing that is left is taken away, until nothing is left
    let mut left = arrows;
    loop {
        let ends: Vec<String> =
            left.values().flatten().filter(|table| !left.contains_key(*table)).cloned().collect();
        if ends.is_empty() {
            break;
        }
        for targets in left.values_mut() {
            targets.retain(|table| !ends.contains(table));
        }
        left.retain(|_, targets| !targets.is_empty());
    }
    assert!(left.is_empty(), "these refer to each other: {left:?}");
}
