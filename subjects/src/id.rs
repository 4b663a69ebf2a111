//! Ids: UUIDv7 newtypes, so that a course can't be taken for a user.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// Reads an id of a message. A string that is no UUID names nothing: it becomes the nil id, which no row has, so it is
/// answered like any unknown id (architecture §13). The gateway refuses such a string in a path.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    Ok(Uuid::try_parse(&text).unwrap_or_default())
}

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(transparent))]
        #[serde(transparent)]
        pub struct $name(#[serde(deserialize_with = "lenient")] pub Uuid);

        impl From<$name> for Uuid {
            fn from(id: $name) -> Uuid { id.0 }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self { $name(id) }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { Uuid::try_parse(text).map($name) }
        }
    )+};
}

ids! {
    /// A user account.
    UserId;
    /// An auth session (`sid`): one sign-in and the tokens that descend from it.
    AuthSessionId;
    /// What proves, besides a password, that somebody owns an account.
    CredentialId;
    /// A course.
    CourseId;
    /// A course session: one lesson with a video.
    CourseSessionId;
    /// A playback session: one viewing of one course session.
    PlaybackSessionId;
    /// An uploaded, complete and checked file.
    AssetId;
    /// An upload in progress.
    UploadId;
    /// An enrolment of a user in a course.
    EnrollmentId;
    /// A subscription plan.
    PlanId;
    /// A user's subscription to a plan.
    SubscriptionId;
    /// The erasure of a person.
    ErasureId;
    /// An export of what is held about a person.
    ExportId;
    /// A notice in a user's inbox.
    NotificationId;
}
