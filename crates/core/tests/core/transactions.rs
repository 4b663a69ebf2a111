//! Transactions that end where nobody wants them to.

use std::task::Poll;

use futures_util::poll;
use lectern_core::{App, Clock, pg};

use crate::world::{PATIENCE, World, course, no_faults, published};

/// One write of its own, outside any transaction. An abandoned begin may hold the connection a little longer.
async fn write(app: &App, number: i32) {
    let since = tokio::time::Instant::now();
    loop {
        let insert = sqlx::query("INSERT INTO courses.kept VALUES ($1)").bind(number);
        match insert.execute(app.pool()).await {
            Ok(_) => return,
            Err(sqlx::Error::PoolTimedOut) if since.elapsed() < PATIENCE => {}
            Err(error) => panic!("write {number}: {error}"),
        }
    }
}

/// sqlx #4385: a begin that is dropped halfway leaves its session in a transaction; the next user's writes "succeed" inside
/// it and vanish. With one connection every write follows right after a cancelled begin: nothing can heal it in between.
#[tokio::test]
async fn rel_s1_a_cancelled_begin_never_poisons_a_connection() {
    const ROUNDS: i32 = 400;
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    world.db.execute("CREATE TABLE courses.kept (n int)").await.expect("made");
    let url = world.db.url().to_owned();
    let database = pg::Database { url, schema: "courses", password: None, connections: 1 };
    let bus = world.bus("courses").await;
    let app = App::new("courses", database.pool().expect("a pool"), bus, Clock::default());
    for number in 0..ROUNDS {
        {
            // dropped after this many looks: while it waits, after BEGIN was sent, when it is answered, in the INSERT
            let fact = published(course(1), "cut short");
            let work = async {
                let mut tx = app.begin_internal().await.expect("begun");
                tx.announce(&fact, 1).await.expect("announced");
                std::future::pending::<()>().await;
            };
            tokio::pin!(work);
            for _ in 0..number % 40 {
                assert_eq!(poll!(work.as_mut()), Poll::Pending);
                tokio::task::yield_now().await;
            }
        }
        write(&app, number).await;
    }
    assert_eq!(
        world.value("SELECT count(*) FROM courses.kept").await,
        i64::from(ROUNDS),
        "acknowledged writes vanished"
    );
    assert_eq!(world.value("SELECT count(*) FROM courses.outbox").await, 0);
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    world.until(open, 0).await;
}
