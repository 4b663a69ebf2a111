//! What a handler knows of the request that it answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use chrono::{DateTime, Utc};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{CommonRefusal, Refusal, Refused, Role};

/// Who sent a request, by their verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`.
    pub user: UserId,
    /// The token's `sid`.
    pub sid: AuthSessionId,
    /// All roles.
    pub roles: Vec<Role>,
    /// Whether the e-mail address was verified when the token was made.
    pub email_verified: bool,
    /// When they proved who they are, by password or otherwise.
    pub auth_time: DateTime<Utc>,
    /// When the token ends.
    pub expires_at: DateTime<Utc>,
}

impl Caller {
    /// Whether the caller has one of these roles.
    pub fn has_any(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// Operator or admin: staff of every course.
    pub fn is_staff(&self) -> bool {
        self.has_any(&[Role::Operator, Role::Admin])
    }
}

/// Header of the address that a request came from, as the gateway saw it.
pub(crate) const CLIENT_ADDRESS: &str = "Lectern-ClientInfo-Address";
/// Header of the program that it came from.
pub(crate) const CLIENT_AGENT: &str = "Lectern-ClientInfo-Agent";
/// Header of the least version that an answer from a cache may show.
pub(crate) const MIN_VERSION: &str = "X-Min-Version";
/// The longest agent that is kept, characters (seed 001, login_history).
const LONGEST_AGENT: usize = 500;

/// From where a request came. For records and limits, never for rights: a tool on the bus may say what it likes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The address; none for a request that began on the bus.
    pub address: Option<IpAddr>,
    /// The program, at most 500 printable ASCII characters.
    pub agent: Option<Arc<str>>,
}

impl ClientInfo {
    /// An address and what the client says of itself, made fit to be stored.
    pub fn new(address: Option<IpAddr>, agent: Option<&str>) -> ClientInfo {
        let printable = |c: &char| c.is_ascii_graphic() || *c == ' ';
        let agent: String = agent.unwrap_or_default().chars().filter(printable).take(LONGEST_AGENT).collect();
        ClientInfo { address, agent: Some(agent.trim()).filter(|agent| !agent.is_empty()).map(Arc::from) }
    }

    pub(crate) fn of(headers: Option<&HeaderMap>) -> ClientInfo {
        let get = |name| headers.and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str);
        ClientInfo::new(get(CLIENT_ADDRESS).and_then(|address| address.parse().ok()), get(CLIENT_AGENT))
    }
}

/// One request, as its handler sees it besides its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who sent it; none for an anonymous one.
    pub caller: Option<Arc<Caller>>,
    /// The token it came with, to be forwarded to other services.
    pub token: Option<Arc<str>>,
    /// From where it came.
    pub client: ClientInfo,
    /// When it began to be handled.
    pub now: DateTime<Utc>,
    /// After this moment nobody waits for the answer.
    pub deadline: DateTime<Utc>,
    /// The id that stands in every log line of this request.
    pub request_id: Arc<str>,
    /// W3C `traceparent` of the span that handles it.
    pub trace: Option<Arc<str>>,
    /// `Idempotency-Key`, 1 to 255 visible characters.
    pub idempotency: Option<Arc<Claim>>,
    /// The version in `If-Match`.
    pub if_match: Option<i64>,
    /// The version in `X-Min-Version`: who asks has seen it, and is shown nothing older from a cache.
    pub min_version: Option<i64>,
    pub(crate) existing: Arc<AtomicBool>,
}

/// An idempotency key with what it is bound to.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose key it is.
    pub actor: UserId,
    /// The request's subject.
    pub request: &'static str,
    /// The key.
    pub key: String,
    /// SHA-256 of the body.
    pub fingerprint: [u8; 32],
}

impl Call {
    /// The signed-in caller.
    ///
    /// # Errors
    /// COMMON_0013: can't happen behind an access rule that asks for a user.
    pub fn user(&self) -> Result<&Caller, CommonRefusal> {
        self.caller.as_deref().ok_or(CommonRefusal::Forbidden)
    }

    /// Time left until the deadline.
    pub fn time_left(&self, now: DateTime<Utc>) -> Duration {
        (self.deadline - now).to_std().unwrap_or_default()
    }

    /// Refuses when `If-Match` names another version than the entity's (architecture §4).
    ///
    /// # Errors
    /// COMMON_0011, with the version that stands.
    pub fn expect_version(&self, version: i64) -> Result<(), Refused<CommonRefusal>> {
        match self.if_match {
            Some(expected) if expected != version => Err(CommonRefusal::PreconditionFailed
                .because(serde_json::json!({ "expected": expected, "version": version }))),
            _ => Ok(()),
        }
    }

    /// Says that the answer shows what was there already: HTTP answers 200 where it would be 201.
    pub fn mark_existing(&self) {
        self.existing.store(true, Ordering::Relaxed);
    }
}

/// A version as headers have it: `"3"`, `W/"3"` or `3`.
pub fn version_tag(tag: &str) -> Option<i64> {
    tag.trim().trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// Why a token was not accepted.
pub type TokenRefusal = IdentityRefusal;
