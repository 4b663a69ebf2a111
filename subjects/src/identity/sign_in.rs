//! Sign-in, refresh, sign-out.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::email_address;
use crate::Reply;

/// Sign-in by password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The account's address.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// The password; at least 8 characters (no account has a shorter one), at most 256 bytes.
    #[garde(length(chars, min = 8), length(bytes, max = 256))]
    pub password: String,
    /// The device token of an earlier sign-in here. With it a sign-in passes the lock that a stranger's wrong passwords
    /// put on the account; it has five tries of its own. One that is not good counts as none. Over HTTP the cookie
    /// `lectern_device` may stand for it.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

/// An access token and the refresh token that renews it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenPair {
    /// EdDSA JWT (RFC 9068); send as `Authorization: Bearer`.
    pub access_token: String,
    /// Opaque, single use.
    pub refresh_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: u32,
    /// Only after a sign-in: send it with the next one from this device. Good for 400 days, until the password changes or
    /// its user signs out everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

impl Reply for TokenPair {}

/// Exchange of a refresh token for a new pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token of the last pair.
    #[garde(length(bytes, max = 512))]
    #[serde(alias = "refreshToken")]
    pub refresh_token: String,
}

/// Sign-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    /// Every session of the user instead of this one.
    #[garde(skip)]
    #[serde(default)]
    pub all: bool,
}

/// End a session with the token of the letter that told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RevokeByLink {
    /// The token in the letter's link.
    #[garde(length(bytes, max = 512))]
    pub token: String,
}
