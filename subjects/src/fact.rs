//! A fact: something that happened, announced once, never lost, never believed twice (architecture §5).

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::id::UserId;

/// A fact of the contract. Implemented by [`facts!`](crate::facts) only.
pub trait Fact: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The subject without its key: `evt.<service>.v<n>.<entity>.<fact>`.
    const SUBJECT: &'static str;
    /// The key: the user's id where the fact is about a user, else the entity's id. Facts of one key keep their order.
    fn key(&self) -> Uuid;
    /// The whole subject.
    fn subject(&self) -> String {
        format!("{}.{}", Self::SUBJECT, self.key())
    }
}

/// What every fact travels in; copies of these fields stand in `ce-*` headers (CloudEvents names).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<F> {
    /// UUIDv7; also `Nats-Msg-Id` and the inbox key.
    pub event_id: Uuid,
    /// `<entity>.<fact>`, for example `course.published`.
    pub event_type: String,
    /// Version of the data's schema (semver).
    pub version: String,
    /// When the change was committed, by the writer's clock.
    pub occurred_at: DateTime<Utc>,
    /// Who caused it; none for a timer.
    pub actor_id: Option<UserId>,
    /// The fact's key.
    pub subject_id: Uuid,
    /// The entity's version after the change: a late fact never overwrites a newer state.
    pub entity_version: i64,
    /// The fact, request or timer that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// W3C `traceparent` of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The fact itself.
    pub data: F,
}

/// A row of a fact table as data.
pub struct FactInfo {
    /// The subject without its key.
    pub subject: &'static str,
    /// The type's name, for example `CoursePublished`.
    pub name: &'static str,
    /// One sentence for the documents.
    pub summary: &'static str,
    /// One frozen example of the data.
    pub golden: &'static str,
    /// JSON Schema of the data.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads an example and writes it again.
    pub round_trip: fn(&str) -> Result<String, String>,
}

impl FactInfo {
    /// `<entity>.<fact>`.
    pub fn event_type(&self) -> &'static str {
        event_type(self.subject)
    }
}

/// `<entity>.<fact>` of a fact's subject, with or without its key.
pub fn event_type(subject: &'static str) -> &'static str {
    subject.splitn(4, '.').nth(3).unwrap_or_default()
}

/// Reads an example of a fact and writes it again. Used by the golden tests.
///
/// # Errors
/// Says why it could not be read.
pub fn round_trip<F: Fact>(golden: &str) -> Result<String, String> {
    let fact: F = serde_json::from_str(golden).map_err(|e| e.to_string())?;
    let mut text = serde_json::to_string_pretty(&fact).map_err(|e| e.to_string())?;
    text.push('\n');
    Ok(text)
}

/// Declares one service's facts: `Name "evt.service.v1.entity.fact" by key_field { field: Type, … }`.
#[macro_export]
macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $name:ident $subject:literal by $key:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)+ })*) => {
        /// The fact table of this service.
        pub static FACTS: &[$crate::FactInfo] = &[$(
            $crate::FactInfo {
                subject: $subject,
                name: stringify!($name),
                summary: concat!($($doc),+).trim_ascii(),
                golden: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/v1/", $subject, ".json")),
                schema: |generator| generator.subschema_for::<$name>(),
                round_trip: $crate::fact::round_trip::<$name>,
            },
        )*];
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            pub struct $name { $($(#[doc = $field_doc])+ pub $field: $type,)+ }

            impl $crate::Fact for $name {
                const SUBJECT: &'static str = $subject;
                fn key(&self) -> uuid::Uuid { self.$key.into() }
            }
        )*
    };
}
