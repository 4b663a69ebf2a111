//! What standard clients read first: who issues tokens here, and where to ask about them (RFC 8414, OpenID Connect
//! Discovery 1.0). It names what there is and nothing else: no authorisation endpoint, no ID tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::Gateway;
use crate::config::Config;

/// The two names of the one document.
pub(crate) const PATHS: [&str; 2] =
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/// The document's routes.
pub(crate) fn router() -> Router<Arc<Gateway>> {
    PATHS.iter().fold(Router::new(), |router, path| router.route(path, get(answer)))
}

async fn answer(State(gateway): State<Arc<Gateway>>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    (headers, Json(document(&gateway.config))).into_response()
}

/// `issuer` is the `iss` of every token, as a client must check. Where that is no URL, the addresses are the listener's:
/// what a `Host` header says is nothing to send people's tokens to.
fn document(config: &Config) -> Value {
    let issuer = &config.issuer;
    let base = if issuer.contains("://") { issuer.clone() } else { format!("http://{}", config.http_addr) };
    let at = |path: &str| format!("{base}{path}");
    json!({
        "issuer": issuer,
        "jwks_uri": at("/.well-known/jwks.json"),
        "introspection_endpoint": at("/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported": ["Bearer"],
        "revocation_endpoint": at("/oauth/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "userinfo_endpoint": at("/oauth/userinfo"),
        "service_documentation": at("/docs/"),
        "response_types_supported": [],
        "grant_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "acr_values_supported": ["aal1", "aal2"],
        "claims_supported": [
            "iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "client_id", "roles", "role", "email_verified", "uv",
            "auth_time", "amr", "acr", "email", "name", "phone_number", "locale", "zoneinfo", "updated_at",
        ],
    })
}

#[cfg(test)]
mod tests {
    use lectern_core::Env;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Value {
        let env = Env::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        document(&Config::from(&env).expect("a configuration"))
    }

    #[test]
    fn rfc8414_every_endpoint_stands_under_the_issuer_when_that_is_a_url() {
        let document = read(&[("JWT_ISSUER", "https://learn.example.org")]);
        assert_eq!(document["issuer"], "https://learn.example.org");
        for (name, value) in document.as_object().expect("an object") {
            let is_place = name.ends_with("_endpoint") || name.ends_with("_uri");
            assert!(
                !is_place || value.as_str().is_some_and(|url| url.starts_with("https://learn.example.org/"))
            );
        }
        let local = read(&[("HTTP_ADDR", "127.0.0.1:3999")]);
        assert_eq!(
            (&local["issuer"], &local["jwks_uri"]),
            (&json!("lectern"), &json!("http://127.0.0.1:3999/.well-known/jwks.json"))
        );
    }
}
