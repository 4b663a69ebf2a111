//! Limits of sign-in and the cookie of a known device, over HTTP (identity I-081, I-082).

use lectern_harness::{Actor, Answer, Stack, StackOptions};
use reqwest::Method;
use serde_json::{Value, json};

const WRONG: &str = "Wrong-Horse-7!";

async fn signs_in(anyone: &Actor, forwarded: &str, body: Value) -> Answer {
    let ask = anyone.asks(Method::POST, "/auth/login").header("x-forwarded-for", forwarded);
    ask.json(body).send().await
}

#[tokio::test]
async fn i082_a_sixth_sign_in_of_a_minute_is_refused_whatever_address_the_client_says_it_forwards() {
    let stack = Stack::start(StackOptions::default().limits("seed")).await;
    let second = stack.start_roles("identity", &[]).await;
    let anyone = stack.anonymous();
    for n in 1..=5 {
        let guess = json!({ "email": format!("u{n}@example.org"), "password": WRONG });
        signs_in(&anyone, &format!("203.0.113.{n}"), guess).await.refused(401, "USER_1001");
    }
    let guess = json!({ "email": "u6@example.org", "password": WRONG });
    let refused = signs_in(&anyone, "203.0.113.6", guess).await.refused(429, "COMMON_0012");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{refused}");
    drop(second);
}

#[tokio::test]
async fn i082_behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let options = StackOptions::default().limits("seed").env("TRUSTED_PROXIES", "127.0.0.1,::1");
    let stack = Stack::start(options).await;
    let anyone = stack.anonymous();
    for n in 1..=6 {
        let guess = json!({ "email": format!("u{n}@example.org"), "password": WRONG });
        signs_in(&anyone, &format!("203.0.113.{n}"), guess).await.refused(401, "USER_1001");
    }
    for n in 1..=5 {
        let guess = json!({ "email": format!("v{n}@example.org"), "password": WRONG });
        let answer = signs_in(&anyone, &format!("10.0.0.{n}, 203.0.113.9"), guess).await;
        answer.refused(401, "USER_1001");
    }
    let guess = json!({ "email": "v6@example.org", "password": WRONG });
    signs_in(&anyone, "10.0.0.6, 203.0.113.9", guess).await.refused(429, "COMMON_0012");
}

#[tokio::test]
async fn i081_the_cookie_of_a_known_device_passes_the_lock_of_its_account() {
    let stack = Stack::start(StackOptions::default()).await;
    let alice = stack.learner("Alice").await;
    let right = json!({ "email": alice.email, "password": alice.password });
    let anyone = stack.anonymous();
    let signed_in = anyone.posts("/auth/login", right.clone()).await.ok();
    let set = signed_in.header("set-cookie").to_owned();
    let token = signed_in.text("/device_token");
    let (cookie, attributes) = set.split_once("; ").expect("attributes");
    assert_eq!(cookie, format!("lectern_device={token}"));
    // plain HTTP to this machine: no browser would send it back otherwise
    assert_eq!(attributes, "Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax");
    for _ in 0..5 {
        let guess = json!({ "email": alice.email, "password": WRONG });
        anyone.posts("/auth/login", guess).await.refused(401, "USER_1001");
    }
    anyone.posts("/auth/login", right.clone()).await.refused(401, "USER_1003");
    let cookie = cookie.to_owned();
    let with_cookie = |body: Value| {
        anyone.asks(Method::POST, "/auth/login").header("cookie", format!("a=b; {cookie}")).json(body).send()
    };
    with_cookie(right.clone()).await.ok();
    // what the body says comes before the cookie
    let mut other = right;
    other["device_token"] = json!("nonsense");
    with_cookie(other).await.refused(401, "USER_1003");
    // a refresh sets none
    let refreshed = json!({ "refresh_token": signed_in.text("/refresh_token") });
    let refreshed = anyone.posts("/auth/refresh", refreshed).await.ok();
    assert!(!refreshed.headers.contains_key("set-cookie"), "{refreshed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i4_of_parallel_wrong_passwords_over_three_processes_five_are_looked_at() {
    // the counter is what is looked at, not the hash
    let options = StackOptions::default().env("ARGON2_M_KIB", "64").env("ARGON2_T", "1");
    let stack = Stack::start(options).await;
    let others = [stack.start_roles("identity", &[]).await, stack.start_roles("identity", &[]).await];
    let alice = stack.learner("Alice").await;
    let guess = json!({ "email": alice.email, "password": WRONG });
    let anyone = stack.anonymous();
    let crowd = (0..30).map(|_| anyone.posts("/auth/login", guess.clone()));
    let answers = futures_util::future::join_all(crowd).await;
    let times = |code: &str| answers.iter().filter(|it| it.json["error_code"] == code).count();
    // a machine that is too busy may miss a deadline, and says so
    let late = times("COMMON_0009") + times("COMMON_0010");
    assert!(times("USER_1001") <= 5 && times("USER_1001") + times("USER_1003") + late == 30, "{answers:?}");
    assert!(late <= 5, "{late} of 30 were late");
    let looked = "SELECT count(*) FROM identity.login_history WHERE failure_reason = 'invalid_password'";
    assert_eq!(stack.database().value(looked).await.expect("read").as_deref(), Some("5"));
    // the crowd was served by all three
    for process in &others {
        let served = process.metric("service_requests_total", "subject=\"svc.identity.v1.auth.login\"").await;
        assert!(served.as_ref().is_ok_and(|served| *served > 0.0), "{served:?}");
    }
    // a right one after the lock's time starts the counter over, on every process
    for round in 0..3 {
        let later = "UPDATE identity.sign_in_attempts SET locked_until = now() - interval '1 second'";
        stack.database().execute(later).await.expect("later");
        if round > 0 {
            for _ in 0..4 {
                anyone.posts("/auth/login", guess.clone()).await.refused(401, "USER_1001");
            }
        }
        let right = json!({ "email": alice.email, "password": alice.password });
        anyone.posts("/auth/login", right).await.ok();
    }
}
