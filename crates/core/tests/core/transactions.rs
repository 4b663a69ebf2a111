//! Transactions that end where nobody wants them to.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::world::{World, course, no_faults, published};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rel_s1_a_cancelled_begin_never_poisons_a_connection() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    world.db.execute("CREATE TABLE courses.kept (n int)").await.expect("made");
    let app = world.app("courses").await;
    let mut tasks = JoinSet::new();
    for number in 0..400_u64 {
        let app = app.clone();
        tasks.spawn(async move {
            // cancelled anywhere: while it waits for a connection, in BEGIN, in the INSERT, before COMMIT
            let patience = Duration::from_micros(number * 37 % 4000);
            let work = async {
                let mut tx = app.begin_internal().await?;
                tx.announce(&published(course(number.into()), "cut short"), 1).await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                tx.commit_followed().await
            };
            tokio::time::timeout(patience, work).await.is_err()
        });
    }
    let mut cancelled = 0;
    while let Some(ended) = tasks.join_next().await {
        cancelled += usize::from(ended.expect("no panic"));
    }
    assert!(cancelled > 300, "{cancelled} cancelled");
    // every connection of the pool writes what others see at once
    for number in 0..100 {
        sqlx::query("INSERT INTO courses.kept VALUES ($1)")
            .bind(number)
            .execute(app.pool())
            .await
            .expect("written");
    }
    assert_eq!(world.value("SELECT count(*) FROM courses.kept").await, 100);
    assert_eq!(world.value("SELECT count(*) FROM courses.outbox").await, 0);
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    world.until(open, 0).await;
}
