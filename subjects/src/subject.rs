//! Subjects are built and parsed here only (architecture §2). No personal data stands in a subject.

use std::fmt::Display;

use uuid::Uuid;

use crate::id::{PlaybackSessionId, UserId};

/// Partitions of the PLAYBACK stream, by user. Fixed for the stream's life.
pub const PLAYBACK_PARTITIONS: u32 = 32;

/// Every fact.
pub const ALL_FACTS: &str = "evt.>";

/// The service, version, resource and verb of a request's subject; none when it is no such subject.
pub fn request(subject: &str) -> Option<(&str, &str, &str, &str)> {
    let mut tokens = subject.strip_prefix("svc.")?.split('.');
    let parsed = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?);
    (tokens.next().is_none() && parsed.1.starts_with('v')).then_some(parsed)
}

/// The subject without its key, and the key, of a fact.
pub fn fact(subject: &str) -> Option<(&str, Uuid)> {
    let (prefix, key) = subject.rsplit_once('.')?;
    (prefix.starts_with("evt.") && prefix.split('.').count() == 5).then_some(())?;
    Some((prefix, Uuid::try_parse(key).ok()?))
}

/// All facts of one kind, whatever their key: a consumer's filter.
pub fn every(fact_subject: &str) -> String {
    format!("{fact_subject}.*")
}

/// Where playback beats are published; the stream adds the partition.
pub fn beat(user: UserId, playback_session: PlaybackSessionId) -> String {
    format!("play.v1.{user}.{playback_session}")
}

/// The user and playback session of a stored beat, `play.v1.<partition>.<user>.<playback session>`.
pub fn stored_beat(subject: &str) -> Option<(UserId, PlaybackSessionId)> {
    let mut tokens = subject.strip_prefix("play.v1.")?.split('.');
    let _partition: u32 = tokens.next()?.parse().ok()?;
    let parsed = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
    tokens.next().is_none().then_some(parsed)
}

/// Where a timer is armed; publishing again replaces it.
pub fn timer_at(service: &str, kind: &str, entity: Uuid) -> String {
    format!("timers.{service}.at.{kind}.{entity}")
}

/// Where a timer rings.
pub fn timer_due(service: &str, kind: &str) -> String {
    format!("timers.{service}.due.{kind}")
}

/// The kind of a due timer.
pub fn due_kind(subject: &str) -> Option<&str> {
    let (prefix, kind) = subject.rsplit_once('.')?;
    (prefix.starts_with("timers.") && prefix.ends_with(".due")).then_some(kind)
}

/// The timers stream of a service.
pub fn timer_stream(service: &str) -> String {
    format!("TIMERS_{}", service.to_ascii_uppercase())
}

/// A durable command to a service: `cmd.<service>.v1.<verb>.<key>`.
pub fn command(service: &str, verb: &str, key: Uuid) -> String {
    format!("cmd.{service}.v1.{verb}.{key}")
}

/// The verb and the key of a command.
pub fn command_parts(subject: &str) -> Option<(&str, Uuid)> {
    let mut tokens = subject.strip_prefix("cmd.")?.split('.');
    let (_service, _version) = (tokens.next()?, tokens.next()?);
    let parsed = (tokens.next()?, Uuid::try_parse(tokens.next()?).ok()?);
    tokens.next().is_none().then_some(parsed)
}

/// Where a message goes that could not be handled.
pub fn dead(stream: &str, consumer: &str) -> String {
    format!("dead.{stream}.{consumer}")
}

/// Where an audit entry is written: `audit.<service>.v1.<entity>.<act>.<user or _>`.
pub fn audit(service: &str, event_type: &str, user: Option<UserId>) -> String {
    match user {
        Some(user) => format!("audit.{service}.v1.{event_type}.{user}"),
        None => format!("audit.{service}.v1.{event_type}._"),
    }
}

/// The core-NATS ping that wakes a service's relay in another process; not stored.
pub fn wake(service: &str) -> String {
    format!("wake.{service}")
}

/// Whether a value may stand in a subject as one token: 1 to 64 of `A-Za-z0-9_-`.
pub fn is_token(value: &str) -> bool {
    (1..=64).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A discovery subject: `$SRV.<verb>[.<name>[.<id>]]` (ADR-32).
pub fn discovery(verb: &str, name: Option<&str>, id: Option<&dyn Display>) -> String {
    match (name, id) {
        (Some(name), Some(id)) => format!("$SRV.{verb}.{name}.{id}"),
        (Some(name), None) => format!("$SRV.{verb}.{name}"),
        _ => format!("$SRV.{verb}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_parses_back() {
        let (user, playback) = (UserId(Uuid::from_u128(1)), PlaybackSessionId(Uuid::from_u128(2)));
        let stored = beat(user, playback).replace("play.v1.", "play.v1.31.");
        assert_eq!(stored_beat(&stored), Some((user, playback)));
        let command = command("courses", "privacy_erase", Uuid::from_u128(4));
        assert_eq!(command_parts(&command), Some(("privacy_erase", Uuid::from_u128(4))));
        assert_eq!(due_kind(&timer_due("enrollment", "period_end")), Some("period_end"));
        for info in crate::facts() {
            let subject = format!("{}.{}", info.subject, Uuid::from_u128(3));
            assert_eq!(fact(&subject), Some((info.subject, Uuid::from_u128(3))));
        }
        for info in crate::requests() {
            let (service, version, resource, verb) = request(info.subject).expect(info.subject);
            assert_eq!(format!("svc.{service}.{version}.{resource}.{verb}"), info.subject);
        }
    }

    #[test]
    fn what_is_no_subject_of_ours_does_not_parse() {
        assert_eq!(request("svc.courses.v1.list"), None);
        assert_eq!(request("svc.courses.v1.a.b.c"), None);
        assert_eq!(fact("evt.courses.v1.course.published.x y"), None);
        assert_eq!(stored_beat("play.v1.a.b"), None);
        assert!(!is_token("a.b") && !is_token("") && !is_token("a b") && is_token("period_end"));
    }
}
