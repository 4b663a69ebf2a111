//! The identity of a test: it has one key, and every token is good.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_core::jwt::{self, Claims};
use lectern_core::{App, Call, Clock, Outcome, Service};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{CheckToken, GetJwks, Jwk, Jwks, TokenState};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

const KID: &str = "test";
/// Seconds: longer than any test, also one that moves its clock.
const LIFE: i64 = 86_400;

/// Signs tokens.
pub(crate) struct Signer {
    pkcs8: Vec<u8>,
}

impl Signer {
    pub fn new() -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Signer { pkcs8: pkcs8.as_ref().to_vec() }
    }

    /// A token of somebody who has just signed in.
    pub fn token(&self, clock: &Clock, user: UserId, sid: AuthSessionId, role: Role) -> String {
        let now = clock.now().timestamp();
        let claims = Claims {
            iss: jwt::ISSUER.to_owned(),
            aud: jwt::AUDIENCE.to_owned(),
            sub: user,
            sid,
            jti: clock.new_id(),
            iat: now,
            nbf: now,
            exp: now + LIFE,
            client_id: "test".to_owned(),
            roles: vec![role],
            role,
            user_id: user,
            email_verified: true,
            uv: 1,
            auth_time: now,
            amr: vec!["pwd".to_owned()],
            acr: Some("aal1".to_owned()),
            email: None,
        };
        jwt::sign(&claims, KID, &self.pkcs8).expect("a token")
    }

    /// Publishes the key.
    pub fn app(&self, core: App) -> Identity {
        let pair = Ed25519KeyPair::from_pkcs8(&self.pkcs8).expect("a key");
        Identity { core, x: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()).into() }
    }
}

/// What the service runs on.
#[derive(Clone)]
pub(crate) struct Identity {
    core: App,
    x: Arc<str>,
}

impl AsRef<App> for Identity {
    fn as_ref(&self) -> &App {
        &self.core
    }
}

pub(crate) fn service() -> Service<Identity> {
    Service::new("identity").on(jwks).on(check_token)
}

async fn jwks(app: Identity, _call: Call, _req: GetJwks) -> Outcome<GetJwks> {
    let text = str::to_owned;
    Ok(Jwks {
        keys: vec![Jwk {
            kty: text("OKP"),
            crv: text("Ed25519"),
            alg: text("EdDSA"),
            r#use: text("sig"),
            kid: text(KID),
            x: app.x.to_string(),
        }],
    })
}

async fn check_token(_app: Identity, _call: Call, _req: CheckToken) -> Outcome<CheckToken> {
    Ok(TokenState { active: true, reason: None })
}
