//! `docs/privacy.tsv` against the schemas as they are and against what the services export: a column that nobody has thought
//! about fails here (`spec/reliability.md` V14).

use std::collections::{BTreeMap, BTreeSet};

use lectern::roles;
use lectern_core::export::{Held, OWN, statement};
use lectern_harness::Stack;

use crate::servers_only;
use crate::source::{root, text};

/// What identity opens and puts together by hand; `tests/tests/house/export.rs` looks at the values.
const BY_HAND: [&str; 3] = ["personal_data", "account", "email_changes"];

/// A row of the sheet.
struct Row {
    /// `schema.table`; `*` for what core keeps in every schema.
    table: String,
    columns: Vec<String>,
    is: String,
    kinds: Vec<String>,
    erased: String,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().filter(|word| *word != "-").map(str::to_owned).collect()
}

fn sheet() -> Vec<Row> {
    let sheet = text(&root().join("docs/privacy.tsv"));
    let rows = sheet.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [table, columns, is, kinds, erased] = fields[..] else { panic!("not five fields: {line}") };
        Row {
            table: table.to_owned(),
            columns: words(columns),
            is: is.to_owned(),
            kinds: words(kinds),
            erased: erased.to_owned(),
        }
    });
    rows.collect()
}

/// Every table with its columns, as a migrated database has them; core's under `*`. A view holds nothing of its own.
async fn catalogue(stack: &Stack) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for role in roles::ROLES.iter().filter(|role| role.migrations.is_some()) {
        let asked = format!(
            "SELECT string_agg(table_name || ' ' || column_name, ',')
             FROM information_schema.columns NATURAL JOIN information_schema.tables
             WHERE table_schema = '{}' AND table_type = 'BASE TABLE'",
            role.name
        );
        let columns = stack.database().value(&asked).await.expect("asked").expect("columns");
        for column in columns.split(',') {
            let (table, column) = column.split_once(' ').expect("two names");
            found.entry(place(role.name, table)).or_default().insert(column.to_owned());
        }
    }
    found
}

fn place(schema: &str, table: &str) -> String {
    const CORES: [&str; 8] = [
        "outbox",
        "outbox_archive",
        "inbox",
        "timers",
        "idempotency",
        "stream_epochs",
        "audit_private",
        "_sqlx_migrations",
    ];
    if CORES.contains(&table) { format!("*.{table}") } else { format!("{schema}.{table}") }
}

/// Which of a table's columns a declaration shows, alone or within an expression.
fn shown(held: &Held, columns: &BTreeSet<String>) -> BTreeSet<String> {
    let expressions =
        held.columns.iter().map(|column| column.rsplit_once(" AS ").map_or(*column, |(of, _)| of));
    let words = expressions.flat_map(|expression| {
        expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned)
    });
    words.filter(|word| columns.contains(word)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn asvs_v14_every_column_of_every_schema_is_said_to_be_somebodys_or_nobodys() {
    let stack = Stack::start(servers_only()).await;
    let there = catalogue(&stack).await;
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in sheet() {
        for column in row.columns {
            let new = said.entry(row.table.clone()).or_default().insert(column.clone());
            assert!(new, "{}.{column} stands there twice", row.table);
        }
    }
    for (table, columns) in &there {
        let missing: Vec<_> =
            columns.iter().filter(|c| !said.get(table).is_some_and(|s| s.contains(*c))).collect();
        assert!(missing.is_empty(), "docs/privacy.tsv says nothing of {table}: {missing:?}");
    }
    for (table, columns) in &said {
        let gone: Vec<_> =
            columns.iter().filter(|c| !there.get(table).is_some_and(|t| t.contains(*c))).collect();
        assert!(gone.is_empty(), "docs/privacy.tsv has columns that {table} has not: {gone:?}");
    }
}

#[test]
fn asvs_v14_who_exports_a_column_and_how_it_is_erased_is_said_where_it_is_somebodys() {
    let rows = sheet();
    assert!(rows.len() > 50);
    for row in &rows {
        let which = format!("{} {:?}", row.table, row.columns);
        let how = row.erased.split([':', ';', ',', ' ']).next().unwrap_or_default();
        let erased = ["deleted", "emptied", "anonymised", "stays"].contains(&how);
        match row.is.as_str() {
            "nobody" => {
                assert!(row.erased.is_empty() && row.kinds.is_empty(), "{which}: nobody's, and yet erased")
            }
            "owner" | "secret" => assert!(erased && row.kinds.is_empty(), "{which}"),
            "personal" => {
                assert!(erased, "{which}: how is it erased?");
                let reason = row.erased.contains([';', ':']);
                assert!(!row.kinds.is_empty() || reason, "{which} is not exported and says not why");
            }
            other => panic!("{which}: is {other:?}"),
        }
        assert!(how != "stays" || row.erased.len() > 20, "{which} stays and says not why");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i108_what_the_sheet_calls_exported_is_what_the_services_export() {
    let stack = Stack::start(servers_only()).await;
    let there = catalogue(&stack).await;
    let mut exported: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for row in sheet() {
        for kind in row.kinds.iter().filter(|kind| !BY_HAND.contains(&kind.as_str())) {
            exported.entry((row.table.clone(), kind.clone())).or_default().extend(row.columns.clone());
        }
    }
    let mut declared = BTreeMap::new();
    for (service, held) in roles::tables().iter().flat_map(|table| {
        let own = OWN.iter().map(|held| (table.service, held));
        table.holds.iter().map(|held| (table.service, held)).chain(own)
    }) {
        let (schema, table) = held.table.split_once('.').unwrap_or((service, held.table));
        assert_eq!(schema, service, "{} is another's", held.table);
        let at = place(schema, table);
        let columns = shown(held, &there[&at]);
        assert!(held.key.iter().all(|key| there[&at].contains(*key)), "{}: {:?}", held.table, held.key);
        declared.insert((at, held.kind.to_owned()), columns);
    }
    assert_eq!(declared, exported);
    assert!(roles::tables().iter().all(|table| !table.holds.is_empty()), "a service exports nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn i108_every_statement_of_the_export_is_one_and_is_served_by_an_index() {
    let stack = Stack::start(servers_only()).await;
    for table in roles::tables() {
        let pool = stack.database().pool(table.service, 1).await.expect("a pool");
        sqlx::raw_sql("SET enable_seqscan = off; SET enable_sort = off").execute(&pool).await.expect("set");
        for held in table.holds.iter().chain(OWN) {
            for behind in [false, true] {
                let name = format!("{}_{behind}", held.kind);
                let types = if behind { "(uuid, bigint, jsonb)" } else { "(uuid, bigint)" };
                let prepare = format!("PREPARE {name} {types} AS {}", statement(held, behind));
                let prepared = sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&pool).await;
                prepared.unwrap_or_else(|error| panic!("{} {}: {error}", table.service, held.kind));
                let key = if behind { ", 1, NULL" } else { ", 1" };
                let explain = format!("EXPLAIN EXECUTE {name} ('0192f0c1-2345-7abc-8def-0123456789ab'{key})");
                let plan: Vec<(String,)> =
                    sqlx::query_as(sqlx::AssertSqlSafe(explain)).fetch_all(&pool).await.expect("a plan");
                let scanned = plan.iter().any(|(line,)| line.contains("Seq Scan"));
                assert!(!scanned, "{} {} reads a whole table: {plan:#?}", table.service, held.kind);
            }
        }
        pool.close().await;
    }
}
