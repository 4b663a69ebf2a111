//! What a running process writes down: one JSON object a line, named events, who and which request, no more than asked.

use lectern_harness::{Actor, Stack, StackOptions};
use reqwest::Method;
use serde_json::{Value, json};

const NEW: &str = "Blue-Kettle-42!";

/// Every line of the process, each a JSON object of its own.
fn lines(stack: &mut Stack) -> Vec<Value> {
    let log = stack.processes()[0].log();
    let objects =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|it| panic!("{it}: {line}")));
    let objects: Vec<Value> = objects.collect();
    for object in &objects {
        for field in ["ts", "level", "service", "version", "env", "target", "message"] {
            assert!(object[field].is_string(), "a line without {field}: {object}");
        }
    }
    objects
}

/// The one line of a request with this event.
#[track_caller]
fn line<'a>(lines: &'a [Value], request_id: &str, event: &str) -> &'a Value {
    let of_it = |line: &&Value| line["request_id"] == request_id && line["event"] == event;
    let found: Vec<&Value> = lines.iter().filter(of_it).collect();
    assert_eq!(found.len(), 1, "{event} of {request_id}: {found:#?}");
    found[0]
}

async fn asks(who: &Actor, id: &str, method: Method, path: &str, body: Value) -> lectern_harness::Answer {
    who.asks(method, path).header("x-request-id", id).json(body).send().await
}

#[tokio::test]
async fn i146_i148_i149_what_happens_to_an_account_is_an_event_with_its_request_and_its_user() {
    let options = StackOptions::default().env("LOG_FORMAT", "json").env("LOG_LEVEL", "info");
    let mut stack = Stack::start(options).await;
    let admin = stack.admin().await;
    let admin_id = admin.user_id().await;
    let ann = stack.stranger("Ann");
    let account = json!({ "email": ann.email, "password": ann.password, "name": "Ann" });
    let post = async |id: &str, path: &str, body: Value| asks(&ann, id, Method::POST, path, body).await;
    let id = post("r-register", "/auth/register", account).await.created().id();
    let code = json!({ "email": ann.email, "code": "123456" });
    post("r-verify", "/auth/verify-email", code).await.ok();
    let credentials = json!({ "email": ann.email, "password": ann.password });
    let wrong = json!({ "email": ann.email, "password": "Wrong-Horse-7!" });
    post("r-wrong", "/auth/login", wrong).await.refused(401, "USER_1001");
    let nobody = json!({ "email": "nobody@example.org", "password": "Wrong-Horse-7!" });
    post("r-nobody", "/auth/login", nobody).await.refused(401, "USER_1001");
    let pair = post("r-login", "/auth/login", credentials).await.ok();
    ann.carries(&pair.text("/access_token"));
    asks(&ann, "r-update", Method::PUT, "/users/me", json!({ "name": "Ann Other" })).await.ok();
    // what changes nothing is no event
    asks(&ann, "r-same", Method::PUT, "/users/me", json!({ "name": "Ann Other" })).await.ok();
    let change = json!({ "current_password": ann.password, "new_password": NEW });
    asks(&ann, "r-password", Method::PUT, "/users/me/password", change).await.ok();
    asks(&ann, "r-logout", Method::POST, "/auth/logout", json!({})).await.ok();
    let role = json!({ "role": "moderator" });
    asks(&admin, "r-role", Method::PUT, &format!("/users/{id}/role"), role).await.ok();
    let other = json!({ "email": "made@example.org", "name": "Made Up", "password": NEW });
    let made = asks(&admin, "r-made", Method::POST, "/admin/users", other).await.created().id();
    asks(&admin, "r-delete", Method::DELETE, &format!("/users/{made}"), json!({})).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;

    let lines = lines(&mut stack);
    for (request_id, event, level, who, about) in [
        ("r-register", "user_created", "info", Some(&id), None),
        ("r-wrong", "user_login_failed", "warn", Some(&id), None),
        ("r-nobody", "user_login_failed", "warn", None, None),
        ("r-login", "user_login_success", "info", Some(&id), None),
        ("r-update", "user_updated", "info", Some(&id), None),
        ("r-password", "user_password_changed", "info", Some(&id), None),
        ("r-logout", "user_logout", "info", Some(&id), None),
        ("r-role", "user_role_changed", "info", Some(&admin_id), Some(&id)),
        ("r-made", "user_created", "info", Some(&admin_id), Some(&made)),
        ("r-delete", "user_deleted", "info", Some(&admin_id), Some(&made)),
    ] {
        let line = line(&lines, request_id, event);
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(line["user_id"].as_str(), who.map(String::as_str), "{line}");
        assert_eq!(line["about"].as_str(), about.map(String::as_str), "{line}");
    }
    assert_eq!(line(&lines, "r-wrong", "user_login_failed")["reason"], "invalid_password");
    assert_eq!(line(&lines, "r-nobody", "user_login_failed")["reason"], "user_not_found");
    assert!(line(&lines, "r-login", "user_login_success")["sid"].is_string());
    assert!(!lines.iter().any(|line| line["request_id"] == "r-same" && line["event"] == "user_updated"));
    // one request is one trace, in the gateway and in the service
    let traces = |id: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["request_id"] == id).map(|line| &line["trace_id"]).collect()
    };
    assert!(traces("r-login").len() >= 2, "{:?}", traces("r-login"));
    assert!(traces("r-login").iter().all(|trace| *trace == traces("r-login")[0] && trace.is_string()));
    let text = stack.processes()[0].log();
    for personal in [ann.email.as_str(), "nobody@example.org", "made@example.org", "Ann Other"] {
        assert!(!text.contains(personal), "{personal} stands in the log");
    }
}

