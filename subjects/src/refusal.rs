//! How a request is refused: a closed set of classes, stable codes, one problem document on both roads.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The closed set of reasons. Each is mapped once to HTTP (`Code::status`) and once to the ADR-32 headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Wrong by itself; no state is needed to tell. 400, and at the edge 404 (route), 405, 406, 413, 415.
    Invalid,
    /// No, bad, expired or revoked credential. 401.
    Unauthenticated,
    /// Declined, or access must be bought. 402.
    PaymentRequired,
    /// The caller may not. 403.
    Forbidden,
    /// Absent, or someone else's: existence is hidden. 404.
    NotFound,
    /// The state refuses. 409; 422 for an idempotency key reused with another body.
    Conflict,
    /// Stale or missing `If-Match`. 412, 428.
    Precondition,
    /// A limit is reached. 429.
    TooMany,
    /// No worker, circuit open, overload, deadline. 503, 504.
    Unavailable,
    /// Our fault. 500.
    Internal,
}

impl Class {
    /// The statuses that codes of this class may carry.
    pub fn statuses(self) -> &'static [u16] {
        match self {
            Class::Invalid => &[400, 404, 405, 406, 413, 415],
            Class::Unauthenticated => &[401],
            Class::PaymentRequired => &[402],
            Class::Forbidden => &[403],
            Class::NotFound => &[404, 410],
            Class::Conflict => &[409, 422],
            Class::Precondition => &[412, 428],
            Class::TooMany => &[429],
            Class::Unavailable => &[503, 504],
            Class::Internal => &[500],
        }
    }
}

/// One stable refusal code, for example `COURSE_2001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The code that clients act on; never reused for another meaning.
    pub code: &'static str,
    /// Its class.
    pub class: Class,
    /// The HTTP status, also sent as `Nats-Service-Error-Code`.
    pub status: u16,
    /// What it says to a person, in English.
    pub message: &'static str,
}

/// A service's refusals, declared with [`refusals!`](crate::refusals).
pub trait Refusal: std::error::Error + Copy + Send + Sync + 'static {
    /// Code, class, status and message.
    fn code(self) -> &'static Code;

    /// The refusal with details for the caller (`details` of the problem document).
    fn because(self, details: serde_json::Value) -> Refused<Self> {
        Refused { refusal: self, details: Some(details), retry_after_s: None }
    }

    /// The refusal with a `Retry-After` in whole seconds.
    fn retry_after(self, seconds: u32) -> Refused<Self> {
        Refused { refusal: self, details: None, retry_after_s: Some(seconds) }
    }
}

/// A refusal with what this caller is told besides its code.
#[derive(Debug, Clone)]
pub struct Refused<R> {
    /// Which refusal.
    pub refusal: R,
    /// Details for the caller, for example `[{"pointer": "/title", "reason": "…"}]`.
    pub details: Option<serde_json::Value>,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<u32>,
}

impl<R: Refusal> Refused<R> {
    /// As the problem document that both roads answer with.
    pub fn problem(&self, at: DateTime<Utc>) -> Problem {
        Problem::new(self.refusal.code(), self.details.clone(), at)
    }
}

impl<R: Refusal> From<R> for Refused<R> {
    fn from(refusal: R) -> Self {
        Refused { refusal, details: None, retry_after_s: None }
    }
}

impl<R: Refusal> std::fmt::Display for Refused<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.refusal, f)
    }
}

impl<R: Refusal> std::error::Error for Refused<R> {}

/// The body of every refusal: RFC 9457 plus the fields that the seeds document (001, `ErrorResponse`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem; `/docs/errors#CODE`.
    pub r#type: String,
    /// The message of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// The request's path or subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The stable code, for example `COURSE_2001`.
    pub error_code: String,
    /// The same as `title` (seed 001's name for it).
    pub message: String,
    /// More for a program: an array of `{pointer, reason}` for a validation, an object or null otherwise.
    #[serde(default)]
    pub details: serde_json::Value,
    /// When it was refused.
    pub timestamp: DateTime<Utc>,
    /// The trace to quote in a report, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Problem {
    /// The document for one code.
    pub fn new(code: &Code, details: Option<serde_json::Value>, at: DateTime<Utc>) -> Problem {
        Problem {
            r#type: format!("/docs/errors#{}", code.code),
            title: code.message.to_owned(),
            status: code.status,
            detail: code.message.to_owned(),
            instance: None,
            error_code: code.code.to_owned(),
            message: code.message.to_owned(),
            details: details.unwrap_or_default(),
            timestamp: at,
            trace_id: None,
        }
    }
}

/// Declares one service's refusal enum: `Variant = "CODE" STATUS Class "message"`.
#[macro_export]
macro_rules! refusals {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal $status:literal $class:ident $message:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All codes of this service, in the order of the table.
            pub const CODES: &'static [$crate::Code] = &[
                $($crate::Code { code: $code, class: $crate::Class::$class, status: $status, message: $message },)+
            ];
        }

        impl $crate::Refusal for $name {
            fn code(self) -> &'static $crate::Code { &Self::CODES[self as usize] }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let code = $crate::Refusal::code(*self);
                write!(f, "{} {}", code.code, code.message)
            }
        }

        impl std::error::Error for $name {}
    };
}

refusals! {
    /// What any request may be refused with (architecture §3).
    CommonRefusal {
        /// A field is missing, unknown, of the wrong type or out of range; details name each.
        ValidationFailed = "COMMON_0001" 400 Invalid "the request is not valid",
        /// The body is not JSON, nests too deep, repeats a key or has trailing bytes.
        MalformedBody = "COMMON_0002" 400 Invalid "the body is not well-formed JSON",
        /// The content type is not the documented one.
        UnsupportedMediaType = "COMMON_0003" 415 Invalid "the content type is not supported",
        /// The body is longer than the documented limit.
        PayloadTooLarge = "COMMON_0004" 413 Invalid "the body is too large",
        /// The path exists, the method does not; `Allow` lists those that do.
        MethodNotAllowed = "COMMON_0005" 405 Invalid "the method is not allowed here",
        /// No such path or subject, or its feature is switched off.
        RouteNotFound = "COMMON_0006" 404 Invalid "no such route",
        /// The idempotency key was used with another body.
        IdempotencyConflict = "COMMON_0007" 422 Conflict "the idempotency key was used with another request",
        /// None of the accepted media types can be answered.
        NotAcceptable = "COMMON_0008" 406 Invalid "none of the accepted media types can be answered",
        /// The deadline passed; the outcome is unknown: retry with the same key.
        Timeout = "COMMON_0009" 504 Unavailable "the request took too long; its outcome is unknown, retry with the same idempotency key",
        /// No worker, an open circuit or overload; nothing was done.
        Unavailable = "COMMON_0010" 503 Unavailable "the service is not available at the moment",
        /// The entity has changed since the version in `If-Match`.
        PreconditionFailed = "COMMON_0011" 412 Precondition "the entity has changed since that version",
        /// A rate limit is reached; `Retry-After` says when to come back.
        RateLimited = "COMMON_0012" 429 TooMany "too many requests",
        /// The caller lacks the permission named in details.
        Forbidden = "COMMON_0013" 403 Forbidden "the caller may not do this",
        /// Our fault; quote the trace id.
        Internal = "COMMON_0014" 500 Internal "something went wrong on our side",
        /// `If-Match` is required here.
        PreconditionRequired = "COMMON_0015" 428 Precondition "an If-Match header is required",
        /// A request with this idempotency key is being handled right now.
        IdempotencyInFlight = "COMMON_0016" 409 Conflict "a request with this idempotency key is in progress",
    }
}
