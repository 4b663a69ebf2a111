//! Every sign-up and sign-in call that a seed documents, as it stands there, with the answers that the resolutions give
//! (`spec/identity.md`, contradictions). Each says what takes its place.

use lectern_harness::{Answer, Stack, StackOptions};
use reqwest::Method;
use serde_json::{Value, json};

/// A client that knows nothing of us but a seed's document.
struct Client {
    stack: Stack,
}

impl Client {
    async fn of(options: StackOptions) -> Client {
        Client { stack: Stack::start(options).await }
    }

    async fn sends(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let anyone = self.stack.anonymous();
        let bearer = token.map(|token| format!("Bearer {token}"));
        let ask =
            anyone.asks(method, &format!("{}{path}", self.stack.http_url())).authorization(bearer.as_deref());
        let ask = if let Some(body) = body { ask.json(body) } else { ask };
        ask.send().await
    }

    async fn posts(&self, path: &str, body: Value) -> Answer {
        self.sends(Method::POST, path, None, Some(body)).await
    }
}

/// RFC 9745, RFC 8288; on refusals too.
#[track_caller]
fn takes_the_place(answer: Answer, successor: &str) -> Answer {
    let since = answer.header("deprecation").strip_prefix('@').and_then(|date| date.parse::<i64>().ok());
    assert!(since.is_some_and(|date| date > 1_700_000_000), "{answer}");
    assert_eq!(answer.header("link"), format!("<{successor}>; rel=\"successor-version\""), "{answer}");
    answer
}

#[tokio::test]
async fn seed_001_register_verify_login_me_refresh_logout_under_both_prefixes() {
    let client = Client::of(StackOptions::default()).await;
    // the consumer contract's account, and the one of the usage examples
    for (email, password, name) in [
        ("test@example.com", "Test1234!", "Pact Consumer"),
        ("newuser@example.com", "SecurePass123!", "New User"),
    ] {
        let user = json!({ "email": email, "password": password, "name": name });
        client.posts("/user/v1/auth/register", user).await.created();
        let login = json!({ "email": email, "password": password });
        client.posts("/api/v1/auth/login", login).await.ok().text("/access_token");
    }
    for prefix in ["/api/v1", "/user/v1"] {
        let old = |answer: Answer, path: &str| match prefix {
            "/api/v1" => {
                assert!(!answer.headers.contains_key("deprecation"), "{answer}");
                answer
            }
            _ => takes_the_place(answer, &format!("/api/v1{path}")),
        };
        let post =
            async |path: &str, body: Value| old(client.posts(&format!("{prefix}{path}"), body).await, path);
        // "E2E test", with an address per prefix
        let email = format!("e2e{}@example.com", prefix.len());
        let user = json!({ "email": email, "password": "Test1234!", "name": "E2E Test User" });
        let user = post("/auth/register", user).await.created();
        for field in ["id", "email", "name", "role", "is_active", "is_verified", "created_at"] {
            assert!(!user.json[field].is_null(), "no {field}: {user}");
        }
        assert_eq!(user.json["role"], "user");
        post("/auth/verify-email", json!({ "email": email, "code": "123456" })).await.ok();
        let credentials = json!({ "email": email, "password": "Test1234!" });
        let tokens = post("/auth/login", credentials).await.ok();
        assert_eq!(tokens.json["token_type"], "bearer");
        let tokens =
            post("/auth/refresh", json!({ "refresh_token": tokens.text("/refresh_token") })).await.ok();
        let access = tokens.text("/access_token");
        let me = client.sends(Method::GET, &format!("{prefix}/users/me"), Some(&access), None).await;
        assert_eq!(old(me, "/users/me").ok().json["email"], email.as_str());
        let logout = client.sends(Method::POST, &format!("{prefix}/auth/logout"), Some(&access), None).await;
        let logout = old(logout, "/auth/logout").ok();
        assert_eq!(logout.json["message"], "Successfully logged out");
        // "Pact": a wrong password
        let wrong = json!({ "email": email, "password": "Wrong1234!" });
        let refused = post("/auth/login", wrong).await.refused(401, "USER_1001");
        assert_eq!(refused.json["message"], "Invalid email or password");
    }
}

#[tokio::test]
async fn seed_001_staff_makes_accounts_where_it_documents_that() {
    let client = Client::of(StackOptions::default()).await;
    let admin = client.stack.admin().await.access_token();
    for (n, path) in ["/user/v1/admin/users", "/user/v1/users", "/api/v1/users"].into_iter().enumerate() {
        let user = json!({ "email": format!("made{n}@example.com"), "password": "Test1234!", "name": "Made by staff" });
        let made = client.sends(Method::POST, path, admin.as_deref(), Some(user.clone())).await;
        takes_the_place(made, "/api/v1/admin/users").created();
        let anyone = client.sends(Method::POST, path, None, Some(user)).await;
        takes_the_place(anyone, "/api/v1/admin/users").refused(401, "USER_1006");
    }
}

