//! The security feed: as it happens, for who may read the record, and from where one was.

use std::time::Duration;

use lectern_harness::{Actor, Stack, StackOptions};
use reqwest::Response;

/// One event.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    id: String,
    kind: String,
    data: serde_json::Value,
}

/// An open feed.
struct Feed {
    response: Response,
    read: String,
}

impl Feed {
    async fn open(stack: &Stack, who: &Actor, after: Option<&str>) -> Feed {
        let mut request = reqwest::Client::new()
            .get(format!("{}/api/v1/admin/security/stream", stack.http_url()))
            .bearer_auth(who.access_token().expect("signed in"));
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Feed { response, read: String::new() }
    }

    /// The next event; none when the feed ends.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                if let Some(told) = parse(&event) {
                    return Some(told);
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await;
            let chunk = chunk.expect("an event, or a sign of life").ok()??;
            self.read.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// The next event of a kind.
    async fn until(&mut self, kind: &str) -> Told {
        loop {
            let told = self.next().await.expect("the feed goes on");
            if told.kind == kind {
                return told;
            }
        }
    }
}

/// An event, if it is more than a comment.
fn parse(text: &str) -> Option<Told> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let data = serde_json::from_str(&field("data:")?).expect("JSON");
    Some(Told { id: field("id:")?, kind: field("event:")?, data })
}

async fn fails(stack: &Stack, email: &str) {
    let wrong = Actor::with_account(&stack.http_url(), "Guess", email, "Wrong-Horse-7!");
    wrong.logs_in().await.refused(401, "USER_1001");
}

#[tokio::test]
async fn the_security_feed_tells_what_happens_and_goes_on_where_one_was() {
    let stack = Stack::start(StackOptions::default()).await;
    let (auditor, alice) = (stack.auditor().await, stack.learner("alice").await);
    let mut feed = Feed::open(&stack, &auditor, None).await;
    fails(&stack, &alice.email).await;
    let first = feed.until("user.login_failed").await;
    assert_eq!(first.data["subject_id"], alice.user_id().await.as_str());
    assert!(!first.data.to_string().contains('@'), "personal data: {first:?}");
    drop(feed);

    // missed meanwhile
    fails(&stack, &alice.email).await;
    fails(&stack, &alice.email).await;
    let mut again = Feed::open(&stack, &auditor, Some(&first.id)).await;
    let second = again.until("user.login_failed").await;
    let third = again.until("user.login_failed").await;
    assert!(second != first && third != second);
    // a place in a stream that is gone: from now on
    let mut elsewhere = Feed::open(&stack, &auditor, Some("17-3")).await;
    fails(&stack, &alice.email).await;
    let newest = elsewhere.until("user.login_failed").await;
    assert_eq!(again.until("user.login_failed").await, newest);

    // it ends with the token
    auditor.logs_out().await.ok();
    fails(&stack, "nobody@example.org").await;
    while again.next().await.is_some() {}

    let path = "/admin/security/stream";
    alice.gets(path).await.refused(403, "COMMON_0013");
    stack.anonymous().gets(path).await.refused(401, "USER_1006");
    let admin = stack.admin().await;
    admin
        .asks(reqwest::Method::GET, path)
        .header("last-event-id", "yesterday")
        .send()
        .await
        .refused(400, "COMMON_0001");
}
