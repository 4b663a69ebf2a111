//! What a standard OAuth client does with its own library: forms, discovery, userinfo.

use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::shared::{House, house, until};

const FORM: &str = "application/x-www-form-urlencoded";

async fn machine(house: &House) -> Actor {
    let issue = ["token", "issue", "--name", "resource-server", "--ttl", "1h"];
    let machine = house.stack.anonymous();
    machine.carries(&house.stack.lectern(&issue).await.done().expect("issued"));
    machine
}

async fn posts_form(who: &Actor, path: &str, form: &str) -> Answer {
    who.asks(Method::POST, path).bytes(FORM, form.to_owned()).send().await
}

#[tokio::test]
async fn rfc7662_and_rfc7009_take_forms_and_json_and_refuse_anything_else() {
    let house = house().await;
    let machine = machine(house).await;
    let alice = house.stack.learner("Alice").await;
    let anyone = house.stack.anonymous();
    let (access, refresh) = (alice.access_token().expect("in"), alice.refresh_token().expect("in"));
    let introspects = async |token: &str| {
        let form = format!("token={token}&token_type_hint=access_token");
        let answer = posts_form(&machine, "/oauth/introspect", &form).await.ok();
        assert_eq!(answer.header("cache-control"), "no-store");
        let json = machine.posts("/oauth/introspect", json!({ "token": token })).await.ok();
        assert_eq!(json.json, answer.json);
        answer.json
    };
    assert_eq!(introspects(&access).await["token_type"], "Bearer");
    assert_eq!(introspects(&refresh).await["token_type"], "refresh_token");
    assert_eq!(introspects("nonsense").await, json!({ "active": false }));

    for (form, code) in [
        ("", "COMMON_0002"),
        ("token=a&token=b", "COMMON_0002"),
        ("token_type_hint=access_token", "COMMON_0001"),
        ("token=a&scope=all", "COMMON_0001"),
        ("token=%00", "COMMON_0001"),
    ] {
        for (who, path) in [(&machine, "/oauth/introspect"), (&anyone, "/oauth/revoke")] {
            posts_form(who, path, form).await.refused(400, code);
        }
    }
    posts_form(&anyone, "/oauth/introspect", "token=a").await.refused(401, "USER_1006");
    posts_form(&alice, "/oauth/introspect", "token=a").await.refused(403, "COMMON_0013");
    // a form where no standard asks for one
    posts_form(&anyone, "/auth/login", "email=a").await.refused(415, "COMMON_0003");

    let revoked = posts_form(&anyone, "/oauth/revoke", &format!("token={refresh}&client_id=app")).await.ok();
    let never = posts_form(&anyone, "/oauth/revoke", "token=never-was-one").await.ok();
    assert_eq!(revoked.json, never.json);
    for token in [&access, &refresh] {
        assert_eq!(introspects(token).await, json!({ "active": false }));
    }
    alice.refreshes().await.refused(401, "USER_1011");
}

#[tokio::test]
async fn oidc_userinfo_answers_get_and_post_alike() {
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let got = alice.gets("/oauth/userinfo").await.ok();
    let posted = alice.asks(Method::POST, "/oauth/userinfo").send().await.ok();
    assert_eq!(got.json, posted.json);
    assert_eq!(
        (&got.json["email"], &got.json["email_verified"]),
        (&alice.email.as_str().into(), &true.into())
    );
    assert_eq!(got.json["sub"], alice.looks_at_self().await.ok().id());
    house.stack.anonymous().gets("/oauth/userinfo").await.refused(401, "USER_1006");
}

