//! Ten times the people, and no statement looks at more than three times the pages.

mod round;

use std::collections::{BTreeMap, BTreeSet};

use lectern_harness::testing::{Statement, Statements};
use lectern_subjects::{Effect, identity};

use crate::world::World;
use round::Round;

const SMALL: u32 = 10_000;
const LARGE: u32 = 100_000;
/// No statement may look at more times the pages.
const MOST: u64 = 3;
/// As many pages may a statement look at that the smaller number of people did not happen to need.
const FEW: u64 = 100;
/// How PostgreSQL plans a prepared statement: for its values, or once for all of them, as it may after five times.
const PLANS: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

/// Statements that grow with the number of people, and why they may.
const ALLOWED: [(&str, &str); 3] = [
    ("UPDATE identity.counts", "counts everybody, once in 15 s in one of all processes"),
    ("DELETE FROM idempotency WHERE actor", "an erasure looks into the answers of one day"),
    (
        r#"SELECT id AS "id!: UserId", email AS "email!""#,
        "staff who search for a start that many have, newest first, wait for all that have it",
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
    let world = World::prepare(&[("ENABLE_TWO_FACTOR_AUTH", "true"), ("PASSKEYS_ENABLED", "true")]).await;
    let mut statements = world.db.notes_statements().await.expect("plans");
    let mut asked = BTreeSet::new();

    fill(&world, 1, SMALL).await;
    let small_rows = rows(&world).await;
    let (small, small_times) = measure(&world, &mut statements, 0, SMALL, &mut asked).await;
    fill(&world, SMALL + 1, LARGE).await;
    let large_rows = rows(&world).await;
    let (large, large_times) = measure(&world, &mut statements, 1, LARGE, &mut asked).await;

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
    let mut allowed: BTreeSet<&str> = ALLOWED.iter().map(|(start, _)| *start).collect();
    for (text, now) in &large {
        let before = wrong.len();
        let whole: Vec<&str> =
            now.read_whole.iter().map(String::as_str).filter(|table| grown.contains(table)).collect();
        if !whole.is_empty() {
            wrong.push(format!("reads {whole:?} from end to end: {text}"));
        }
        match small.get(text) {
            Some(then) if now.pages > MOST * then.pages => {
                wrong.push(format!("{} pages were {}: {text}", now.pages, then.pages));
            }
            Some(_) => {}
            // such as a letter tried again: a clock decides whether it happens
            None if now.pages > FEW => wrong.push(format!("{} pages, and not seen before: {text}", now.pages)),
            None => {}
        }
        if let Some((start, _)) = ALLOWED.iter().find(|(start, _)| text.starts_with(start)) {
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
    println!("{} statements of {} requests", large.len(), asked.len());
    assert!(large.len() > 100, "only {} statements were noted", large.len());
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

/// Rows by table, as the statistics have them.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    world.db.execute("VACUUM ANALYZE").await.expect("statistics");
    let sql = "SELECT jsonb_object_agg(relname, reltuples::bigint) FROM pg_class
               WHERE relkind = 'r' AND relnamespace = 'identity'::regnamespace";
    let text = world.db.value(sql).await.expect("statistics").expect("tables");
    serde_json::from_str(&text).expect("numbers")
}
