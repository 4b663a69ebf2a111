//! A process that is told to stop finishes what it began, whoever told it.

use std::process::Command;
use std::time::{Duration, Instant};

use lectern_harness::{Stack, StackOptions};
use serde_json::json;

const LIST: &str = "svc.courses.v1.courses.list";

#[tokio::test(flavor = "multi_thread")]
async fn i118_sigterm_and_sigint_end_a_process_when_what_came_to_it_is_answered() {
    let stack = Stack::start(StackOptions::default().processes(["gateway,identity,content"])).await;
    for signal in ["TERM", "INT"] {
        // the answer is held back for ten seconds
        let slow = [("LECTERN_FAULTS", "host.before_reply=pause@1")];
        let mut courses = stack.start_roles("courses", &slow).await;
        let bus = stack.bus().await;
        let under_way = tokio::spawn({
            let bus = bus.clone();
            async move { bus.asks(LIST, json!({})).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = Instant::now();
        let sent = Command::new("kill").args([format!("-{signal}"), courses.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} was not sent");
        let leaves = async || courses.readiness().await != Some(200);
        while !leaves().await {
            assert!(told.elapsed() < Duration::from_secs(5), "{signal}: still ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // one that comes while it leaves is answered, or refused at once by the broker: never left waiting
        let new = stack.anonymous().browses_courses().await;
        assert!(
            matches!(new.status, 200 | 503) && told.elapsed() < Duration::from_secs(5),
            "{signal}: {new}"
        );
        under_way.await.expect("joined").ok();
        let ended = courses.ends_within(Duration::from_secs(31)).await.expect("it goes within 30 s");
        assert!(ended.success(), "{signal}: {ended}");
        stack.anonymous().browses_courses().await.refused(503, "COMMON_0010");
        println!("SIG{signal}: ended {:?} after it was told", told.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i117_a_service_that_says_nothing_is_504_after_five_seconds_and_ten_where_an_account_is_made() {
    let others = "gateway,courses,content";
    let stack = Stack::start(StackOptions::default().processes([others])).await;
    let mut identity = stack.start_roles("identity", &[]).await;
    let admin = stack.admin().await;
    admin.looks_at_self().await.ok();
    identity.freeze();
    let began = Instant::now();
    let made = json!({ "email": "made@example.org", "name": "Made Up", "password": "Correct-Horse-7!" });
    let look = async { (admin.looks_at_self().await, began.elapsed()) };
    let make = async { (admin.posts("/admin/users", made).await, began.elapsed()) };
    let ((looked, after), (created, later)) = tokio::join!(look, make);
    looked.refused(504, "COMMON_0009");
    assert!((4.9..6.5).contains(&after.as_secs_f64()), "{after:?}");
    let created = created.refused(504, "COMMON_0009");
    assert_eq!(created.at("/details/outcome"), "unknown");
    assert!((9.9..11.5).contains(&later.as_secs_f64()), "{later:?}");
    identity.thaw();
}
