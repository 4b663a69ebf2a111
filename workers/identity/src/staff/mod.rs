//! What staff do with others' accounts.

pub(crate) mod audit_private;
pub(crate) mod mass_revocation;
pub(crate) mod password_reset;
pub(crate) mod user_create;
pub(crate) mod user_delete;
pub(crate) mod user_get;
pub(crate) mod user_role;
pub(crate) mod user_sessions;
pub(crate) mod user_switch;
pub(crate) mod user_unlock;
pub(crate) mod user_update;
pub(crate) mod users_list;
