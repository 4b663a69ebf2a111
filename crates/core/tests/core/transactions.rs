//! Transactions that end where nobody wants them to.

use std::task::Poll;
use std::time::Duration;

use futures_util::poll;

use crate::world::{World, course, no_faults, published};

#[tokio::test]
async fn rel_s1_a_cancelled_begin_never_poisons_a_connection() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    world.db.execute("CREATE TABLE courses.kept (n int)").await.expect("made");
    let app = world.app("courses").await;
    let mut cancelled = 0;
    for number in 0..600_usize {
        // dropped after this many looks: while it waits for a connection, after BEGIN was sent, when it is answered
        let looks = number % 60;
        let begin = app.begin_internal();
        tokio::pin!(begin);
        let mut begun = None;
        for _ in 0..looks {
            if let Poll::Ready(tx) = poll!(begin.as_mut()) {
                begun = Some(tx.expect("a transaction"));
                break;
            }
            tokio::time::sleep(Duration::ZERO).await;
        }
        cancelled += usize::from(begun.is_none());
        if let Some(mut tx) = begun {
            // and further on: in the INSERT, before COMMIT
            let fact = published(course(number as u128), "cut short");
            let announce = tx.announce(&fact, 1);
            tokio::pin!(announce);
            for _ in 0..looks % 7 {
                if poll!(announce.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(cancelled > 100, "{cancelled} cancelled");
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
