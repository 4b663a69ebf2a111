//! Erasure of a person over all services (identity spec I-109, architecture §13): identity sends each service a durable
//! command, each answers with a fact that says what it did.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::UserId;

/// The verb of the command: `cmd.<service>.v1.privacy_erase.<user>`.
pub const ERASE: &str = "privacy_erase";

/// The command: delete what is somebody's, or make it nobody's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErasePerson {
    /// The erasure that it belongs to; the receipt names it.
    pub job_id: Uuid,
    /// Whom to forget.
    pub user_id: UserId,
}

/// What a service erased: table or kind of thing, and how many.
pub type Erased = BTreeMap<String, u64>;

/// The data of every service's `privacy.erased`: all have the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whom it was about.
    pub user_id: UserId,
    /// The erasure.
    pub job_id: Uuid,
    /// What was erased.
    pub erased: Erased,
}
