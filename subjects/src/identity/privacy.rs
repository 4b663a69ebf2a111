//! What a person may ask of us: everything that is held about them (GDPR Art. 15 and 20), and to be forgotten (Art. 17).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Reply;
use crate::id::{ErasureId, ExportId, UserId};
use crate::privacy::Erased;

/// Begin an export of everything that is held about the caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct BeginExport {}

/// An export that was begun: each of the services answers its pages (`svc.<service>.v1.privacy.export`), in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// Its id, as in the audit record and the manifest.
    pub id: ExportId,
    /// Whose data it is.
    pub user_id: UserId,
    /// When it was asked for.
    pub begun_at: DateTime<Utc>,
    /// Whom to ask for pages.
    pub services: Vec<String>,
}

impl Reply for Export {}

/// Forget the caller, in every service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct EraseMe {}

/// How far an erasure is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetErasure {
    /// The erasure.
    #[garde(skip)]
    pub id: ErasureId,
}

/// An erasure: identity's own part is done at once, each other service answers with a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Erasure {
    /// Its id.
    pub id: ErasureId,
    /// Who is forgotten.
    pub user_id: UserId,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When every service had answered and the streams held nothing more; absent until then.
    pub done_at: Option<DateTime<Utc>>,
    /// What each service did so far.
    pub receipts: Vec<ErasureReceipt>,
    /// Services that have not answered yet; they are asked again.
    pub waiting_for: Vec<String>,
}

impl Reply for Erasure {}

/// What one service erased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureReceipt {
    /// The service.
    pub service: String,
    /// Table or kind of thing, and how many.
    pub erased: Erased,
    /// When it said so.
    pub received_at: DateTime<Utc>,
}
