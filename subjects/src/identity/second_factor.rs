//! Second factors and passkeys: authenticator apps (RFC 6238), recovery codes, WebAuthn; and proving oneself anew.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Reply;
use crate::id::CredentialId;

/// The second half of a sign-in that was answered with USER_1007.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct VerifyMfa {
    /// `details.mfa_token` of that answer; good for 5 minutes and one sign-in.
    #[garde(length(bytes, max = 128))]
    pub mfa_token: String,
    /// Six digits of the authenticator app, or a recovery code.
    #[garde(length(chars, max = 32))]
    pub code: String,
    /// The token that an earlier sign-in on this device was answered with; by HTTP the cookie will do.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

/// Proves again who the caller is, without signing out. With a second factor on, a password alone does not do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Reauthenticate {
    /// The password; at most 256 bytes.
    #[garde(inner(length(bytes, max = 256)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Six digits of the authenticator app, or a recovery code.
    #[garde(inner(length(chars, max = 32)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A passkey's answer to a challenge of `auth.passkey_options`.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<SignInWithPasskey>,
}

/// Ask for a challenge that a passkey signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AskForPasskey {}

/// A challenge for an authenticator (WebAuthn).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyChallenge {
    /// Names the challenge; goes back with the authenticator's answer.
    pub challenge: String,
    /// What `navigator.credentials.get` or `.create` is called with, binary fields in base64url.
    pub options: Value,
    /// Until when an answer is taken.
    pub expires_at: DateTime<Utc>,
}

impl Reply for PasskeyChallenge {}

/// Sign-in by passkey: possession and user verification, so both factors at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SignInWithPasskey {
    /// The challenge's name.
    #[garde(length(bytes, max = 128))]
    pub challenge: String,
    /// What `navigator.credentials.get` came to (`PublicKeyCredential.toJSON()`).
    #[garde(skip)]
    pub credential: Value,
    /// The token that an earlier sign-in on this device was answered with; by HTTP the cookie will do.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

/// Begin to use an authenticator app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StartTotp {}

/// The secret of an authenticator app, shown once. It counts after its first code was confirmed, within an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TotpSecret {
    /// 160 bits, base32.
    pub secret: String,
    /// The same for a QR code: `otpauth://totp/…`, SHA-1, 6 digits, 30 s.
    pub otpauth_url: String,
}

impl Reply for TotpSecret {}

/// The first code of a new authenticator app: it is asked for at sign-in from now on, and replaces the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ConfirmTotp {
    /// Six digits.
    #[garde(length(chars, max = 16))]
    #[schemars(extend("pattern" = "^[0-9]{6}$"))]
    pub code: String,
}

/// Do without an authenticator app; recovery codes go with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RemoveTotp {}

/// New recovery codes, where there is an authenticator app that they stand in for; those before are void.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct MakeRecoveryCodes {}

/// Codes that each do once for a code of the authenticator app, shown once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    /// Ten of them.
    pub codes: Vec<String>,
}

impl Reply for RecoveryCodes {}

/// Begin to register a passkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StartPasskey {}

/// A new passkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AddPasskey {
    /// The name of the challenge that `mfa.passkey_start` answered.
    #[garde(length(bytes, max = 128))]
    pub challenge: String,
    /// What the owner calls it, 1 to 100 characters.
    #[garde(length(chars, min = 1, max = 100))]
    pub name: String,
    /// What `navigator.credentials.create` came to (`PublicKeyCredential.toJSON()`).
    #[garde(skip)]
    pub credential: Value,
}

/// A passkey of the caller's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Passkey {
    /// Its id here.
    pub id: CredentialId,
    /// What the owner calls it.
    pub name: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When somebody last signed in with it.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Reply for Passkey {}

/// The caller's passkeys, oldest first; there are at most 20.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListPasskeys {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Do without a passkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RemovePasskey {
    /// The passkey.
    #[garde(skip)]
    pub id: CredentialId,
}
