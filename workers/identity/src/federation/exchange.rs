//! From a code to what is believed of who brought it (OpenID Connect Core 3.1.3): asked of the provider itself, so nothing
//! of it passes the browser.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use lectern_core::Call;
use serde::Deserialize;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::app::{App, Fault};
use crate::federation::discovery::{Metadata, Party};
use crate::federation::id_token::{self, BadIdToken, Claims, Expected};
use crate::federation::provider::Provider;
use crate::federation::start::Pending;
use crate::federation::web::{Away, Web};
use crate::federation::{failed, unavailable};
use crate::mfa::invalid;

/// Left of the request's time for what is done with the answer.
const RESERVE: Duration = Duration::from_secs(1);

/// Why there is nothing to believe.
enum Failed {
    Away(Away),
    Code,
    IdToken(BadIdToken),
}

impl From<Away> for Failed {
    fn from(away: Away) -> Failed {
        Failed::Away(away)
    }
}

/// Who the provider says has signed in there.
///
/// # Errors
/// USER_1012, COMMON_0001 for another request's nonce, COMMON_0010 when the provider does not answer in time.
pub(super) async fn claims(
    app: &App,
    call: &Call,
    web: &Web,
    party: &Party,
    pending: &Pending,
    code: &str,
) -> Result<Claims, Fault> {
    let provider = &party.provider;
    let patience = app.time_left(call).saturating_sub(RESERVE);
    let claimed = tokio::time::timeout(patience, exchange(app, web, party, pending, code)).await;
    let claimed = claimed.unwrap_or_else(|_| Err(Failed::Away(Away("no answer in time".to_owned()))));
    claimed.map_err(|why| match why {
        Failed::Away(away) => unavailable(provider, &away),
        Failed::Code => failed(provider, "the provider does not take the code"),
        Failed::IdToken(bad) => {
            tracing::warn!(provider = provider.id, %bad, "an ID token is not believed");
            match bad {
                BadIdToken::Nonce => invalid("/state", "the answer to another request").into(),
                BadIdToken::UnknownKey | BadIdToken::Invalid(_) => {
                    failed(provider, "the provider's ID token is not good")
                }
            }
        }
    })
}

async fn exchange(
    app: &App,
    web: &Web,
    party: &Party,
    pending: &Pending,
    code: &str,
) -> Result<Claims, Failed> {
    let metadata = party.metadata(web).await?;
    let token = id_token(web, party, &metadata, pending, code).await?;
    let provider = &party.provider;
    let expected = Expected {
        issuer: &provider.issuer,
        client_id: &provider.client_id,
        nonce: &pending.nonce,
        now: app.now(),
    };
    let keys = party.keys(web).await?;
    match id_token::verify(&token, &keys, &expected) {
        Err(BadIdToken::UnknownKey) => {
            let keys = party.newer_keys(web).await?;
            id_token::verify(&token, &keys, &expected)
        }
        verified => verified,
    }
    .map_err(Failed::IdToken)
}

/// The code for the ID token (RFC 6749, 4.1.3 and 5).
async fn id_token(
    web: &Web,
    party: &Party,
    metadata: &Metadata,
    pending: &Pending,
    code: &str,
) -> Result<String, Failed> {
    #[derive(Deserialize)]
    struct Answer {
        id_token: String,
    }
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let provider = &party.provider;
    let by_header = by_header(metadata);
    let secret = provider.client_secret.as_deref();
    let authorization = secret.filter(|_| by_header).map(|secret| basic(provider, secret));
    let form =
        form(provider, pending, code, (!by_header).then_some(secret).flatten(), authorization.is_none());
    let url = &metadata.token_endpoint;
    let _place = party.place()?;
    let (status, body) = web.post(url, authorization.as_deref(), form).await?;
    if status == StatusCode::OK {
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| Failed::IdToken(BadIdToken::Invalid("there is none in the answer")))?;
        return Ok(answer.id_token);
    }
    let error = serde_json::from_slice(&body).map(|refused: Refused| refused.error).unwrap_or_default();
    if error == "invalid_grant" {
        return Err(Failed::Code);
    }
    if error == "invalid_client" {
        tracing::error!(
            provider = provider.id,
            "the provider does not know us: look at client id and secret"
        );
    }
    Err(Away(format!("{url}: answered {status}, {}", known(&error))).into())
}

/// The error codes of a token endpoint (RFC 6749, 4.1.2.1 and 5.2; RFC 8707, 2): what else a provider says is not repeated.
fn known(error: &str) -> &'static str {
    const CODES: [&str; 9] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
    ];
    CODES.into_iter().find(|code| *code == error).unwrap_or("no error code that is known")
}

/// The request for it; it says who we are where no header does.
fn form(provider: &Provider, pending: &Pending, code: &str, secret: Option<&str>, says_who: bool) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", &provider.redirect_url)
        .append_pair("code_verifier", &pending.verifier);
    if says_who {
        form.append_pair("client_id", &provider.client_id);
    }
    if let Some(secret) = secret {
        form.append_pair("client_secret", secret);
    }
    form.finish()
}

/// How we say who we are: in the header, unless the provider knows other ways only (Discovery 3; RFC 6749, 2.3.1).
fn by_header(metadata: &Metadata) -> bool {
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
}

fn basic(provider: &Provider, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(&provider.client_id), encoded(secret));
    format!("Basic {}", STANDARD.encode(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i079_of_a_providers_refusal_its_error_code_is_repeated_and_nothing_else() {
        assert_eq!(known("invalid_client"), "invalid_client");
        for text in ["", "INVALID_CLIENT", "invalid_client\nforged line", &"x".repeat(1 << 20)] {
            assert_eq!(known(text), "no error code that is known");
        }
    }
}
