//! A service that is silent is not waited for by everybody (I-116), and one that is merely slow or refuses is not given up.

use std::time::{Duration, Instant};

use lectern_harness::servers::Proxy;
use lectern_harness::testing::RoleProcess;
use lectern_harness::{Actor, Stack, StackOptions};
use tokio::task::JoinSet;

/// 0 closed, 1 half open, 2 open.
async fn state(gateway: &RoleProcess) -> f64 {
    gateway.metric("gateway_circuit_state", r#"service="courses""#).await.expect("the metric")
}

async fn becomes(gateway: &RoleProcess, wanted: f64) -> Duration {
    let begun = Instant::now();
    while state(gateway).await != wanted {
        assert!(begun.elapsed() < Duration::from_secs(20), "not {wanted} but {}", state(gateway).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// That many looks at the catalogue at once: their statuses, and the longest time of one.
async fn looks(anyone: &Actor, count: usize) -> (Vec<u16>, Duration) {
    let mut looks = JoinSet::new();
    for _ in 0..count {
        let anyone = anyone.clone();
        looks.spawn(async move {
            let begun = Instant::now();
            (anyone.browses_courses().await.status, begun.elapsed())
        });
    }
    let all = looks.join_all().await;
    (all.iter().map(|(status, _)| *status).collect(), all.iter().map(|(_, took)| *took).max().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn i116_a_frozen_service_is_refused_at_once_until_it_answers_and_the_others_go_on() {
    let mut stack = Stack::start(StackOptions::default().processes(["gateway,identity", "courses"])).await;
    let anyone = stack.anonymous();
    let alice = stack.learner("Alice").await;
    anyone.browses_courses().await.ok();
    stack.processes()[1].freeze();
    let (statuses, waited) = looks(&anyone, 6).await;
    assert!(statuses.iter().all(|status| matches!(status, 503 | 504)), "{statuses:?}");
    let opened = becomes(&stack.processes()[0], 2.0).await;
    let (statuses, took) = looks(&anyone, 50).await;
    println!("6 waited {waited:?}, open {opened:?} later; then 50 refused within {took:?}");
    assert_eq!(statuses, [503; 50]);
    assert!(took < Duration::from_millis(700), "{took:?}");
    let refused = anyone.browses_courses().await.refused(503, "COMMON_0010");
    assert_eq!(refused.header("retry-after"), "1");
    alice.looks_at_self().await.ok();
    let refused = stack.processes()[0].metric("gateway_circuit_refused_total", r#"service="courses""#).await;
    assert_eq!(refused.expect("the metric"), 51.0);

    stack.processes()[1].thaw();
    let begun = Instant::now();
    while anyone.browses_courses().await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "refused for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("answered {:?} after it was awake", begun.elapsed());
    becomes(&stack.processes()[0], 0.0).await;
    assert_eq!(looks(&anyone, 20).await.0, [200; 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i116_a_killed_service_opens_its_circuit_and_its_successor_closes_it() {
    let mut stack = Stack::start(StackOptions::default().processes(["gateway,identity", "courses"])).await;
    let anyone = stack.anonymous();
    stack.processes()[1].kill9();
    for _ in 0..5 {
        anyone.browses_courses().await.refused(503, "COMMON_0010");
    }
    becomes(&stack.processes()[0], 2.0).await;
    let _successor = stack.start_roles("courses", &[]).await;
    let begun = Instant::now();
    while anyone.browses_courses().await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "refused for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("answered {:?} after the successor was ready", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn i116_a_service_that_says_that_it_is_not_ready_is_not_silent() {
    let stack = Stack::start(StackOptions::default().processes(["gateway,identity"])).await;
    let anyone = stack.anonymous();
    let database = stack.database().url().to_owned();
    let address = database.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let door = Proxy::to(address.parse().expect("an address")).await.expect("a door");
    let courses = stack.start_roles("courses", &[("DATABASE_URL", &door.in_url(&database))]).await;
    anyone.browses_courses().await.ok();
    door.shut();
    let begun = Instant::now();
    while courses.readiness().await == Some(200) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it stays in its queue groups");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut stack = stack;
    for _ in 0..30 {
        anyone.browses_courses().await.refused(503, "COMMON_0010");
        assert_eq!(state(&stack.processes()[0]).await, 0.0, "open, though it answers when it is asked");
    }
    door.open();
    while anyone.browses_courses().await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "refused for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i116_refusals_and_one_frozen_process_of_two_open_nothing() {
    let mut stack =
        Stack::start(StackOptions::default().processes(["gateway,identity", "courses", "courses"])).await;
    let anyone = stack.anonymous();
    for _ in 0..20 {
        anyone.gets("/courses/01990000-0000-7000-8000-000000000000").await.refused(404, "COURSE_2001");
    }
    stack.processes()[2].freeze();
    let (statuses, took) = looks(&anyone, 30).await;
    println!("30 looks with one of two frozen: {statuses:?} within {took:?}");
    let opened = stack.processes()[0].metric("gateway_circuit_opened_total", r#"service="courses""#).await;
    assert_eq!(opened.expect("the metric"), 0.0);
    assert!(statuses.contains(&200), "{statuses:?}");
}
