//! What staff do with accounts.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{email_address, person_name};
use crate::Role;

/// An account made by an admin; verified from the start.
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
    /// The password, by the same rules as at sign-up.
    #[garde(length(chars, max = 128))]
    #[schemars(extend("minLength" = 8))]
    pub password: String,
}
