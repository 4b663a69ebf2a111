//! What staff do with accounts.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{email_address, person_name, phone_digits};
use super::profile::given;
use crate::id::UserId;
use crate::{Reply, Role};

/// An account made by an admin. With a password it is verified from the start. Without one a letter invites its owner, whose
/// link sets the first password and verifies the address; until then nobody can sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The address.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// The name, 2 to 100 characters.
    #[garde(custom(person_name))]
    #[schemars(length(min = 2, max = 100))]
    pub name: String,
    /// The role; `user` when absent. `service` is refused: machines get tokens, not accounts.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The password, by the same rules as at sign-up; absent: its owner is invited to choose one.
    #[garde(inner(length(chars, max = 128)))]
    #[schemars(extend("minLength" = 8))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Accounts, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    /// Only those whose highest role this is.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Only those that may, or may not, sign in.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Only those whose e-mail address or name begins like this, 2 to 100 characters; upper and lower case are the same, of
    /// other letters than A to Z only where the database's locale knows them. For callers who see both: it would tell
    /// others what they may not see. Where very many begin so, a page may hold fewer than asked for, or none: the list is
    /// over when `next_cursor` is null.
    #[garde(length(chars, min = 2, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A row of the list of accounts. Callers who may not change accounts (moderators, auditors) see null for `email`, `name`
/// and `phone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedUser {
    /// The user's id.
    pub id: UserId,
    /// The e-mail address as it was given; null for who may not see it.
    pub email: Option<String>,
    /// The name; null for who may not see it.
    pub name: Option<String>,
    /// The phone number, E.164; null when there is none, and for who may not see it.
    pub phone: Option<String>,
    /// The highest role.
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
    /// Grows by one with each change.
    pub version: i64,
}

/// One account, in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetUser {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// Changes to somebody's account, at least one. Absent means unchanged; null clears what an account may be without. Roles,
/// the e-mail address and whether the account may sign in have requests of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 2))]
pub struct UpdateUser {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
    /// 2 to 100 characters: letters, marks, digits, spaces and `'-.·`.
    #[garde(inner(custom(person_name)))]
    #[schemars(with = "String", length(min = 2, max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E.164, for example `+821012345678`.
    #[garde(inner(inner(custom(phone_digits))))]
    #[schemars(extend("pattern" = r"^\+[1-9][0-9]{6,14}$"))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub phone: Option<Option<String>>,
    /// Kind of business, at most 50 characters.
    #[garde(inner(inner(length(chars, max = 50))))]
    #[schemars(length(max = 50))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub business_type: Option<Option<String>>,
    /// Business registration number, at most 50 characters.
    #[garde(inner(inner(length(chars, max = 50))))]
    #[schemars(length(max = 50))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub business_number: Option<Option<String>>,
    /// Industry, at most 100 characters.
    #[garde(inner(inner(length(chars, max = 100))))]
    #[schemars(length(max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub industry: Option<Option<String>>,
    /// Region, at most 100 characters.
    #[garde(inner(inner(length(chars, max = 100))))]
    #[schemars(length(max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub region: Option<Option<String>>,
}

/// Delete an account: what it says of a person is overwritten, its sessions end, its address is free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct DeleteUser {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// Give somebody other roles: exactly one of `role` and `roles`. Their access tokens are void from then on; a refresh
/// answers one with the new roles. `service` is refused: machines get tokens, not accounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
    /// The only role from now on.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// All roles from now on, 1 to 5; the highest becomes `role`.
    #[garde(length(min = 1, max = 5))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
}

/// Switch an account off: all its sessions end, it can't sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct DisableUser {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// Switch an account on again. Sessions and tokens of the time before stay void.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct EnableUser {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// Lift the locks that wrong passwords and wrong codes of the second factor put on an account, and start their counts over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct UnlockUser {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// Mail somebody a link with which they set another password. Who has never had one, and has never signed in, is invited
/// again. The link is in the letter alone: whoever asks for it sees neither it nor a password (ASVS 5.0 6.4.6), and until it
/// is used everything stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SendPasswordReset {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// Somebody's live auth sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListUserSessions {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// End all of somebody's sessions. They may sign in again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RevokeUserSessions {
    /// The user.
    #[garde(skip)]
    pub id: UserId,
}

/// End the sessions of all users, the caller's too. It is taken down first, so that it is done whatever happens; as much of
/// it as there is time for is done before it is answered, the rest right after, by whichever identity runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllSessions {
    /// Only sessions that began before this moment; now when absent or later than now.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_before: Option<DateTime<Utc>>,
}

/// How far the end of all sessions has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedSessions {
    /// Sessions that began before this moment end.
    pub began_before: DateTime<Utc>,
    /// 0: all have, and every role can know it. Else some have not yet, at least this many: where there are millions, nobody
    /// counts them all.
    pub remaining: i64,
}

impl Reply for RevokedSessions {}

/// Begin to change the key that signs access tokens. Asked again before the new key signs, it answers that one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RotateKeys {}

/// The key that is to sign, and the one that signed before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RotatedKey {
    /// The new key's id; it is published already.
    pub kid: String,
    /// It signs from then on: by then every verifier knows it.
    pub signs_from: DateTime<Utc>,
    /// The key before it verifies at least until then: its last token has expired.
    pub old_key_until: DateTime<Utc>,
}

impl Reply for RotatedKey {}
