//! What all services have in common where a person's rights are concerned. Erasure (identity spec I-109, architecture §13):
//! identity sends each service a durable command, each answers with a fact that says what it did. Export (I-108): each
//! service shows its caller what it holds about them, page by page.

use std::collections::BTreeMap;

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Reply;
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

/// A page of what a service holds about its caller: the answer of every `svc.<service>.v1.privacy.export`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PersonalData {
    /// Kinds of rows in a fixed order, each from the page on which it begins, with none when there are none. The last one
    /// may go on in the next page.
    pub sections: Vec<Section>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl Reply for PersonalData {}

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// What they are, for example `enrollments`.
    pub kind: String,
    /// There is one of it by its nature: to be shown as an object instead of a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single: bool,
    /// The rows.
    pub rows: Vec<Map<String, Value>>,
}

/// The requests that ask for those pages: one per service, for a subject names one type.
macro_rules! exports {
    ($($name:ident of $service:literal;)+) => {$(
        #[doc = concat!("What ", $service, " holds about the caller (GDPR Art. 15 and 20).")]
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, Validate)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// `next_cursor` of the page before.
            #[garde(length(bytes, max = 512))]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cursor: Option<String>,
        }
    )+};
}

exports! {
    ExportIdentity of "identity";
    ExportCourses of "courses";
    ExportContent of "content";
    ExportPlayback of "playback";
    ExportEnrollment of "enrollment";
    ExportNotifications of "notifications";
    ExportAudit of "audit";
}

/// The subject of a service's pages.
pub fn export_subject(service: &str) -> String {
    format!("svc.{service}.v1.privacy.export")
}