#[tokio::test]
async fn i154_every_request_at_the_gateway_and_its_answer_is_one_line() {
    let options = StackOptions::default().env("LOG_FORMAT", "json").env("LOG_LEVEL", "info");
    let mut stack = Stack::start(options).await;
    let ann = stack.learner("Ann").await;
    let ann_id = ann.user_id().await;
    let get =
        async |id: &str, path: &str| ann.asks(Method::GET, path).header("x-request-id", id).send().await;
    get("r-me", "/users/me").await.ok();
    get("r-forbidden", "/users").await.refused(403, "COMMON_0013");
    get("r-course", "/courses/0192f0c1-2345-7abc-8def-0123456789ab").await.is(404);
    get("r-nowhere", "/no/such/path").await.refused(404, "COMMON_0006");
    get("r-media", "/media/0192f0c1-2345-7abc-8def-0123456789ab/a.mp4?sig=x").await.is(403);
    ann.asks(Method::DELETE, "/auth/login").header("x-request-id", "r-method").send().await.is(405);
    ann.asks(Method::HEAD, "/uploads/0192f0c1-2345-7abc-8def-0123456789ab")
        .header("x-request-id", "r-upload")
        .header("tus-resumable", "1.0.0")
        .send()
        .await
        .is(404);
    get("r-feed", "/admin/security/stream").await.refused(403, "COMMON_0013");
    let stranger = stack.anonymous();
    stranger.asks(Method::GET, "/users/me").header("x-request-id", "r-stranger").send().await.is(401);
    // without an id of the client's the one in the answer is the one in the log
    let unnamed = ann.gets("/media/0192f0c1-2345-7abc-8def-0123456789ab/b.mp4").await;
    let given = unnamed.header("x-request-id").to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;

    let lines = lines(&mut stack);
    for (id, method, route, status, user) in [
        ("r-me", "GET", "/api/v1/users/me", 200, true),
        ("r-forbidden", "GET", "/api/v1/users", 403, true),
        ("r-course", "GET", "/api/v1/courses/{id}", 404, true),
        ("r-nowhere", "any", "none", 404, false),
        ("r-method", "any", "none", 405, false),
        ("r-media", "GET", "/media/{asset}/{file}", 403, false),
        ("r-upload", "HEAD", "/api/v1/uploads/{id}", 404, true),
        ("r-feed", "GET", "/api/v1/admin/security/stream", 403, true),
        ("r-stranger", "GET", "/api/v1/users/me", 401, false),
        (given.as_str(), "GET", "/media/{asset}/{file}", 403, false),
    ] {
        let line = line(&lines, id, "http_request");
        assert_eq!((&line["method"], &line["route"]), (&json!(method), &json!(route)), "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["ms"].is_u64(), "{line}");
        assert_eq!(line["user_id"].as_str(), user.then_some(ann_id.as_str()), "{line}");
    }
    // what was asked for by name stands in no line: a path may be anything
    let text = stack.processes()[0].log();
    assert!(!text.contains("no/such/path") && !text.contains("sig=x"));
}

#[tokio::test]
async fn c15_the_record_and_the_security_feed_do_not_depend_on_the_level_of_the_log() {
    let mut stack = Stack::start(StackOptions::default().env("LOG_LEVEL", "error")).await;
    let (auditor, ann) = (stack.auditor().await, stack.learner("Ann").await);
    let id = ann.user_id().await;
    let wrong = Actor::with_account(&stack.http_url(), "Guess", &ann.email, "Wrong-Horse-7!");
    wrong.logs_in().await.refused(401, "USER_1001");
    ann.logs_out().await.ok();
    for event in ["user.created", "user.logged_in", "user.logged_out"] {
        let path = format!("/admin/audit?event_type={event}&user_id={id}");
        let found = async || auditor.gets(&path).await.ok();
        crate::shared::until(std::time::Duration::from_secs(20), found, |it| it.items().len() == 1).await;
    }
    let verified = auditor.gets("/admin/audit/verify").await.ok();
    assert_eq!(verified.at("/ok"), true, "{verified}");
    let told = "SELECT count(*) FROM (SELECT id, subject FROM identity.outbox UNION
        SELECT id, subject FROM identity.outbox_archive) AS facts WHERE subject LIKE 'evt.identity.v1.user.login_failed.%'";
    assert_eq!(stack.database().value(told).await.expect("read").as_deref(), Some("1"));
    assert_eq!(stack.processes()[0].log().lines().find(|line| line.contains("signed")), None);
}