#[tokio::test]
async fn p4_a_token_with_stale_claims_says_so_and_a_silent_refresh_is_enough() {
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let id = alice.looks_at_self().await.ok().id();
    // what a change of roles does, by hand: the row, then the bucket
    let row = format!("UPDATE identity.users SET uv = 2 WHERE id = '{id}'");
    house.stack.database().execute(&row).await.expect("the row");
    let identity = house.stack.bus_as("identity").await.expect("the bus");
    let (key, headers) = (format!("$KV.revoked.usr.{id}"), async_nats::HeaderMap::new());
    identity.publish_with_headers(key, headers, r#"{"uv":2}"#.into()).await.expect("queued");
    identity.flush().await.expect("sent");
    let void = |it: &Answer| it.status == 401;
    let bound = std::time::Duration::from_secs(10);
    let refused = until(bound, async || alice.looks_at_self().await, void).await.refused(401, "USER_1011");
    assert_eq!(refused.at("/details"), &json!({ "reason": "stale_claims" }));
    let get_me = "svc.identity.v1.users.me_get";
    let bus = house.bus_of(&alice).await;
    let on_the_bus = async || bus.asks(get_me, json!({})).await;
    let refused = until(bound, on_the_bus, void).await;
    assert_eq!(refused.at("/details"), &json!({ "reason": "stale_claims" }));

    alice.refreshes().await.ok();
    alice.looks_at_self().await.ok();
    alice.logs_out().await.ok();
    let refused = until(bound, async || alice.looks_at_self().await, void).await.refused(401, "USER_1011");
    assert_eq!(refused.at("/details"), &json!({ "reason": "revoked" }));
}

#[tokio::test]
async fn rfc8414_discovery_names_the_issuer_of_tokens_and_addresses_that_answer() {
    let house = house().await;
    let machine = machine(house).await;
    let document = machine.gets("/.well-known/openid-configuration").await.ok().json;
    assert_eq!(document, machine.gets("/.well-known/oauth-authorization-server").await.ok().json);
    let own = machine.access_token().expect("a token");
    let introspected = machine.posts("/oauth/introspect", json!({ "token": own })).await.ok();
    assert_eq!(document["issuer"], *introspected.at("/iss"));
    let url = |name: &str| document[name].as_str().expect(name).to_owned();
    assert!(!machine.gets(&url("jwks_uri")).await.ok().at("/keys").as_array().expect("keys").is_empty());
    posts_form(&machine, &url("introspection_endpoint"), "token=x").await.ok();
    posts_form(&machine, &url("revocation_endpoint"), "token=x").await.ok();
    machine.gets(&url("userinfo_endpoint")).await.refused(404, "USER_1101");
    assert!(document.get("authorization_endpoint").is_none() && document.get("token_endpoint").is_none());
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["EdDSA"]));
}

#[tokio::test]
async fn i035_redoc_and_swagger_stand_beside_docs_and_need_no_foreign_host() {
    let anyone = house().await.stack.anonymous();
    let base = house().await.stack.http_url();
    let page = anyone.gets(&format!("{base}/redoc")).await.ok();
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(text.contains("POST /api/v1/auth/login") && text.contains("svc.identity.v1.auth.login"));
    assert!(!text.contains("<script") && !text.contains("src="), "it loads something");
    // the client follows the redirection to Swagger UI
    let swagger = anyone.gets(&format!("{base}/swagger")).await.ok();
    assert!(String::from_utf8_lossy(&swagger.body).contains("swagger-ui"), "{swagger}");
}

#[tokio::test]
async fn identity_i15_forgeries_that_name_the_genuine_key_are_refused() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let house = house().await;
    let alice = house.stack.learner("Alice").await;
    let genuine = alice.access_token().expect("signed in");
    let parts: Vec<&str> = genuine.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("no JWT") };
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let write = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let jwks = alice.gets("/.well-known/jwks.json").await.ok();
    let public = URL_SAFE_NO_PAD.decode(jwks.text("/keys/0/x")).expect("a key");
    let with = |part: &str, name: &str, value: Value| {
        let mut changed = read(part);
        changed[name] = value;
        write(&changed)
    };
    let hs256 = {
        let head = format!("{}.{claims}", with(header, "alg", json!("HS256")));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
        format!("{head}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, head.as_bytes())))
    };
    let forged = |header: String, claims: String| format!("{header}.{claims}.{signature}");
    let (same_header, same_claims) = (header.to_owned(), claims.to_owned());
    let forgeries = [
        ("alg none", format!("{}.{claims}.", with(header, "alg", json!("none")))),
        ("HS256 with the public key", hs256),
        ("typ", forged(with(header, "typ", json!("JWT")), same_claims.clone())),
        ("kid", forged(with(header, "kid", json!("unknown")), same_claims)),
        ("aud", forged(same_header.clone(), with(claims, "aud", json!("elsewhere")))),
        ("iss", forged(same_header.clone(), with(claims, "iss", json!("elsewhere")))),
        ("exp", forged(same_header.clone(), with(claims, "exp", json!(4_000_000_000_u32)))),
        ("nbf", forged(same_header.clone(), with(claims, "nbf", json!(4_000_000_000_u32)))),
        ("roles", forged(same_header, with(claims, "roles", json!(["admin"])))),
    ];
    for (what, token) in forgeries {
        alice.carries(&token);
        let refused = alice.looks_at_self().await;
        assert!(refused.status == 401, "{what}: {refused}");
        refused.refused(401, "USER_1006");
    }
    alice.carries(&genuine);
    alice.looks_at_self().await.ok();
}
