//! What a role does regularly, unasked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lectern_core::{App, Service};

use crate::world::{World, eventually, no_faults};

#[tokio::test]
async fn a_sweep_that_failed_runs_again_within_seconds_however_seldom_it_runs_else() {
    let _faults = no_faults().await;
    let world = World::new(&["courses"]).await;
    let app = world.app("courses").await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let service = Service::new("courses").sweep("fails_once", Duration::from_secs(3600), move |_: App| {
        let before = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            anyhow::ensure!(before > 0, "the database is busy");
            Ok(())
        }
    });
    let running = world.run(&app, service).await;
    eventually("it runs again", || async { tries.load(Ordering::SeqCst) == 2 }).await;
    running.stop().await;
    assert_eq!(tries.load(Ordering::SeqCst), 2, "then an hour later");
}
