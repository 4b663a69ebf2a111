//! Two processes of one role: they share the load, one may be killed, each may be restarted, under load.

use std::time::Duration;

use lectern_harness::testing::RoleProcess;
use lectern_harness::{Stack, StackOptions};

use crate::load::{Load, Shot};

const LIST: &str = "svc.courses.v1.courses.list";
const UNDER_WAY: usize = 48;

fn shot(patience: Duration) -> Shot {
    Shot { subject: LIST, body: "{\"limit\":1}".into(), token: None, patience }
}

/// Everything but courses in one process, and two of courses beside it, with a course in the catalogue.
async fn stack() -> (Stack, [RoleProcess; 2]) {
    let options = StackOptions::default().processes(["gateway,identity,content"]).env("LOG_LEVEL", "warn");
    let stack = Stack::start(options).await;
    let two = [stack.start_roles("courses", &[]).await, stack.start_roles("courses", &[]).await];
    let operator = stack.operator().await;
    stack.published_course(&operator, "Rust").await;
    (stack, two)
}

/// Requests that a process has answered.
async fn answered(process: &RoleProcess) -> f64 {
    let labels = format!("subject=\"{LIST}\"");
    process.metric("service_requests_total", &labels).await.expect("metrics")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_load_and_when_one_is_killed_only_what_it_held_fails() {
    let (stack, [first, mut second]) = stack().await;
    let load = Load::on(&stack, shot(Duration::from_secs(3)), UNDER_WAY).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (one, other) = (answered(&first).await, answered(&second).await);
    let share = one / (one + other);
    assert!((0.3..0.7).contains(&share), "the load is not shared: {one} and {other}");

    second.kill9();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let tally = load.ends().await;
    println!(
        "kill -9 under {:.0} requests/s: {} ok, {} failed ({:?}), retries {:?}",
        tally.rate(),
        tally.ok,
        tally.failed.len(),
        tally.failed.first(),
        tally.retried
    );
    // each worker of the load has one request under way
    assert!(tally.failed.len() <= UNDER_WAY, "more failed than it held: {:?}", tally.failed);
    assert_eq!(tally.retried.len(), tally.failed.len(), "a retried read failed: {:?}", tally.failed);
}

/// CI restarts five times; `LECTERN_LONG=1` twenty times, as the requirement says.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_restarts_under_load_fail_no_request() {
    let restarts = if lectern_harness::environment::var("LECTERN_LONG").is_some() { 20 } else { 5 };
    let (stack, two) = stack().await;
    let mut two = std::collections::VecDeque::from(two);
    let load = Load::on(&stack, shot(Duration::from_secs(10)), UNDER_WAY).await;
    for _ in 0..restarts {
        let fresh = stack.start_roles("courses", &[]).await;
        two.push_back(fresh);
        let mut old = two.pop_front().expect("two of them");
        old.terminate().await.expect("an orderly end");
    }
    let tally = load.ends().await;
    println!(
        "{restarts} rolling restarts under {:.0} requests/s: {} ok, {} failed",
        tally.rate(),
        tally.ok,
        tally.failed.len()
    );
    assert!(
        tally.failed.is_empty(),
        "{} of {} failed: {:?}",
        tally.failed.len(),
        tally.ok,
        tally.failed.first()
    );
}
