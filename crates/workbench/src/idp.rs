//! An OpenID provider for tests, on a socket, in the shapes that the standards document. It checks what a provider checks
//! (client, redirect, PKCE, one use of a code) and has bad manners where a test wants them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Who we are there; the secret has what a header must encode.
pub const CLIENT: (&str, &str) = ("lectern", "hush & hush: 100%");
/// Where it sends browsers back to.
pub const REDIRECT: &str = "http://lectern.test/api/v1/auth/oidc/mock/callback";

/// How a token is signed, rightly or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// RSA, PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// ECDSA over P-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// No signature at all.
    Unsigned,
    /// With the client's secret in the place of a key, which the provider never agreed to.
    ClientSecret,
    /// With the published RSA modulus as a shared secret.
    PublicKeyAsSecret,
    /// By a key of somebody else under a published id.
    Forged,
    /// By a published key, without saying by which.
    NoKid,
}

/// What it does and says.
pub struct Manners {
    /// The claims about the person who signs in there.
    pub person: Value,
    /// How its tokens are signed.
    pub signing: Signing,
    /// Claims that are put over the right ones; null takes one away.
    pub claims: Value,
    /// What stands over the header's fields.
    pub header: Value,
    /// What stands over the description's fields.
    pub metadata: Value,
    /// The person refuses.
    pub denies: bool,
    /// Whether answers say who they are from (RFC 9207).
    pub says_iss: bool,
    /// Every answer is a failure.
    pub down: bool,
    /// No answer comes.
    pub hangs: bool,
    /// Signs with keys that it did not have before.
    pub generation: u32,
}

struct Granted {
    challenge: String,
    redirect: String,
    nonce: String,
}

struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    foreign: EcdsaKeyPair,
}

struct Desk {
    issuer: String,
    manners: Mutex<Manners>,
    codes: Mutex<HashMap<String, Granted>>,
    keys: Keys,
    /// How often each door was asked.
    asked: Mutex<HashMap<&'static str, usize>>,
}

/// The provider.
pub struct Idp {
    desk: Arc<Desk>,
    server: AbortHandle,
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Someone with an address there.
pub fn person(sub: &str, email: &str) -> Value {
    json!({ "sub": sub, "email": email, "email_verified": true, "name": "Alice Kim" })
}

impl Idp {
    /// A well-mannered one.
    pub async fn start() -> Idp {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("bound"));
        let manners = Manners {
            person: person("sub-alice", "alice@example.org"),
            signing: Signing::Rs256,
            claims: json!({}),
            header: json!({}),
            metadata: json!({}),
            denies: false,
            says_iss: true,
            down: false,
            hangs: false,
            generation: 0,
        };
        let desk = Arc::new(Desk {
            issuer,
            manners: Mutex::new(manners),
            codes: Mutex::default(),
            keys: Keys::new(),
            asked: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/jwks", get(jwks))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(desk.clone());
        let served = async move { axum::serve(listener, router).await.expect("serving") };
        Idp { desk, server: tokio::spawn(served).abort_handle() }
    }

    /// Its identifier, where its description is found.
    pub fn issuer(&self) -> &str {
        &self.desk.issuer
    }

    /// The settings that make it provider `mock`.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        vec![
            ("ENABLE_SOCIAL_LOGIN", "true"),
            ("OIDC_PROVIDERS", "mock"),
            ("OIDC_MOCK_ISSUER", self.issuer()),
            ("OIDC_MOCK_CLIENT_ID", CLIENT.0),
            ("OIDC_MOCK_CLIENT_SECRET", CLIENT.1),
            ("PUBLIC_URL", "http://lectern.test"),
        ]
    }

    /// Changes its manners.
    pub fn now(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.desk.manners.lock().unwrap());
    }

    /// How often a door was asked.
    pub fn asked(&self, door: &str) -> usize {
        self.desk.asked.lock().unwrap().get(door).copied().unwrap_or_default()
    }

    /// The person's browser goes there and signs in; where it is sent then.
    pub async fn visit(url: &str) -> String {
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let answer = browser.build().unwrap().get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 302, "{}", answer.text().await.unwrap_or_default());
        answer.headers()["location"].to_str().expect("a URL").to_owned()
    }
}

