//! What `lectern migrate` makes of a database.

use lectern::roles::ROLES;
use lectern_harness::{Stack, TestServers};
use serde_json::Value;

use crate::servers_only;

/// A URL of the same database for another sign-in.
fn as_role(url: &str, role: &str, password: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    format!("postgres://lectern_{role}:{password}@{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_sees_its_own_schema_only() {
    let stack = Stack::start(servers_only()).await;
    let secrets: Value =
        serde_json::from_slice(&std::fs::read(&stack.env()["LECTERN_SECRETS_FILE"]).expect("secrets"))
            .expect("JSON");
    let password = secrets["database"]["courses"].as_str().expect("a password");
    let url = as_role(stack.database().url(), "courses", password);
    let pool = sqlx::PgPool::connect(&url).await.expect("courses signs in");
    // what is allowed: its own rows, by the search path of the role
    sqlx::query("SELECT count(*) FROM outbox").execute(&pool).await.expect("its own outbox");
    sqlx::query("SELECT count(*) FROM courses.courses").execute(&pool).await.expect("its own table");
    for forbidden in [
        "SELECT count(*) FROM identity.users",
        "SELECT count(*) FROM enrollment.outbox",
        "UPDATE identity.outbox SET subject = ''",
        "CREATE TABLE courses.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "DROP TABLE courses.courses",
        "TRUNCATE courses.outbox",
        "SELECT * FROM courses._sqlx_migrations",
        "CREATE ROLE lectern_more",
    ] {
        let refused = sqlx::query(forbidden).execute(&pool).await.expect_err(forbidden);
        let code = refused.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert!(matches!(code.as_deref(), Some("42501" | "42P01")), "{forbidden}: {refused}");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schema_goes_up_down_and_up_again() {
    let stack = Stack::start(servers_only()).await;
    let database = TestServers::empty_database().await;
    let run = async |args: &[&str]| {
        let mut command = std::process::Command::new(lectern_binary(&stack));
        command.args(args).env("DATABASE_URL", database.url()).env("ENVIRONMENT", "test");
        command.env("LECTERN_SECRETS_FILE", &stack.env()["LECTERN_SECRETS_FILE"]);
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("started");
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (done, said) = run(&["migrate"]).await;
    assert!(done, "{said}");
    let (done, said) = run(&["migrate"]).await;
    assert!(done && said.lines().all(|line| line.starts_with("unchanged")), "{said}");
    for role in ROLES.iter().filter(|role| role.migrations.is_some()) {
        // down to the empty schema, one migration at a time
        let mut undone = 0;
        while run(&["migrate", "down", "--one", role.name]).await.0 {
            undone += 1;
            assert!(undone < 100, "{} never ends", role.name);
        }
        assert!(undone >= 2, "{}: core's and its own migrations can be undone, {undone} were", role.name);
        let left = format!(
            "SELECT count(*)::text FROM information_schema.tables WHERE table_schema = '{}' AND table_name <> '_sqlx_migrations'",
            role.name
        );
        assert_eq!(database.value(&left).await.expect("counted").as_deref(), Some("0"), "{}", role.name);
    }
    let (done, said) = run(&["migrate"]).await;
    assert!(done && said.lines().all(|line| line.starts_with("migrated")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_in_production_needs_a_word() {
    let stack = Stack::start(servers_only()).await;
    let mut command = std::process::Command::new(lectern_binary(&stack));
    command.args(["migrate", "down", "--one", "courses"]).envs(stack.env()).env("ENVIRONMENT", "production");
    let output = command.output().expect("started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--yes-lose-data"), "{said}");
    let there = stack.database().value("SELECT to_regclass('courses.courses')::text").await.expect("asked");
    assert_eq!(there.as_deref(), Some("courses.courses"));
}

/// The binary that the stack runs.
fn lectern_binary(_stack: &Stack) -> &'static str {
    env!("CARGO_BIN_EXE_lectern")
}
