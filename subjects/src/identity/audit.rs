//! The personal part of identity's audit entries.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Reply;

/// From where the acts of these audit entries were done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetAuditPrivate {
    /// The entries, 1 to 100.
    #[garde(length(min = 1, max = 100))]
    pub entry_ids: Vec<Uuid>,
}

/// The parts that are still kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPrivate {
    /// One for each entry whose part was not erased.
    pub items: Vec<PrivatePart>,
}

impl Reply for AuditPrivate {}

/// The personal part of one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PrivatePart {
    /// The entry.
    pub entry_id: Uuid,
    /// The address.
    pub ip_address: Option<String>,
    /// The program.
    pub user_agent: Option<String>,
    /// 16 bytes, hexadecimal: SHA-256 of salt ‖ address ‖ NUL ‖ agent is the entry's `private_hash`.
    pub salt: String,
}
