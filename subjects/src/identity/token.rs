//! What others may ask of tokens: the keys that verify them, whether they are good, whom they stand for; and their end.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AuthSessionId, UserId};
use crate::{Reply, Role};

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
    /// Why not, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<VoidReason>,
}

impl Reply for TokenState {}

/// Why a genuine token is void before its time: `details.reason` of USER_1011.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoidReason {
    /// The session was ended: sign in again.
    Revoked,
    /// What the token says of its user is no longer so, but the session lives: refresh, and nobody need notice.
    StaleClaims,
}

/// What a token is good for (RFC 7662 §2.1), for resource servers that do not check signatures themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct IntrospectToken {
    /// An access or a refresh token, at most 8192 bytes.
    #[garde(length(bytes, max = 8192))]
    pub token: String,
    /// `access_token` or `refresh_token`; only a hint, and not needed here.
    #[garde(length(bytes, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
}

/// What a token is good for (RFC 7662 §2.2). Of a token that is not good, for whatever reason, only `active: false`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Introspection {
    /// Whether it is genuine, not expired, not revoked, and its user not disabled.
    pub active: bool,
    /// `Bearer`, or `refresh_token` for one that buys a new pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The client that it was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The user or the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<UserId>,
    /// The auth session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<AuthSessionId>,
    /// All roles: of an access token as it says, of a refresh token as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// Issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience; of access tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The token's id; of access tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<uuid::Uuid>,
    /// Issued at, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Not before, unix seconds; of access tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Expires at, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When the user proved who they are, unix seconds (RFC 9470); of access tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How sure that is: `aal1` or `aal2` (RFC 9470); of access tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
}

impl Reply for Introspection {}

/// The end of a token, and with it of its session and every token that descends from it (RFC 7009). Whoever holds a token
/// may end it; one that is no good any more is answered the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// An access or a refresh token, at most 8192 bytes.
    #[garde(length(bytes, max = 8192))]
    pub token: String,
    /// `access_token` or `refresh_token`; only a hint, and not needed here.
    #[garde(length(bytes, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
    /// What public clients send beside it (RFC 7009 §2.1); not looked at.
    #[garde(length(bytes, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// What standard clients are told of a signed-in user (OpenID Connect Core §5.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetUserinfo {}

/// The caller in OpenID Connect's standard claims (Core §5.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Userinfo {
    /// The user.
    pub sub: UserId,
    /// The e-mail address as it was given.
    pub email: String,
    /// Whether it is verified.
    pub email_verified: bool,
    /// The name.
    pub name: String,
    /// E.164; absent when none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// BCP 47, for example `ko-KR`.
    pub locale: String,
    /// From the IANA time zone database, for example `Asia/Seoul`.
    pub zoneinfo: String,
    /// When the account changed last, unix seconds.
    pub updated_at: i64,
}

impl Reply for Userinfo {}
