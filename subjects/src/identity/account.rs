//! Accounts: sign-up, verification, the caller's own account.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{email_address, person_name, phone_number};
use crate::id::UserId;
use crate::{Reply, Role};

/// A new account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Trimmed and, for comparison, lower-cased; at most 255 characters.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// 8 to 128 characters with an upper-case and a lower-case letter, a digit and one of `!@#$%^&*()_+-=`.
    #[garde(length(chars, max = 128))]
    #[schemars(extend("minLength" = 8))]
    pub password: String,
    /// 2 to 100 characters: letters, marks, digits, spaces and `'-.·`.
    #[garde(custom(person_name))]
    #[schemars(length(min = 2, max = 100))]
    pub name: String,
    /// E.164, for example `+821012345678`.
    #[garde(custom(phone_number))]
    #[schemars(extend("pattern" = r"^\+[1-9][0-9]{6,14}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Kind of business, at most 50 characters.
    #[garde(length(chars, max = 50))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_type: Option<String>,
    /// Business registration number, at most 50 characters.
    #[garde(length(chars, max = 50))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_number: Option<String>,
    /// Industry, at most 100 characters.
    #[garde(length(chars, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry: Option<String>,
    /// Region, at most 100 characters.
    #[garde(length(chars, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `user` when absent. Another one is refused, except where the server was told to allow it (development and test).
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl Register {
    /// An address that somebody else has told, trimmed, if an account may have it.
    pub fn address(told: &str) -> Option<&str> {
        email_address(told, &()).ok().map(|()| told.trim())
    }

    /// A name that somebody else has told, trimmed, if a person may have it here.
    pub fn person(told: &str) -> Option<&str> {
        person_name(told, &()).ok().map(|()| told.trim())
    }
}

/// A user, as shown to themselves and to admins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// The e-mail address as it was given.
    pub email: String,
    /// The name.
    pub name: String,
    /// The phone number, E.164.
    pub phone: Option<String>,
    /// The highest role (seed 001's clients read this one).
    pub role: Role,
    /// All roles.
    pub roles: Vec<Role>,
    /// Whether the account may sign in.
    pub is_active: bool,
    /// Whether the e-mail address is verified.
    pub is_verified: bool,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// The last successful sign-in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// Grows by one with each change; the `ETag`.
    pub version: i64,
}

impl Reply for User {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// The code that was mailed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct VerifyEmail {
    /// The address that the code was sent to.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// Six digits.
    #[garde(length(chars, max = 16))]
    #[schemars(extend("pattern" = "^[0-9]{6}$"))]
    pub code: String,
}

/// Ask for a new verification code; answered the same whether the address is known or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ResendVerification {
    /// The address to verify.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
}

/// A sentence for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// What happened.
    pub message: String,
}

impl Reply for Message {}

/// The caller's own account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetMe {}
