//! The contract of Lectern: every request, every fact, every refusal, once.
//!
//! A service's file (`courses.rs`, …) declares its tables; everything else is derived from them: routes, OpenAPI,
//! AsyncAPI, NATS permissions, `$SRV` metadata, and the tests that prove each request has one handler, one route and
//! one authorisation case. No I/O, no tokio, nothing of ours below this crate.

pub mod audit;
pub mod content;
pub mod courses;
pub mod decode;
pub mod enrollment;
pub mod fact;
pub mod id;
pub mod identity;
pub mod interval;
mod json;
pub mod money;
pub mod notifications;
pub mod page;
pub mod playback;
pub mod privacy;
pub mod refusal;
pub mod request;
pub mod role;
pub mod subject;

pub use decode::{BadShape, decode};
pub use fact::{Envelope, Fact, FactInfo};
pub use page::Page;
pub use refusal::{Class, Code, CommonRefusal, Problem, Refusal, Refused};
pub use request::{Access, Effect, Reply, Request, RequestInfo};
pub use role::{Permission, Role};

/// One service of the contract: its name and its tables.
pub struct ServiceInfo {
    /// The name in subjects, schemas and roles, for example `courses`.
    pub name: &'static str,
    /// Its requests, in the order of the table.
    pub requests: &'static [RequestInfo],
    /// The facts that it announces.
    pub facts: &'static [FactInfo],
    /// Its refusal codes.
    pub refusals: &'static [Code],
}

/// All services of the contract.
pub static SERVICES: &[ServiceInfo] = &[
    ServiceInfo {
        name: "identity",
        requests: identity::REQUESTS,
        facts: identity::FACTS,
        refusals: identity::IdentityRefusal::CODES,
    },
    ServiceInfo {
        name: "courses",
        requests: courses::REQUESTS,
        facts: courses::FACTS,
        refusals: courses::CoursesRefusal::CODES,
    },
    ServiceInfo {
        name: "content",
        requests: content::REQUESTS,
        facts: content::FACTS,
        refusals: content::ContentRefusal::CODES,
    },
    ServiceInfo {
        name: "playback",
        requests: playback::REQUESTS,
        facts: playback::FACTS,
        refusals: playback::PlaybackRefusal::CODES,
    },
    ServiceInfo {
        name: "enrollment",
        requests: enrollment::REQUESTS,
        facts: enrollment::FACTS,
        refusals: enrollment::EnrollmentRefusal::CODES,
    },
    ServiceInfo {
        name: "notifications",
        requests: notifications::REQUESTS,
        facts: notifications::FACTS,
        refusals: notifications::NotificationsRefusal::CODES,
    },
    // refuses in the common words only
    ServiceInfo { name: "audit", requests: audit::REQUESTS, facts: audit::FACTS, refusals: &[] },
];

/// Every request of every service.
pub fn requests() -> impl Iterator<Item = &'static RequestInfo> {
    SERVICES.iter().flat_map(|service| service.requests)
}

/// The request of a subject.
pub fn request(subject: &str) -> Option<&'static RequestInfo> {
    requests().find(|info| info.subject == subject)
}

/// Every fact of every service.
pub fn facts() -> impl Iterator<Item = &'static FactInfo> {
    SERVICES.iter().flat_map(|service| service.facts)
}
