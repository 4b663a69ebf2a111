//! Auth sessions and sign-ins, as their owner sees them.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::AuthSessionId;

/// The caller's live auth sessions, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListAuthSessions {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One sign-in and the tokens that descend from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuthSession {
    /// The session's id, as in its tokens.
    pub sid: AuthSessionId,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When its tokens were last renewed.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends unless its tokens are renewed before.
    pub expires_at: DateTime<Utc>,
    /// The address that it was last seen at; null when it began on the bus.
    pub ip: Option<String>,
    /// What the program says of itself.
    pub user_agent: Option<String>,
    /// That in short, for example `Chrome on Windows`.
    pub device_name: Option<String>,
    /// How the user proved who they are (RFC 8176).
    pub amr: Vec<String>,
    /// Whether this request came from it.
    pub current: bool,
}

/// End one of the caller's sessions. Ending one that is ended already changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RevokeAuthSession {
    /// The session.
    #[garde(skip)]
    pub sid: AuthSessionId,
}

/// End all of the caller's sessions but the one that this request comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RevokeOtherAuthSessions {}

/// The caller's sign-ins and sign-outs, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListLoginHistory {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum LoginAction {
    /// To sign in.
    Login,
    /// To sign out.
    Logout,
}

/// One sign-in or sign-out, tried or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginRecord {
    /// When.
    pub timestamp: DateTime<Utc>,
    /// What was tried.
    pub action: LoginAction,
    /// Whether it came to that.
    pub success: bool,
    /// Why not, for example `invalid_password`.
    pub failure_reason: Option<String>,
    /// From which address; null when it came over the bus.
    pub ip_address: Option<String>,
    /// What the program says of itself.
    pub user_agent: Option<String>,
}
