//! Forgotten and changed passwords.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::email_address;

/// Ask for a link that sets a new password; answered the same whether the address is known or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    /// The account's address.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
}

/// Set a new password with the token of a mailed link. It signs nobody in: sign in with the new password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token of the link, 43 characters; good once.
    #[garde(length(bytes, max = 512))]
    pub token: String,
    /// The new password, by the same rules as at sign-up, and none of the last ones.
    #[garde(length(chars, max = 128))]
    #[schemars(extend("minLength" = 8))]
    pub new_password: String,
}

/// Change the own password. Every other session of the caller is ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The present password; at most 256 bytes. Five wrong ones, here and at `auth.reauthenticate` together,
    /// lock both for a while (USER_1003); they are no wrong sign-ins, and a locked sign-in does not lock this.
    #[garde(length(bytes, max = 256))]
    pub current_password: String,
    /// The new password, by the same rules as at sign-up, and none of the last ones.
    #[garde(length(chars, max = 128))]
    #[schemars(extend("minLength" = 8))]
    pub new_password: String,
}
