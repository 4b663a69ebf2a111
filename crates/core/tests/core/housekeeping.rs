//! What core deletes after a while.

use lectern_core::Service;

use crate::world::{World, no_faults};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_nobody_goes_after_a_while_and_nobody_elses_is_looked_at_for_that() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    // of January 2021 by their ids: one in a thousand is about nobody; as many of today as there are people's
    let entries = "INSERT INTO courses.audit_private (entry_id, user_id, salt)
                   SELECT (lpad(to_hex(1610000000000 + n), 12, '0') || '7000' || repeat('8', 16))::uuid,
                          CASE WHEN n % 1000 = 0 THEN NULL ELSE gen_random_uuid() END, repeat('s', 16)::bytea
                   FROM generate_series(1, 20000) n
                   UNION ALL
                   SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + n), 12, '0') || '7000'
                           || repeat('8', 16))::uuid, NULL, repeat('s', 16)::bytea
                   FROM generate_series(1, 20000) n";
    world.db.execute(entries).await.expect("entries");
    world.db.execute("VACUUM ANALYZE courses.audit_private").await.expect("statistics");
    let mut statements = world.db.notes_statements().await.expect("plans");
    let app = world.app("courses").await;
    let running = world.run(&app, Service::new("courses")).await;
    world.until("SELECT count(*) FROM courses.audit_private WHERE user_id IS NULL", 20_000).await;
    assert_eq!(world.value("SELECT count(*) FROM courses.audit_private").await, 39_980);
    running.stop().await;
    let noted = statements.take().expect("the log");
    let deletions: Vec<_> =
        noted.iter().filter(|one| one.text.starts_with("DELETE FROM audit_private")).collect();
    assert!(!deletions.is_empty());
    for deletion in deletions {
        assert!(deletion.pages() < 100, "{} pages: {:#}", deletion.pages(), deletion.plan);
    }
}
