//! A request is a type; its row in a service's table says the rest.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Code, Permission, Refusal, Role};

/// Who may send a request. Core checks it before the handler runs, on both roads; a closed set (architecture §13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, signed in or not.
    Public,
    /// Any signed-in user.
    User,
    /// A signed-in user, for what is theirs; the handler answers "not found" for anything else.
    Owner,
    /// Operator or admin, or an instructor of the course; for the latter the handler decides.
    CourseStaff,
    /// A caller with one of these roles.
    Roles(&'static [Role]),
    /// A caller with this permission.
    May(Permission),
    /// Machines with a service token only.
    Service,
}

impl Access {
    /// The roles of which a caller needs one; empty when being signed in is enough, none when nobody need be.
    pub fn needs(self) -> Option<&'static [Role]> {
        match self {
            Access::Public => None,
            Access::User | Access::Owner | Access::CourseStaff => Some(&[]),
            Access::Roles(roles) => Some(roles),
            Access::May(permission) => Some(permission.holders()),
            Access::Service => Some(&[Role::Service]),
        }
    }

    /// What a caller lacks who has none of the roles, as details of COMMON_0013: the permission, never the data.
    pub fn lacking(self) -> serde_json::Value {
        match self {
            Access::May(permission) => serde_json::json!({ "needs_permission": permission.name() }),
            other => serde_json::json!({ "needs_role": other.needs().unwrap_or_default() }),
        }
    }
}

/// What a request does to the world, and so what may be done with it on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing: may be retried freely.
    Read,
    /// Changes state and honours `Idempotency-Key`.
    Write,
    /// Changes state, but no answer is stored: it answers a secret, or brings its own sequence (architecture §4).
    Unkeyed,
}

/// A request of the contract. Implemented by [`requests!`](crate::requests) only.
pub trait Request:
    Serialize + DeserializeOwned + JsonSchema + garde::Validate<Context = ()> + Send + Sync + 'static
{
    /// `svc.<service>.v<n>.<resource>.<verb>`.
    const SUBJECT: &'static str;
    /// Who may send it.
    const ACCESS: Access;
    /// What it does.
    const EFFECT: Effect;
    /// Domain codes for shape errors of single fields, as (field, code); all other shape errors are COMMON_0001.
    const SHAPE: &'static [(&'static str, &'static Code)];
    /// What it is answered with.
    type Reply: Reply;
    /// How its service refuses.
    type Refusal: Refusal;
}

/// An answer. Implemented by hand for each reply type, to say whether it has a version.
pub trait Reply: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The version of the entity answered, sent as `ETag: "<version>"`.
    fn version(&self) -> Option<i64> {
        None
    }
}

/// A row of a request table as data: for routes, documents, permissions and tests.
pub struct RequestInfo {
    /// `svc.<service>.v<n>.<resource>.<verb>`.
    pub subject: &'static str,
    /// The request type's name, for example `CreateCourse`.
    pub name: &'static str,
    /// One sentence for the documents.
    pub summary: &'static str,
    /// Who may send it.
    pub access: Access,
    /// What it does.
    pub effect: Effect,
    /// One frozen example: `{"request": …, "reply": …}`.
    pub golden: &'static str,
    /// JSON Schema of the request.
    pub request_schema: fn(&mut SchemaGenerator) -> Schema,
    /// JSON Schema of the reply.
    pub reply_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads both halves of an example and writes them again, byte for byte comparable.
    pub round_trip: fn(&str) -> Result<String, String>,
}

impl RequestInfo {
    /// The service that answers it, the second token of the subject.
    pub fn service(&self) -> &'static str {
        self.subject.split('.').nth(1).unwrap_or_default()
    }
}

/// Reads an example of a request, validates it, and writes it again. Used by the golden tests.
///
/// # Errors
/// Says which half could not be read and why.
pub fn round_trip<R: Request>(golden: &str) -> Result<String, String> {
    #[derive(serde::Deserialize)]
    struct Halves {
        request: serde_json::Value,
        reply: serde_json::Value,
    }
    #[derive(Serialize)]
    struct Typed<Q, A> {
        request: Q,
        reply: A,
    }
    let halves: Halves = serde_json::from_str(golden).map_err(|e| format!("golden file: {e}"))?;
    let request: R = crate::decode(halves.request.to_string().as_bytes())
        .map_err(|refused| format!("request: {refused}: {:?}", refused.details))?;
    let reply: R::Reply = serde_json::from_value(halves.reply).map_err(|e| format!("reply: {e}"))?;
    let mut text = serde_json::to_string_pretty(&Typed { request, reply }).map_err(|e| e.to_string())?;
    text.push('\n');
    Ok(text)
}

/// Declares one service's requests. A row is
/// `"subject" access effect Request => Reply, shape { "field" => RefusalVariant };` (the shape part is optional), with
/// its one-sentence summary as doc comment.
#[macro_export]
macro_rules! requests {
    ($refusal:ident; $($(#[doc = $doc:literal])+ $subject:literal $access:expr, $effect:ident $request:ident => $reply:ty $(, shape { $($field:literal => $variant:ident),+ })?;)+) => {
        /// The request table of this service.
        pub static REQUESTS: &[$crate::RequestInfo] = &[$(
            $crate::RequestInfo {
                subject: $subject,
                name: stringify!($request),
                summary: concat!($($doc),+).trim_ascii(),
                access: $access,
                effect: $crate::Effect::$effect,
                golden: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/v1/", $subject, ".json")),
                request_schema: |generator| generator.subschema_for::<$request>(),
                reply_schema: |generator| generator.subschema_for::<$reply>(),
                round_trip: $crate::request::round_trip::<$request>,
            },
        )+];
        $(
            impl $crate::Request for $request {
                const SUBJECT: &'static str = $subject;
                const ACCESS: $crate::Access = $access;
                const EFFECT: $crate::Effect = $crate::Effect::$effect;
                const SHAPE: &'static [(&'static str, &'static $crate::Code)] =
                    &[$($(($field, &$refusal::CODES[$refusal::$variant as usize])),+)?];
                type Reply = $reply;
                type Refusal = $refusal;
            }
        )+
    };
}
