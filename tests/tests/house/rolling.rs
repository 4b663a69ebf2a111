//! Two processes of one role: they share the load, one may be killed, each may be restarted, under load.

use std::collections::VecDeque;
use std::time::Duration;

use lectern_harness::testing::RoleProcess;
use lectern_harness::{Stack, StackOptions};
use tokio::sync::Mutex;

use crate::load::{Load, Shot};

const LIST: &str = "svc.courses.v1.courses.list";

/// One at a time: two of these tests at once would starve each other on two cores.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// As the requirement says, on a machine of one's own: `LECTERN_LONG=1` with a release build.
fn long() -> bool {
    lectern_harness::environment::var("LECTERN_LONG").is_some()
}

/// Requests under way. More than a few would only wait in front of the database connections of an unoptimised process,
/// on a busy machine too long.
fn under_way() -> usize {
    if long() { 32 } else { 8 }
}

fn shot() -> Shot {
    Shot {
        subject: LIST,
        body: "{\"limit\":1}".into(),
        token: None,
        patience: Duration::from_secs(10),
        pause: Duration::ZERO,
    }
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
    let _machine = MACHINE.lock().await;
    let (stack, [first, mut second]) = stack().await;
    let load = Load::on(&stack, Shot { patience: Duration::from_secs(3), ..shot() }, under_way()).await;
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
    assert!(tally.failed.len() <= under_way(), "more failed than it held: {:?}", tally.failed);
    assert_eq!(tally.retried.len(), tally.failed.len(), "a retried read failed: {:?}", tally.failed);
}

/// Restarts one after the other; answers what the load saw.
async fn rolls(restarts: usize, shot: Shot, under_way: usize) {
    let _machine = MACHINE.lock().await;
    let (stack, two) = stack().await;
    let mut two = VecDeque::from(two);
    let load = Load::on(&stack, shot, under_way).await;
    for _ in 0..restarts {
        let fresh = stack.start_roles("courses", &[]).await;
        two.push_back(fresh);
        let mut old = two.pop_front().expect("two of them");
        old.terminate().await.expect("an orderly end");
    }
    let tally = load.ends().await;
    let (rate, failed) = (tally.rate(), tally.failed.len());
    println!("{restarts} rolling restarts under {rate:.0} requests/s: {} ok, {failed} failed", tally.ok);
    assert!(failed == 0, "{failed} of {} failed: {:?}", tally.ok, tally.failed.first());
}

/// Five times; twenty times, as the requirement says, with `LECTERN_LONG=1`.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_restarts_under_load_fail_no_request() {
    rolls(if long() { 20 } else { 5 }, shot(), under_way()).await;
}

/// A slow stream of requests takes other ways out of the queue group than a fast one.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_restarts_under_a_light_load_fail_no_request() {
    rolls(if long() { 20 } else { 3 }, Shot { pause: Duration::from_millis(40), ..shot() }, 4).await;
}
