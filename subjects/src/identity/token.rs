//! What others may ask of tokens: the keys that verify them, whether they are good.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Reply;
use crate::id::{AuthSessionId, UserId};

/// The public keys that verify access tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetJwks {}

/// A JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jwks {
    /// The keys in force, newest first.
    pub keys: Vec<Jwk>,
}

impl Reply for Jwks {}

/// One Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    pub r#use: String,
    /// The key's id, as in a token's header.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
}

/// Is this access token good right now? The synchronous check for a role whose revocation watcher is stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CheckToken {
    /// The token's `sid`.
    #[garde(skip)]
    pub sid: AuthSessionId,
    /// The token's `sub`.
    #[garde(skip)]
    pub user: UserId,
    /// The token's claims version.
    #[garde(skip)]
    pub uv: i64,
}

/// Whether tokens of a session are good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenState {
    /// False once the session is ended or the user is disabled.
    pub active: bool,
}

impl Reply for TokenState {}
