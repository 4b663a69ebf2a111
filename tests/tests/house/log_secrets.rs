//! Nothing that is secret reaches a log, not even at the level `debug`, a span or a metric (architecture §10).

use std::collections::BTreeSet;

use lectern_harness::{Actor, Stack, StackOptions};
use serde_json::{Value, json};
use totp_rs::Totp;

use crate::spans::Collector;
use crate::way::{beats, clip};

/// Digits that nothing but the code has.
const CODE: &str = "904713";

/// All strings of a JSON document that are long enough to be a secret.
fn strings(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.len() >= 16 => drop(into.insert(text.clone())),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, into)),
        Value::Array(items) => items.iter().for_each(|value| strings(value, into)),
        _ => {}
    }
}

/// A way with every kind of secret in it; answers them.
async fn journey(stack: &Stack) -> BTreeSet<String> {
    let mut secrets = BTreeSet::new();
    let operator = stack.operator().await;
    let alice = stack.stranger("Alice");
    alice.registers().await.created();
    alice.verifies_email("000000").await.refused(400, "USER_1106");
    let letter = stack.mailbox().nth(&alice.email, 1).await.expect("a letter");
    assert_eq!(letter.code(6), Some(CODE));
    alice.verifies_email(CODE).await.ok();
    let wrong = Actor::with_account(&stack.http_url(), "Alice", &alice.email, "Wrong-Horse-7!");
    wrong.logs_in().await.refused(401, "USER_1001");
    let mut keep = |actor: &Actor| {
        secrets.extend([actor.email.clone(), actor.password.clone()]);
        secrets.extend(actor.access_token().into_iter().chain(actor.refresh_token()));
    };
    keep(&wrong);
    for _ in 0..2 {
        alice.logs_in().await.ok();
        keep(&alice);
    }
    let old = alice.refresh_token().expect("signed in");
    alice.refreshes().await.ok();
    keep(&alice);
    keep(&operator);
    alice.posts("/auth/register", json!({ "email": alice.email, "pass": "Never-Logged-1!" })).await.is(400);
    secrets.insert("Never-Logged-1!".to_owned());

    let course = operator.creates_course("Secrets").await.created().id();
    let asset = operator.uploads("lesson.mp4", clip(5000)).await.ok().text("/asset_id");
    let session = json!({ "title": "One", "duration_ms": 12_000, "asset_id": asset });
    let session = operator.adds_session_with(&course, session).await.created().id();
    operator.publishes(&course).await.ok();
    alice.enrols(&course).await.created();
    let player = alice.watches(&course, &session).await;
    player.streams(None).await.ok();
    player.sends_events(beats()).await.accepted();
    alice.streams(&player.media_url.replace("sig=", "sig=x"), None).await.is(403);
    let signature = player.media_url.split("sig=").nth(1).and_then(|rest| rest.split('&').next());
    secrets.extend(signature.map(str::to_owned));
    let plan = operator.creates_free_plan("Seconds", "PT2S").await.created().id();
    alice.subscribes(&plan, false).await.created();
    alice.refreshes_with(&old).await;
    alice.logs_in().await.ok();
    secrets.extend(alice.access_token().into_iter().chain(alice.refresh_token()));
    let machine = stack.lectern(&["token", "issue", "--name", "scanner"]).await.done().expect("issued");
    stack.bus().await.with_token(machine.clone()).asks("svc.courses.v1.courses.list", json!({})).await.ok();
    secrets.insert(machine);
    let secret = alice.posts("/users/me/totp", json!({})).await.ok();
    secrets.extend([secret.text("/secret"), secret.text("/otpauth_url")]);
    let app = Totp::from_url(secret.text("/otpauth_url")).expect("an otpauth URL");
    let first = crate::second_factor::code(&app, 0);
    alice.posts("/users/me/totp/confirm", json!({ "code": first })).await.ok();
    let codes = alice.posts("/users/me/recovery-codes", json!({})).await.ok();
    secrets.extend((0..10).map(|n| codes.text(&format!("/codes/{n}"))));
    secrets.insert(alice.posts("/auth/passkeys/login/options", json!({})).await.ok().text("/challenge"));
    alice.posts("/auth/reauthenticate", json!({ "code": "no-code" })).await.refused(401, "USER_1008");
    let code = codes.text("/codes/0");
    let proved = alice.posts("/auth/reauthenticate", json!({ "code": code })).await.ok();
    secrets.extend([proved.text("/access_token"), proved.text("/refresh_token")]);
    alice.carries(&proved.text("/access_token"));
    alice.deletes("/users/me/totp").await.ok();
    alice
        .posts("/auth/mfa/verify", json!({ "mfa_token": "A-Half-Signed-In-Token", "code": code }))
        .await
        .is(401);
    secrets.insert("A-Half-Signed-In-Token".to_owned());
    let proved = alice.posts("/auth/reauthenticate", json!({ "password": alice.password })).await.ok();
    secrets.extend([proved.text("/access_token"), proved.text("/refresh_token")]);
    secrets.extend(new_passwords(stack, &alice).await);
    alice.logs_out().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    secrets
}

