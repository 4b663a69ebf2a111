//! The key of what is sealed is changed while people work, and then it is gone (I-086).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lectern_harness::testing::RoleProcess;
use lectern_harness::{Actor, Stack, StackOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use totp_rs::Totp;

/// 32 bytes in base64.
const NEW_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ALL_SEALED: [(&str, &str); 9] = [
    ("users", "phone_sealed"),
    ("users", "business_number_sealed"),
    ("credentials", "secret_sealed"),
    ("email_codes", "address_sealed"),
    ("mail_queue", "sealed"),
    ("password_reset_requests", "sealed"),
    ("challenges", "state_sealed"),
    ("refresh_tokens", "grace_pair_sealed"),
    ("signing_keys", "private_sealed"),
];

/// The sealed values of each column, and the ids of the keys that hold them.
async fn sealed(stack: &Stack) -> Vec<(&'static str, i64, String)> {
    let mut all = Vec::new();
    for (table, column) in ALL_SEALED {
        let count = format!("SELECT count({column}) FROM identity.{table}");
        let ids = format!(
            "SELECT string_agg(DISTINCT encode(substring({column} FROM 2 FOR 8), 'hex'), ' ') FROM identity.{table}"
        );
        let count = stack.database().value(&count).await.expect("counted").expect("a number");
        let ids = stack.database().value(&ids).await.expect("read").unwrap_or_default();
        all.push((table, count.parse().expect("a number"), ids));
    }
    all
}

/// People who sign in, change their profile, refresh and look at themselves; what was refused.
fn works(person: Actor, stop: Arc<AtomicBool>) -> JoinHandle<(u32, Vec<String>)> {
    tokio::spawn(async move {
        let (mut done, mut refused) = (0, Vec::new());
        let mut round = 0;
        while !stop.load(Ordering::SeqCst) {
            round += 1;
            let number = format!("+8210{round:08}");
            let answers = [
                person.logs_in().await,
                person.patches("/users/me", json!({ "phone": number, "business_number": number })).await,
                person.refreshes().await,
                person.gets("/api/v2/users/me").await,
            ];
            for answer in &answers {
                done += 1;
                if answer.status != 200 {
                    refused.push(answer.to_string());
                }
            }
            if answers[3].status == 200 && answers[3].json["phone"] != json!(number) {
                refused.push(format!("not {number} but {}", answers[3].json));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        (done, refused)
    })
}

fn code(app: &Totp) -> String {
    app.generate(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).to_string()
}

async fn left(process: &RoleProcess) -> f64 {
    process.metric("user_sealed_under_old_keys", "").await.expect("the metric")
}

#[tokio::test(flavor = "multi_thread")]
async fn i086_a_key_is_replaced_under_load_and_nothing_needs_the_old_one_afterwards() {
    let stack = Stack::start(StackOptions::default().processes(["gateway"])).await;
    let secrets = std::fs::read(&stack.env()["LECTERN_SECRETS_FILE"]).expect("the secrets file");
    let secrets: Value = serde_json::from_slice(&secrets).expect("JSON");
    let old_key = secrets["kek"].as_str().expect("a key").to_owned();
    assert!(secrets["identity_hash_key"].is_string(), "a new installation hashes with a key of its own");
    // letters wait for a mail server that comes last
    let with = |keys: String| {
        let stack = &stack;
        async move {
            stack.start_roles("identity", &[("IDENTITY_KEK", keys.as_str()), ("MAILBOX_FILE", "")]).await
        }
    };
    let mut only_old = with(old_key.clone()).await;

    let ada = stack.stranger("Ada");
    ada.registers().await.created();
    ada.verifies_email("123456").await.ok();
    ada.logs_in().await.ok();
    let private = json!({ "phone": "+821012345678", "business_number": "123-45-67890" });
    ada.patches("/users/me", private).await.ok();
    let secret = ada.posts("/users/me/totp", json!({})).await.ok();
    let app = Totp::from_url(secret.text("/otpauth_url")).expect("an otpauth URL");
    ada.posts("/users/me/totp/confirm", json!({ "code": code(&app) })).await.ok();
    let recovery = ada.posts("/users/me/recovery-codes", json!({})).await.ok();
    ada.posts("/users/me/email", json!({ "email": "ada.new@example.org" })).await.accepted();
    ada.posts("/users/me/passkeys/options", json!({})).await.ok();
    let token = ada.access_token().expect("a token");

    let before = sealed(&stack).await;
    let old_id = before[0].2.clone();
    assert_eq!(old_id.len(), 16, "one key: {before:?}");
    assert!(before.iter().all(|(_, count, ids)| *count == 0 || *ids == old_id), "{before:?}");
    println!("before: {before:?}");

    let stop = Arc::new(AtomicBool::new(false));
    let mut people = Vec::new();
    for name in ["Bob", "Cora", "Dan"] {
        let person = stack.stranger(name);
        person.registers().await.created();
        people.push(works(person, stop.clone()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    // every process learns to open before any seals
    let mut opens_both = with(format!("{old_key},{NEW_KEY}")).await;
    only_old.terminate().await.expect("an orderly end");
    let mut seals_new = with(format!("{NEW_KEY},{old_key}")).await;
    opens_both.terminate().await.expect("an orderly end");
    let begun = Instant::now();
    // what was sealed last by the process that has ended is found by the next run
    let mut clean = 0;
    while clean < 3 {
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "{} left:\n{}",
            left(&seals_new).await,
            seals_new.log()
        );
        let none = left(&seals_new).await == 0.0
            && sealed(&stack).await.iter().all(|(_, _, ids)| !ids.contains(&old_id));
        clean = if none { clean + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("nothing under the old key {:?} after the last process that sealed with it", begun.elapsed());
    let only_new = with(NEW_KEY.to_owned()).await;
    seals_new.terminate().await.expect("an orderly end");
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::SeqCst);
    for person in people {
        let (done, refused) = person.await.expect("a person");
        println!("{done} requests, {} refused", refused.len());
        assert!(refused.is_empty() && done > 40, "{done} requests; refused: {refused:?}");
    }

    // without the old key: the token, what is private, the second factor, its stand-in, the letters
    let after = sealed(&stack).await;
    println!("after: {after:?}");
    ada.carries(&token);
    let shown = ada.gets("/api/v2/users/me").await.ok();
    assert_eq!(
        (shown.text("/phone").as_str(), shown.text("/business_number").as_str()),
        ("+821012345678", "123-45-67890")
    );
    let right = json!({ "email": ada.email, "password": ada.password });
    let half = ada.posts("/auth/login", right.clone()).await.refused(401, "USER_1007");
    let other_half =
        json!({ "mfa_token": half.text("/details/mfa_token"), "code": recovery.text("/codes/0") });
    ada.posts("/auth/mfa/verify", other_half).await.ok();
    let half = ada.posts("/auth/login", right).await.refused(401, "USER_1007");
    let token = half.text("/details/mfa_token");
    let begun = Instant::now();
    // the code of a step is good once: the present one was used when the app was confirmed
    while ada.posts("/auth/mfa/verify", json!({ "mfa_token": token, "code": code(&app) })).await.status != 200
    {
        assert!(begun.elapsed() < Duration::from_secs(40), "the authenticator app's secret does not open");
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    drop(only_new);
    let keys = [("IDENTITY_KEK", NEW_KEY), ("MAILBOX_FILE", &stack.env()["MAILBOX_FILE"])];
    let _with_mail = stack.start_roles("identity", &keys).await;
    let begun = Instant::now();
    while stack
        .database()
        .value("SELECT count(*) FROM identity.mail_queue")
        .await
        .expect("counted")
        .as_deref()
        != Some("0")
    {
        assert!(begun.elapsed() < Duration::from_secs(30), "letters that were sealed under the old key wait");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let confirmed = ada.posts("/users/me/email/confirm", json!({ "code": "123456" })).await;
    assert_eq!(confirmed.status, 200, "{confirmed}");
}
