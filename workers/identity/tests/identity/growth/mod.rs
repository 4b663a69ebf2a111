//! Ten times the people, and no statement looks at more than three times the pages.

mod round;

use std::collections::{BTreeMap, BTreeSet};

use lectern_harness::testing::{Statement, Statements};
use lectern_subjects::{Effect, identity};

use crate::world::World;
use lectern_workbench::idp::Idp;
use round::Round;

const SMALL: u32 = 10_000;
const LARGE: u32 = 100_000;
/// No statement may look at more times the pages.
const MOST: u64 = 3;
/// As many pages are few however many they were: a change of one row that finds no place beside it writes to every index of
/// its table. The smallest table that grows has twice as many.
const FEW: u64 = 100;
/// How PostgreSQL plans a prepared statement: for its values, or once for all of them, as it may after five times.
const PLANS: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

/// However many; the statement goes by something else than people.
const ANY: u64 = u64::MAX;
/// Staff who search for a start that very many have look through 5000 accounts at a time, whoever else is there.
const WINDOW: u64 = 5 * 5000;

/// Statements that may look at more pages than with fewer people, at how many, and why.
const ALLOWED: [(&str, u64, &str); 6] = [
    ("UPDATE identity.counts", ANY, "counts everybody, once in 15 s in one of all processes"),
    ("DELETE FROM idempotency WHERE actor", ANY, "an erasure looks into the answers of one day"),
    (r#"SELECT id AS "id: UserId" FROM identity.users WHERE id = ANY"#, WINDOW, "a window of a search"),
    (r#"SELECT u.id AS "id: UserId", u.email"#, WINDOW, "a window of a search"),
    (
        r#"SELECT p.sid AS "sid: AuthSessionId" FROM identity.pending_revocations"#,
        ANY,
        "an order to end everybody's sessions tells what it ended, and deletes what it told",
    ),
    (
        r#"SELECT sid AS "sid!: AuthSessionId" FROM identity.auth_sessions WHERE revoked_at > $1 UNION"#,
        ANY,
        "a bucket that was made anew is told, once, all that is void and not told yet",
    ),
];

/// What was seen of one statement with a number of people.
#[derive(Default)]
struct Seen {
    /// The most pages that it looked at.
    pages: u64,
    read_whole: BTreeSet<String>,
}

type Measured = BTreeMap<String, Seen>;

#[tokio::test(flavor = "multi_thread")]
async fn identity_i20_ten_times_the_people_cost_no_statement_more_than_three_times_the_pages() {
    let idp = Idp::start().await;
    let mut settings = idp.settings();
    settings.extend([("ENABLE_TWO_FACTOR_AUTH", "true"), ("PASSKEYS_ENABLED", "true")]);
    let world = World::prepare(&settings).await;
    let mut statements = world.db.notes_statements().await.expect("plans");
    let mut asked = BTreeSet::new();

    fill(&world, 1, SMALL).await;
    let small_rows = rows(&world).await;
    let (small, small_times) = measure(&world, &mut statements, 0, SMALL, &mut asked).await;
    fill(&world, SMALL + 1, LARGE).await;
    let large_rows = rows(&world).await;
    let (mut large, large_times) = measure(&world, &mut statements, 1, LARGE, &mut asked).await;

    let reads = identity::REQUESTS.iter().filter(|request| request.effect == Effect::Read);
    let missing: Vec<_> = reads.map(|request| request.subject).filter(|read| !asked.contains(read)).collect();
    assert!(missing.is_empty(), "reads that were not asked: {missing:?}");

    let grown: BTreeSet<&str> = large_rows
        .iter()
        .filter(|(table, rows)| **rows >= 1000 && **rows >= 5 * small_rows[*table])
        .map(|(table, _)| table.as_str())
        .collect();
    assert!(grown.len() >= 20, "only these tables grew: {grown:?}");
    let mut wrong = Vec::new();
    let noted = large.len();
    assert!(noted > 100, "only {noted} statements were noted");
    // those that nobody asked for here, as PostgreSQL would carry them out
    for statement in written(&world).await {
        let seen = large.entry(statement.text.clone()).or_default();
        seen.read_whole.extend(statement.read_whole());
    }
    let mut allowed: BTreeSet<&str> = ALLOWED.iter().map(|(start, ..)| *start).collect();
    for (text, now) in &large {
        let before = wrong.len();
        let whole: Vec<&str> =
            now.read_whole.iter().map(String::as_str).filter(|table| grown.contains(table)).collect();
        if !whole.is_empty() {
            wrong.push(format!("reads {whole:?} from end to end: {text}"));
        }
        // what was not seen with fewer people a clock decides, such as a letter that is tried again
        let then = small.get(text).map_or(0, |then| then.pages);
        if now.pages > FEW.max(MOST * then) {
            wrong.push(format!("{} pages were {then}: {text}", now.pages));
        }
        let may = |(start, pages, _): &&(&str, u64, &str)| text.starts_with(start) && now.pages <= *pages;
        if let Some((start, ..)) = ALLOWED.iter().find(may) {
            if wrong.len() > before {
                allowed.remove(start);
            }
            wrong.truncate(before);
        }
    }
    assert!(allowed.is_empty(), "these need no exception: {allowed:?}");
    // figures to look at; a time never fails a test
    for (subject, before) in &small_times {
        println!("{subject}: {before:.1} ms, then {:.1} ms", large_times[subject]);
    }
    println!("{noted} statements of {} requests; {} are written down", asked.len(), large.len());
    assert!(wrong.is_empty(), "{} of {} statements:\n{}", wrong.len(), large.len(), wrong.join("\n"));
}

/// People `from` to `to`.
async fn fill(world: &World, from: u32, to: u32) {
    let sql = include_str!("users.sql").replace(":from", &from.to_string()).replace(":to", &to.to_string());
    world.db.execute(&format!("{} {sql}", Statements::OFF)).await.expect("people");
}

/// Asks everything once planned for the values and once for any values, while what is due is done; the worst counts.
async fn measure(
    world: &World,
    statements: &mut Statements,
    size: usize,
    people: u32,
    asked: &mut BTreeSet<&'static str>,
) -> (Measured, BTreeMap<&'static str, f64>) {
    let (mut measured, mut times) = (Measured::new(), BTreeMap::new());
    for (index, plans) in PLANS.iter().enumerate() {
        let number = 2 * size + index;
        let due = include_str!("due.sql").replace(":round", &number.to_string());
        world.db.execute(&format!("{} {due}", Statements::OFF)).await.expect("what is due");
        world.db.execute("VACUUM ANALYZE").await.expect("statistics");
        let setting = format!("ALTER DATABASE {} SET plan_cache_mode = {plans}", world.db.name());
        world.db.execute(&setting).await.expect("a setting");
        statements.take().expect("the log");
        world.run_identity().await;
        world.is_ready().await;
        let round = Round::play(world, number, people).await;
        world.stops_identity().await;
        for statement in statements.take().expect("the log") {
            note(&mut measured, &statement);
        }
        asked.extend(round.asked);
        times.extend(round.times);
    }
    (measured, times)
}

fn note(measured: &mut Measured, statement: &Statement) {
    let seen = measured.entry(statement.text.clone()).or_default();
    seen.pages = seen.pages.max(statement.pages());
    seen.read_whole.extend(statement.read_whole());
}

/// Every statement of identity's code, as sqlx noted it when it was compiled, with the plan for any values. Not carried out.
async fn written(world: &World) -> Vec<Statement> {
    let notes = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.sqlx")).expect("sqlx's notes");
    let mut connection = world.db.connect().await.expect("a connection");
    let mut run = async |sql: String| {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        sqlx::Executor::fetch_optional(&mut connection, sql).await
    };
    let prepare = format!("{} SET plan_cache_mode = force_generic_plan", Statements::OFF);
    run(prepare).await.expect("settings");
    let mut written = Vec::new();
    for note in notes {
        let note = std::fs::read(note.expect("a file").path()).expect("a note");
        let note: serde_json::Value = serde_json::from_slice(&note).expect("JSON");
        let text = note["query"].as_str().expect("a statement");
        // those of other services have tables that are not here; a lock has no plan
        if !text.contains("identity.") || text.starts_with("LOCK") {
            continue;
        }
        run(format!("PREPARE noted AS {text}")).await.unwrap_or_else(|error| panic!("{error}: {text}"));
        let values = note["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
        let values =
            if values == 0 { String::new() } else { format!("({})", vec!["NULL"; values].join(", ")) };
        let explained = run(format!("EXPLAIN (FORMAT JSON) EXECUTE noted{values}")).await;
        let row = explained.unwrap_or_else(|error| panic!("{error}: {text}")).expect("a plan");
        let plan: serde_json::Value = sqlx::Row::get(&row, 0);
        run("DEALLOCATE noted".to_owned()).await.expect("forgotten");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        written.push(Statement { text, plan: plan[0]["Plan"].clone() });
    }
    assert!(written.len() > 150, "only {} statements are noted in .sqlx", written.len());
    written
}

/// Rows by table, as the statistics have them.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    world.db.execute("VACUUM ANALYZE").await.expect("statistics");
    let sql = "SELECT jsonb_object_agg(relname, reltuples::bigint) FROM pg_class
               WHERE relkind = 'r' AND relnamespace = 'identity'::regnamespace";
    let text = world.db.value(sql).await.expect("statistics").expect("tables");
    serde_json::from_str(&text).expect("numbers")
}