#[tokio::test]
async fn seed_002_the_auth_service_has_a_prefix_of_its_own() {
    let client = Client::of(StackOptions::default()).await;
    let user = json!({ "email": "hero@example.com", "password": "SecurePass123!", "name": "Maple Hero" });
    let made = client.posts("/auth-service/auth/register", user).await;
    takes_the_place(made, "/api/v1/auth/register").created();
    let credentials = json!({ "email": "hero@example.com", "password": "SecurePass123!" });
    let tokens = client.posts("/auth-service/auth/login", credentials).await;
    let access = takes_the_place(tokens, "/api/v1/auth/login").ok().text("/access_token");
    let me = client.sends(Method::GET, "/auth-service/users/me", Some(&access), None).await;
    assert_eq!(takes_the_place(me, "/api/v1/users/me").ok().json["roles"], json!(["user"]));
}

#[tokio::test]
async fn seed_003_its_sample_password_is_too_weak_and_a_better_one_will_do() {
    let client = Client::of(StackOptions::default()).await;
    let sample = json!({ "email": "user@example.com", "password": "password123", "name": "John Doe" });
    let refused = client.posts("/api/users/register", sample.clone()).await;
    let refused = takes_the_place(refused, "/api/v1/auth/register").refused(400, "USER_1103");
    assert!(refused.at("/details").as_array().is_some_and(|rules| rules.len() >= 2), "{refused}");
    let mut better = sample;
    better["password"] = json!("SecurePass123!");
    let made = client.posts("/api/users/register", better).await;
    takes_the_place(made, "/api/v1/auth/register").created();
    let credentials = json!({ "email": "user@example.com", "password": "SecurePass123!" });
    let tokens = client.posts("/api/users/login", credentials).await;
    let access = takes_the_place(tokens, "/api/v1/auth/login").ok().text("/access_token");
    let me = client.sends(Method::GET, "/api/users/me", Some(&access), None).await;
    takes_the_place(me, "/api/v1/users/me").ok();
}

#[tokio::test]
async fn seed_004_register_with_a_role_login_refresh_and_logout_in_camel_case() {
    let client = Client::of(StackOptions::default().env("ALLOW_ROLE_ON_REGISTER", "true")).await;
    for role in ["USER", "OPERATOR", "AUDITOR", "ADMIN"] {
        let email = format!("{}@example.com", role.to_lowercase());
        let user =
            json!({ "email": email, "password": "SecurePass123!", "name": "Role Holder", "role": role });
        let made = client.posts("/auth/register", user).await;
        let made = takes_the_place(made, "/api/v1/auth/register").created();
        assert_eq!(made.json["role"], role.to_lowercase());
        let credentials = json!({ "email": email, "password": "SecurePass123!" });
        let tokens =
            takes_the_place(client.posts("/auth/login", credentials).await, "/api/v1/auth/login").ok();
        assert_eq!(tokens.json["accessToken"], tokens.json["access_token"]);
        assert_eq!(tokens.json["refreshToken"], tokens.json["refresh_token"]);
        let renew = json!({ "refreshToken": tokens.text("/refreshToken") });
        let renewed =
            takes_the_place(client.posts("/auth/refresh", renew).await, "/api/v1/auth/refresh").ok();
        assert_ne!(renewed.text("/accessToken"), tokens.text("/accessToken"));
        let access = renewed.text("/accessToken");
        let me = client.sends(Method::GET, "/api/v1/users/me", Some(&access), None).await.ok();
        assert_eq!(me.json["role"], role.to_lowercase());
        let logout = client.sends(Method::POST, "/auth/logout", Some(&access), None).await;
        takes_the_place(logout, "/api/v1/auth/logout").ok();
    }
    let nonsense = json!({ "email": "x@example.com", "password": "SecurePass123!", "name": "Nobody", "role": "SUPERUSER" });
    client.posts("/auth/register", nonsense).await.refused(400, "COMMON_0001");
}

#[tokio::test]
async fn c2_a_role_at_sign_up_is_refused_and_an_unverified_sign_in_too_where_that_is_the_rule() {
    let client = Client::of(StackOptions::default().env("LOGIN_REQUIRES_VERIFIED_EMAIL", "true")).await;
    let mut user = json!({ "email": "user@example.com", "password": "SecurePass123!", "name": "John Doe", "role": "ADMIN" });
    let refused = client.posts("/auth/register", user.clone()).await;
    takes_the_place(refused, "/api/v1/auth/register").refused(403, "USER_1303");
    user.as_object_mut().expect("an object").remove("role");
    client.posts("/auth/register", user).await.created();
    let credentials = json!({ "email": "user@example.com", "password": "SecurePass123!" });
    for path in ["/auth/login", "/api/users/login", "/user/v1/auth/login", "/auth-service/auth/login"] {
        let refused = client.posts(path, credentials.clone()).await;
        takes_the_place(refused, "/api/v1/auth/login").refused(401, "USER_1004");
    }
    client
        .posts("/user/v1/auth/verify-email", json!({ "email": "user@example.com", "code": "123456" }))
        .await
        .ok();
    client.posts("/auth/login", credentials).await.ok();
}
