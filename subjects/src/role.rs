//! Roles: one set for all seeds (identity spec, C1).

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// What a caller is. Instructor is no role but membership of a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum Role {
    /// A learner; what everyone is who signs up.
    User,
    /// Community: reviews, user suspend requests.
    Moderator,
    /// Business: courses, files, events, rewards.
    Operator,
    /// Read-only: audit and reward history, nothing else.
    Auditor,
    /// Everything.
    Admin,
    /// A machine with a service token.
    Service,
}

impl Role {
    /// All roles, lowest first.
    pub const ALL: [Role; 6] =
        [Role::User, Role::Moderator, Role::Operator, Role::Auditor, Role::Admin, Role::Service];

    /// The canonical lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Moderator => "moderator",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
            Role::Service => "service",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    /// Parses case-insensitively (identity spec, C1).
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        Role::ALL
            .into_iter()
            .find(|role| role.name() == lower)
            .ok_or_else(|| "expected one of user, moderator, operator, auditor, admin, service".to_owned())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What a role lets its holders do beyond signing in. One table for gateway, services and documents; writing a thing
/// implies reading it (seed 002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Look at other people's accounts; who may not update them sees no e-mail, name or phone.
    UserRead,
    /// Make accounts.
    UserCreate,
    /// Change, disable, unlock accounts and end their sessions.
    UserUpdate,
    /// Delete accounts.
    UserDelete,
    /// Give and take roles (seed 001).
    UserUpdateRole,
    /// Read the audit log and the security feed.
    AuditRead,
    /// Rotate signing keys.
    KeysRotate,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Permission; 7] = [
        Permission::UserRead,
        Permission::UserCreate,
        Permission::UserUpdate,
        Permission::UserDelete,
        Permission::UserUpdateRole,
        Permission::AuditRead,
        Permission::KeysRotate,
    ];

    /// The name in documents and refusals, `<noun>:<verb>`.
    pub fn name(self) -> &'static str {
        match self {
            Permission::UserRead => "user:read",
            Permission::UserCreate => "user:create",
            Permission::UserUpdate => "user:update",
            Permission::UserDelete => "user:delete",
            Permission::UserUpdateRole => "user:update_role",
            Permission::AuditRead => "audit:read",
            Permission::KeysRotate => "keys:rotate",
        }
    }

    /// The roles that have it.
    pub fn holders(self) -> &'static [Role] {
        match self {
            Permission::UserRead => &[Role::Moderator, Role::Auditor, Role::Admin],
            Permission::AuditRead => &[Role::Auditor, Role::Admin],
            Permission::UserCreate
            | Permission::UserUpdate
            | Permission::UserDelete
            | Permission::UserUpdateRole
            | Permission::KeysRotate => &[Role::Admin],
        }
    }
}
