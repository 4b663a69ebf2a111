//! Sign-in by an account elsewhere (OpenID Connect), and the identities that an account has there.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TokenPair;
use crate::Reply;
use crate::id::CredentialId;

/// Ask where else one may sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListProviders {}

/// An OpenID provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// What requests call it.
    pub provider: String,
    /// What people call it.
    pub name: String,
}

/// The providers, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Providers {
    /// All of them.
    pub items: Vec<Provider>,
}

impl Reply for Providers {}

/// Begin to sign in at a provider. Over HTTP the answer is a redirect there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StartOidc {
    /// The provider, as the configuration calls it.
    #[garde(length(bytes, max = 64))]
    pub provider: String,
}

/// Where to go, and what to bring back. Good once, for five minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OidcStart {
    /// The provider's page, for the browser of who signs in.
    pub url: String,
    /// Goes back with the provider's answer, so that nobody is signed in with an answer that another browser fetched
    /// (RFC 9700, 4.7). Over HTTP it is the cookie `__Host-lectern_oidc`.
    pub binding: String,
    /// Until when an answer is taken.
    pub expires_at: DateTime<Utc>,
}

impl Reply for OidcStart {}

/// The provider's answer (RFC 6749, 4.1.2). What else a provider adds is ignored over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct OidcCallback {
    /// The provider, as the configuration calls it.
    #[garde(length(bytes, max = 64))]
    pub provider: String,
    /// As it was sent.
    #[garde(length(bytes, max = 128))]
    pub state: String,
    /// `binding` of the start; over HTTP the cookie, and nothing else.
    #[garde(length(bytes, max = 128))]
    pub binding: String,
    /// What the provider gives for an ID token; absent with `error`.
    #[garde(inner(length(bytes, max = 4096)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Who answers (RFC 9207).
    #[garde(inner(length(bytes, max = 512)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Why there is no code, for example `access_denied`.
    #[garde(inner(length(bytes, max = 128)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The token that an earlier sign-in on this device was answered with; by HTTP the cookie, and nothing else.
    #[garde(inner(length(bytes, max = 512)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

/// What the provider's answer came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OidcAnswer {
    /// It began as a sign-in.
    SignedIn(TokenPair),
    /// It began as `identities.link`.
    Linked(Identity),
}

impl Reply for OidcAnswer {}

/// Begin to link an account at a provider to the caller's own. The provider's answer goes to `auth.oidc_callback`, within
/// five minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct LinkIdentity {
    /// The provider, as the configuration calls it.
    #[garde(length(bytes, max = 64))]
    pub provider: String,
}

/// An account at a provider that signs in to the caller's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Its id here.
    pub id: CredentialId,
    /// The provider, as the configuration called it.
    pub provider: String,
    /// What people call the provider.
    pub name: String,
    /// When it was linked.
    pub created_at: DateTime<Utc>,
    /// When somebody last signed in with it.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// The caller's identities, oldest first; there are at most 20.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListIdentities {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Do without an identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct UnlinkIdentity {
    /// The identity.
    #[garde(skip)]
    pub id: CredentialId,
}