impl Keys {
    fn new() -> Keys {
        let random = SystemRandom::new();
        let pem = include_str!("idp_rsa.pem");
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let ec = || {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap()
        };
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Keys {
            rsa: RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap(),
            ec: ec(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            foreign: ec(),
        }
    }

    fn modulus(&self) -> PublicKeyComponents<Vec<u8>> {
        PublicKeyComponents::from(self.rsa.public())
    }

    /// As a provider publishes them: also one to encrypt with, and one of a kind that we don't know.
    fn published(&self, generation: u32) -> Value {
        let rsa = self.modulus();
        let (n, e) = (B64.encode(&rsa.n), B64.encode(&rsa.e));
        let (ec, ed) = (self.ec.public_key().as_ref(), self.ed.public_key().as_ref());
        json!({ "keys": [
            { "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "enc", "n": n, "e": e },
            { "kty": "AKP", "alg": "ML-DSA-44", "kid": "new", "pub": "AAAA" },
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": format!("rsa-{generation}"), "n": n, "e": e },
            { "kty": "EC", "use": "sig", "crv": "P-256", "kid": format!("ec-{generation}"), "x": B64.encode(&ec[1..33]), "y": B64.encode(&ec[33..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": format!("ed-{generation}"), "x": B64.encode(ed) },
        ] })
    }

    fn sign(&self, signing: Signing, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match signing {
            Signing::Rs256 | Signing::NoKid => {
                let mut signed = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signed).unwrap();
                signed
            }
            Signing::Es256 => self.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            Signing::Forged => self.foreign.sign(&random, message).unwrap().as_ref().to_vec(),
            Signing::EdDsa => self.ed.sign(message).as_ref().to_vec(),
            Signing::Unsigned => Vec::new(),
            Signing::ClientSecret => shared(CLIENT.1.as_bytes(), message),
            Signing::PublicKeyAsSecret => shared(&self.modulus().n, message),
        }
    }
}

fn shared(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// Notes the visit, and is rude where it is to be.
async fn door(desk: &Desk, name: &'static str) -> Result<(), Response> {
    *desk.asked.lock().unwrap().entry(name).or_default() += 1;
    let (down, hangs) = {
        let manners = desk.manners.lock().unwrap();
        (manners.down, manners.hangs)
    };
    if hangs {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    if down { Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()) } else { Ok(()) }
}

/// One object's fields over another's; null takes one away.
fn over(mut under: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().expect("an object") {
        match value {
            Value::Null => drop(under.as_object_mut().expect("an object").remove(name)),
            value => under[name] = value.clone(),
        }
    }
    under
}

async fn describe(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, Response> {
    door(&desk, "discovery").await?;
    let at = |path: &str| format!("{}/{path}", desk.issuer);
    let manners = desk.manners.lock().unwrap();
    let described = json!({
        "issuer": desk.issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "jwks_uri": at("jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "authorization_response_iss_parameter_supported": manners.says_iss,
    });
    Ok(Json(over(described, &manners.metadata)))
}

async fn jwks(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, Response> {
    door(&desk, "jwks").await?;
    let generation = desk.manners.lock().unwrap().generation;
    Ok(Json(desk.keys.published(generation)))
}

async fn authorize(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Result<Response, Response> {
    door(&desk, "authorize").await?;
    let get = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let good = get("response_type") == "code"
        && get("client_id") == CLIENT.0
        && get("redirect_uri") == REDIRECT
        && get("scope").split(' ').any(|scope| scope == "openid")
        && get("code_challenge_method") == "S256"
        && get("code_challenge").len() == 43
        && get("state").len() >= 43
        && get("nonce").len() >= 43;
    if !good {
        return Err((StatusCode::BAD_REQUEST, format!("not as it has to be: {asked:?}")).into_response());
    }
    let manners = desk.manners.lock().unwrap();
    // what Keycloak and Google add of their own
    let mut back = format!("{REDIRECT}?state={}&session_state=abc&scope=openid+email", get("state"));
    if manners.says_iss {
        back.push_str(&format!("&iss={}", desk.issuer));
    }
    if manners.denies {
        back.push_str("&error=access_denied&error_description=%3Cb%3Eno%3C%2Fb%3E");
    } else {
        let mut bytes = [0; 24];
        SystemRandom::new().fill(&mut bytes).unwrap();
        let code = B64.encode(bytes);
        let granted =
            Granted { challenge: get("code_challenge"), redirect: get("redirect_uri"), nonce: get("nonce") };
        desk.codes.lock().unwrap().insert(code.clone(), granted);
        back.push_str(&format!("&code={code}"));
    }
    Ok((StatusCode::FOUND, [(header::LOCATION, back)]).into_response())
}

async fn token(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: String,
) -> Result<Json<Value>, Response> {
    door(&desk, "token").await?;
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let form: HashMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let manners = desk.manners.lock().unwrap();
    if !knows(&manners, &headers, &get("client_id"), &get("client_secret")) {
        return Err((StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into_response());
    }
    let granted = desk.codes.lock().unwrap().remove(&get("code")).ok_or_else(|| refuse("invalid_grant"))?;
    let proved = B64.encode(digest(&SHA256, get("code_verifier").as_bytes())) == granted.challenge;
    if get("grant_type") != "authorization_code" || get("redirect_uri") != granted.redirect || !proved {
        return Err(refuse("invalid_grant"));
    }
    let id_token = id_token(&desk, &manners, &granted.nonce);
    Ok(Json(json!({
        "access_token": "opaque", "token_type": "Bearer", "expires_in": 300, "scope": "openid email profile",
        "id_token": id_token,
    })))
}

/// Each method alone, as the description allows it; both at once are refused (RFC 6749, 2.3).
fn knows(manners: &Manners, headers: &HeaderMap, id: &str, secret: &str) -> bool {
    let methods = manners.metadata["token_endpoint_auth_methods_supported"].as_array();
    let allows = |method: &str| methods.is_none_or(|methods| methods.iter().any(|one| one == method));
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let by_form = allows("client_secret_post") && secret == CLIENT.1;
        return id == CLIENT.0 && (by_form || (allows("none") && methods.is_some() && secret.is_empty()));
    };
    let pair = value.to_str().ok().and_then(|text| STANDARD.decode(text.strip_prefix("Basic ")?).ok());
    let pair = String::from_utf8(pair.unwrap_or_default()).unwrap_or_default();
    // both halves are form-encoded before they are put together (RFC 6749, 2.3.1)
    let decoded: Vec<String> = pair
        .split(':')
        .map(|half| {
            url::form_urlencoded::parse(format!("x={half}").as_bytes()).next().unwrap().1.into_owned()
        })
        .collect();
    allows("client_secret_basic") && decoded == [CLIENT.0, CLIENT.1] && id.is_empty() && secret.is_empty()
}

fn id_token(desk: &Desk, manners: &Manners, nonce: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (alg, kid) = match manners.signing {
        Signing::Rs256 | Signing::NoKid => ("RS256", "rsa"),
        Signing::Es256 | Signing::Forged => ("ES256", "ec"),
        Signing::EdDsa => ("EdDSA", "ed"),
        Signing::Unsigned => ("none", "rsa"),
        Signing::ClientSecret | Signing::PublicKeyAsSecret => ("HS256", "rsa"),
    };
    let mut head = json!({ "alg": alg, "typ": "JWT", "kid": format!("{kid}-{}", manners.generation) });
    if manners.signing == Signing::NoKid {
        head.as_object_mut().unwrap().remove("kid");
    }
    let claims = json!({
        "iss": desk.issuer, "aud": CLIENT.0, "azp": CLIENT.0, "iat": now, "exp": now + 300, "nonce": nonce,
    });
    let claims = over(over(claims, &manners.person), &manners.claims);
    let head = over(head, &manners.header);
    let message = format!("{}.{}", B64.encode(head.to_string()), B64.encode(claims.to_string()));
    let signed = desk.keys.sign(manners.signing, message.as_bytes());
    format!("{message}.{}", B64.encode(signed))
}

/// Seconds since 1970, so many from now.
pub fn seconds(from_now: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + from_now
}
