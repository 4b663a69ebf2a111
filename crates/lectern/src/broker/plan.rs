//! What the broker shall hold: the streams and buckets of `nats/*.json`, and the consumers that the workers' tables name.

use anyhow::Context;
use lectern_core::config::{self, Env};
use lectern_core::service::Table;
use lectern_subjects::subject;
use serde_json::{Map, Value, json};

use super::tools::Tool;
use crate::roles;

const STREAMS: [&str; 6] = [
    include_str!("../../../../nats/AUDIT.json"),
    include_str!("../../../../nats/COMMANDS.json"),
    include_str!("../../../../nats/EVENTS.json"),
    include_str!("../../../../nats/PLAYBACK.json"),
    include_str!("../../../../nats/DEAD.json"),
    include_str!("../../../../nats/KV_revoked.json"),
];
/// One per service that owns timers.
const TIMERS: &str = include_str!("../../../../nats/TIMERS.json");
/// Fields of a stream's or consumer's configuration that are times: written as `90d`, sent as nanoseconds.
const TIMES: [&str; 4] = ["max_age", "duplicate_window", "subject_delete_marker_ttl", "ack_wait"];
/// Core counts the tries of a fact and buries what fails. The broker must not count, too: what it gives up, because a process
/// was killed during the last try, nobody ever buries.
const CORE_COUNTS: i32 = -1;
/// Deliveries of a due timer; the repair rings what was given up.
const TIMER_DELIVERIES: i32 = 20;
/// Deliveries to a tool, which nobody else counts.
const TOOL_DELIVERIES: i32 = 6;
/// Messages that all processes of a consumer may hold together.
const IN_HAND: usize = 2000;

/// A stream's or consumer's configuration, as the management API takes it.
pub type Wanted = Map<String, Value>;

/// All streams and buckets.
///
/// # Errors
/// When a file of `nats/` or a setting can't be read.
pub fn streams(env: &Env, tables: &[Table]) -> anyhow::Result<Vec<Wanted>> {
    let replicas: u8 = env.parse(&roles::NATS_REPLICAS)?;
    let minutes: u32 = env.parse(&config::ACCESS_TOKEN_MINUTES)?;
    let owners = tables.iter().filter(|table| !table.timers.is_empty());
    let timers = owners.map(|table| {
        TIMERS.replace("{SERVICE}", &table.service.to_ascii_uppercase()).replace("{service}", table.service)
    });
    STREAMS
        .iter()
        .map(|text| text.replace("{access_token_minutes}", &minutes.to_string()))
        .chain(timers)
        .map(|text| {
            let mut stream: Wanted = serde_json::from_str(&text).with_context(|| format!("nats/: {text}"))?;
            times(&mut stream)?;
            stream.insert("num_replicas".to_owned(), json!(replicas));
            Ok(stream)
        })
        .collect()
}

/// All durable consumers, each with its stream.
///
/// # Errors
/// Never for the tables of this binary.
pub fn consumers(tables: &[Table]) -> anyhow::Result<Vec<(String, Wanted)>> {
    let mut all = Vec::new();
    for table in tables {
        if !table.follows.is_empty() {
            let filters: Vec<String> = table.follows.iter().map(|fact| subject::every(fact)).collect();
            all.push(("EVENTS".to_owned(), durable(table.service, &filters, CORE_COUNTS, IN_HAND)?));
        }
        if !table.commands.is_empty() {
            let own = format!("cmd.{}.>", table.service);
            all.push(("COMMANDS".to_owned(), durable(table.service, &[own], CORE_COUNTS, IN_HAND)?));
        }
        if !table.timers.is_empty() {
            let due = format!("timers.{}.due.>", table.service);
            all.push((
                subject::timer_stream(table.service),
                durable("due", &[due], TIMER_DELIVERIES, IN_HAND)?,
            ));
        }
        for drain in &table.drains {
            let in_hand = IN_HAND.max(drain.batch * 4);
            let consumer = durable(drain.consumer, &[drain.filter.to_owned()], CORE_COUNTS, in_hand)?;
            all.push((drain.stream.to_owned(), consumer));
        }
    }
    Ok(all)
}

/// The consumer of an internal tool: as a service's, but a tool that is away for long is nobody's problem.
///
/// # Errors
/// Never for a tool that was checked.
pub fn tool_consumer(tool: &Tool) -> anyhow::Result<Wanted> {
    durable(&tool.consumer(), &tool.follows, TOOL_DELIVERIES, IN_HAND)
}

fn durable(name: &str, filters: &[String], deliveries: i32, in_hand: usize) -> anyhow::Result<Wanted> {
    let mut consumer = json!({
        "durable_name": name,
        "name": name,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": "30s",
        "max_deliver": deliveries,
        "max_ack_pending": in_hand,
    });
    // the broker answers one filter in this field, several in that one
    match filters {
        [one] => consumer["filter_subject"] = json!(one),
        several => {
            let mut sorted = several.to_vec();
            sorted.sort();
            consumer["filter_subjects"] = json!(sorted);
        }
    }
    let mut consumer: Wanted = serde_json::from_value(consumer)?;
    times(&mut consumer)?;
    Ok(consumer)
}

fn times(config: &mut Wanted) -> anyhow::Result<()> {
    for field in TIMES {
        if let Some(text) = config.get(field).and_then(Value::as_str) {
            let nanos = nanoseconds(text)
                .with_context(|| format!("{field}: {text:?} is no time such as 90d, 30m, 10s"))?;
            config.insert(field.to_owned(), json!(nanos));
        }
    }
    Ok(())
}

fn nanoseconds(text: &str) -> Option<u64> {
    let (count, unit) = text.split_at(text.len().checked_sub(1)?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(seconds)?.checked_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(nanoseconds("90d"), Some(7_776_000_000_000_000));
        assert_eq!(nanoseconds("0s"), Some(0));
        assert_eq!((nanoseconds("90"), nanoseconds("d"), nanoseconds("")), (None, None, None));
    }

    #[test]
    fn every_stream_file_is_read_and_no_timer_stream_has_a_limit() {
        let streams = streams(&Env::default(), &roles::tables()).unwrap();
        let names: Vec<&str> = streams.iter().filter_map(|stream| stream["name"].as_str()).collect();
        assert!(
            ["AUDIT", "EVENTS", "PLAYBACK", "DEAD", "KV_revoked", "TIMERS_ENROLLMENT"]
                .iter()
                .all(|n| names.contains(n))
        );
        for stream in
            streams.iter().filter(|stream| stream["name"].as_str().is_some_and(|n| n.starts_with("TIMERS")))
        {
            assert_eq!(
                (&stream["max_age"], &stream["max_msgs"], &stream["max_bytes"]),
                (&json!(0), &json!(-1), &json!(-1))
            );
        }
    }
}
