//! Notifications: a user's inbox (`spec/gateway-and-notifications.md`).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{NotificationId, UserId};
use crate::privacy::{ExportNotifications, PersonalData};
use crate::{Access, Page, Reply, facts, refusals, requests};

refusals! {
    /// How notifications refuses.
    NotificationsRefusal {
        /// No such notice, or someone else's.
        NotFound = "NOTI_6003" 404 NotFound "no such notice",
    }
}

/// The caller's notices, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListNotices {
    /// Only those not read yet.
    #[garde(skip)]
    #[serde(default)]
    pub unread: bool,
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// The notice's id.
    pub id: NotificationId,
    /// What it is about: the fact's type, for example `subscription.expired`.
    pub kind: String,
    /// One line.
    pub title: String,
    /// The text.
    pub body: String,
    /// The fact that caused it.
    pub causation_id: Uuid,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was read.
    pub read_at: Option<DateTime<Utc>>,
}

impl Reply for Notice {}

/// Mark a notice as read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ReadNotice {
    /// The notice.
    #[garde(skip)]
    pub id: NotificationId,
}

requests! { NotificationsRefusal;
    /// The caller's notices.
    "svc.notifications.v1.inbox.list" Access::User, Read ListNotices => Page<Notice>;
    /// Mark a notice as read.
    "svc.notifications.v1.inbox.read" Access::Owner, Write ReadNotice => Notice;
    /// What notifications holds about the caller (GDPR Art. 20).
    "svc.notifications.v1.privacy.export" Access::User, Read ExportNotifications => PersonalData;
}

facts! {
    /// Everything of a user was erased here.
    NotificationsErased "evt.notifications.v1.privacy.erased" by user_id {
        /// The user.
        user_id: UserId,
        /// The erasure that it belongs to.
        job_id: uuid::Uuid,
        /// What was erased: table or kind of thing, and how many.
        erased: crate::privacy::Erased,
    }
    /// A notice was put into a user's inbox.
    NotificationSent "evt.notifications.v1.notification.sent" by user_id {
        /// The user.
        user_id: UserId,
        /// The notice.
        notification_id: NotificationId,
        /// What it is about.
        kind: String,
    }
}
