//! The audit record: who did what to whom, written by whoever did it, in the transaction of the act (`spec/identity.md`
//! I-105…I-107, architecture §13).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::UserId;

/// One entry, as it stands in stream AUDIT under `audit.<service>.v1.<entity>.<act>.<user or _>`. It holds no personal
/// data: from where it was done stands in `audit_private` of the service's schema, bound to the entry by its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// UUIDv7; also `Nats-Msg-Id`.
    pub entry_id: Uuid,
    /// The service that did it.
    pub service: String,
    /// `<entity>.<act>`, for example `user.role_changed`.
    pub event_type: String,
    /// The user whom it was done to; none when it is about nobody.
    pub user_id: Option<UserId>,
    /// Who did it; none for a timer or a command.
    pub actor_id: Option<UserId>,
    /// What exactly, without personal data.
    pub details: serde_json::Value,
    /// When it was committed, by the writer's clock.
    pub timestamp: DateTime<Utc>,
    /// SHA-256 of salt ‖ address ‖ NUL ‖ agent, hexadecimal; none when neither was known.
    pub private_hash: Option<String>,
    /// W3C `traceparent` of the act.
    pub trace: Option<String>,
}