/// A changed password, and one by a link; answers what must stay secret of it.
async fn new_passwords(stack: &Stack, alice: &Actor) -> [String; 4] {
    let (first, weak, second) = ("Blue-Kettle-42!", "kettle-and-teapot", "Green-Teapot-43!");
    let change = json!({ "current_password": alice.password, "new_password": first });
    alice.puts("/users/me/password", change).await.ok();
    alice.posts("/auth/password/forgot", json!({ "email": alice.email })).await.is(202);
    let mut token = None;
    for count in 2.. {
        let letter = stack.mailbox().nth(&alice.email, count).await.expect("a letter");
        token =
            letter.text.split_once("#token=").and_then(|(_, rest)| rest.lines().next().map(str::to_owned));
        if token.is_some() {
            break;
        }
    }
    let token = token.expect("a link");
    for (password, status) in [(weak, 400), (second, 200)] {
        let reset = json!({ "token": token, "new_password": password });
        alice.posts("/auth/password/reset", reset).await.is(status);
    }
    [first.to_owned(), weak.to_owned(), second.to_owned(), token]
}

#[tokio::test]
async fn identity_i14_no_password_token_code_key_or_address_stands_in_any_log_span_or_metric() {
    let collector = Collector::start().await;
    let options = StackOptions::default()
        .env("LOG_LEVEL", "debug")
        .env("EMAIL_VERIFICATION_FIXED_CODE", CODE)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let mut stack = Stack::start(options).await;
    let mut secrets = journey(&stack).await;
    let file = std::fs::read(&stack.env()["LECTERN_SECRETS_FILE"]).expect("the secrets");
    strings(&serde_json::from_slice(&file).expect("JSON"), &mut secrets);
    let mut signatures = BTreeSet::new();
    for token in secrets.iter().filter(|secret| secret.starts_with("eyJ")) {
        // a token without its signature is none; with it, it is
        signatures.extend(token.rsplit('.').next().map(str::to_owned));
    }
    secrets.extend(signatures);
    assert!(secrets.len() > 20, "only {} secrets are known", secrets.len());

    let mut logs: Vec<(String, String)> = vec![("lectern".to_owned(), stack.processes()[0].log())];
    for entry in std::fs::read_dir(stack.dir()).expect("the directory").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "log") {
            logs.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap_or_default()));
        }
    }
    assert!(logs[0].1.lines().count() > 50, "hardly a log: {}", logs[0].1);
    let scrape = stack.anonymous().gets("/metrics").await.ok();
    logs.push(("metrics".to_owned(), String::from_utf8_lossy(&scrape.body).into_owned()));
    // what stopping sends along, too
    stack.processes()[0].terminate().await.expect("an orderly end");
    assert!(collector.spans().len() > 50, "hardly a span");
    logs.push(("spans".to_owned(), String::from_utf8_lossy(&collector.bytes()).into_owned()));
    for (name, log) in &logs {
        assert_eq!(told(log, &secrets), None, "in {name}");
    }
    // the same look finds what the mailbox rightly has
    let mailbox = std::fs::read_to_string(stack.mailbox().file()).expect("letters");
    assert!(told(&mailbox, &secrets).is_some() && told(&mailbox, &BTreeSet::new()).is_some());
}

/// The first line that tells a secret.
fn told<'a>(log: &'a str, secrets: &BTreeSet<String>) -> Option<&'a str> {
    let hashes = ["$argon2", "BEGIN PRIVATE KEY"];
    log.lines().find(|line| {
        secrets.iter().any(|secret| line.contains(secret.as_str()))
            || hashes.iter().any(|hash| line.contains(hash))
            // six digits may also be the fraction of a second
            || line.match_indices(CODE).any(|(at, _)| !line[..at].ends_with('.'))
    })
}
