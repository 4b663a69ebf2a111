//! The audit record: who did what to whom, written by whoever did it, in the transaction of the act (`spec/identity.md`
//! I-105…I-107, architecture §13), and chained by `workers/audit`.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::UserId;
use crate::privacy::{ExportAudit, PersonalData};
use crate::{Access, CommonRefusal, Page, Permission, Reply, facts, requests};

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

/// Entries of the record, newest first. All filters must match.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct QueryEntries {
    /// Only those about this user.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Only what this user did.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<UserId>,
    /// Only of this service.
    #[garde(length(bytes, min = 1, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only of this kind, for example `user.role_changed`.
    #[garde(length(bytes, min = 1, max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Only what was done at this moment or later.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Only what was done before this moment.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedEntry {
    /// Its number in the record, from 1 without gaps.
    pub seq: i64,
    /// What was done.
    pub entry: AuditEntry,
    /// SHA-256 of the hash before ‖ the entry's bytes, hexadecimal.
    pub hash: String,
    /// When it was added to the record.
    pub recorded_at: DateTime<Utc>,
    /// What became of the personal part.
    pub personal_part: PersonalPart,
    /// From which address it was done, while that is kept.
    pub ip_address: Option<String>,
    /// With which program, while that is kept.
    pub user_agent: Option<String>,
}

/// What is known of the personal part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersonalPart {
    /// There never was one: neither address nor agent were known.
    Absent,
    /// It is there, and it is what the entry's hash says.
    Kept,
    /// It is there and is not what the entry's hash says: somebody changed it. It is not shown.
    Changed,
    /// It was erased.
    Erased,
    /// Its service can't be asked at the moment, or keeps it to itself.
    Unavailable,
}

/// Recompute a part of the chain.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct VerifyEntries {
    /// The first entry to look at; 1 when absent.
    #[garde(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<i64>,
    /// The last one; the newest when absent. One call looks at 500 at most, and says where to go on.
    #[garde(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_seq: Option<i64>,
}

/// What a part of the chain came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whether nothing is wrong with what was looked at.
    pub ok: bool,
    /// The first thing that is wrong; what lies behind it was not judged.
    pub broken: Option<Break>,
    /// The first entry that was looked at.
    pub from_seq: i64,
    /// The last one; less than `from_seq` when there was none.
    pub through_seq: i64,
    /// Entries whose hash was recomputed.
    pub checked: u32,
    /// Entries that were also compared, byte for byte, with the stream AUDIT; 0 when the broker is away.
    pub compared: u32,
    /// `from_seq` of the next call; none when this one came to the end.
    pub next_from_seq: Option<i64>,
    /// The newest entry of the record; 0 when it is empty.
    pub head_seq: i64,
    /// Its hash, hexadecimal, to be kept elsewhere; none when the record is empty.
    pub head_hash: Option<String>,
}

impl Reply for Verification {}

/// Where the chain is broken, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Break {
    /// The first entry that is wrong, or missing.
    pub seq: i64,
    /// How.
    pub reason: BreakReason,
    /// The entry, where one is known.
    pub entry_id: Option<Uuid>,
}

/// How a chain can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakReason {
    /// The entry's bytes, or what was made of them for searching, are not what was recorded.
    ChangedEntry,
    /// No entry has this number, or the stream has one that the record lacks.
    MissingEntry,
    /// It does not name the hash of the entry before.
    WrongLink,
    /// The chain is whole, but the stream has something else in this place, or nothing: one of the two was changed.
    DiffersFromStream,
}

requests! { CommonRefusal;
    /// Search the audit record.
    "svc.audit.v1.entries.query" Access::May(Permission::AuditRead), Read QueryEntries => Page<RecordedEntry>;
    /// Recompute the chain of the audit record.
    "svc.audit.v1.entries.verify" Access::May(Permission::AuditRead), Read VerifyEntries => Verification;
    /// What audit holds about the caller (GDPR Art. 20).
    "svc.audit.v1.privacy.export" Access::User, Read ExportAudit => PersonalData;
}

facts! {
    /// From where somebody did what was audited here was erased; the entries stay, they name only an id.
    AuditErased "evt.audit.v1.privacy.erased" by user_id {
        /// The user.
        user_id: UserId,
        /// The erasure that it belongs to.
        job_id: Uuid,
        /// What was erased: table or kind of thing, and how many.
        erased: crate::privacy::Erased,
    }
}
