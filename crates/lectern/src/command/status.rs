//! `lectern status`: who answers on the bus, whether it is ready, and how far the streams are handled.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use lectern_core::bus::Bus;
use lectern_core::config::Env;
use lectern_subjects::subject;
use serde::Serialize;
use serde_json::{Value, json};

use crate::broker::api;
use crate::roles;

/// How long answers are collected.
const COLLECT: Duration = Duration::from_millis(500);

/// Show every worker process on the bus, its readiness, and what waits in the streams. Ends with 1 when something is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lectern status\n  lectern status --json | jq .missing")]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Status {
    ready: bool,
    /// Roles that no process answers for.
    missing: Vec<&'static str>,
    processes: Vec<Worker>,
    consumers: Vec<Lag>,
}

#[derive(Serialize)]
struct Worker {
    role: String,
    instance: String,
    version: String,
    started: String,
    requests: u64,
    errors: u64,
    shed: u64,
    not_ready: Option<String>,
}

#[derive(Serialize)]
struct Lag {
    stream: String,
    consumer: String,
    /// Not yet delivered.
    pending: u64,
    /// Delivered and not yet handled.
    in_hand: u64,
    redelivered: u64,
}

pub async fn status(env: &Env, args: &Args) -> anyhow::Result<()> {
    // the development tools user is there in development only
    let user = if env.environment()?.is_strict() { "admin" } else { "tools" };
    let bus = api::connect(env, user).await?;
    let processes = workers(&bus).await?;
    let expected = roles::ROLES.iter().filter(|role| role.table.is_some()).map(|role| role.name);
    let missing: Vec<&str> =
        expected.filter(|name| processes.iter().all(|worker| worker.role != *name)).collect();
    let ready = missing.is_empty() && processes.iter().all(|worker| worker.not_ready.is_none());
    let status = Status { ready, missing, processes, consumers: lags(&bus).await? };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print(&status);
    }
    ensure!(status.ready, "not everything is ready");
    Ok(())
}

/// Asks everybody at once.
async fn workers(bus: &Bus) -> anyhow::Result<Vec<Worker>> {
    let client = bus.jetstream().client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(subject::discovery("STATS", None, None), inbox, bytes::Bytes::new()).await?;
    let mut workers = Vec::new();
    let until = tokio::time::Instant::now() + COLLECT;
    while let Ok(Some(answer)) = tokio::time::timeout_at(until, answers.next()).await {
        // nobody there at all is an answer without a body
        if let Ok(stats) = serde_json::from_slice::<Value>(&answer.payload) {
            workers.push(worker(&stats));
        }
    }
    workers.sort_by(|a, b| (&a.role, &a.instance).cmp(&(&b.role, &b.instance)));
    Ok(workers)
}

fn worker(stats: &Value) -> Worker {
    let text = |pointer: &str| stats.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let endpoints = stats["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let sum = |pointer: &str| {
        endpoints.iter().filter_map(|endpoint| endpoint.pointer(pointer)).filter_map(Value::as_u64).sum()
    };
    Worker {
        role: text("/name"),
        instance: text("/id"),
        version: text("/version"),
        started: text("/started"),
        requests: sum("/num_requests"),
        errors: sum("/num_errors"),
        shed: sum("/data/shed"),
        not_ready: stats.pointer("/endpoints/0/data/not_ready").and_then(Value::as_str).map(str::to_owned),
    }
}

async fn lags(bus: &Bus) -> anyhow::Result<Vec<Lag>> {
    let jetstream = bus.jetstream();
    let listed = api::request(jetstream, "STREAM.NAMES", &json!({})).await?;
    let names = listed["streams"].as_array().cloned().unwrap_or_default();
    let mut lags = Vec::new();
    for stream in names.iter().filter_map(Value::as_str).filter(|name| !name.starts_with("KV_")) {
        let listed = api::request(jetstream, &format!("CONSUMER.LIST.{stream}"), &json!({})).await?;
        for info in listed["consumers"].as_array().context("a list of consumers")? {
            let count = |field: &str| info[field].as_u64().unwrap_or_default();
            lags.push(Lag {
                stream: stream.to_owned(),
                consumer: info["name"].as_str().unwrap_or_default().to_owned(),
                pending: count("num_pending"),
                in_hand: count("num_ack_pending"),
                redelivered: count("num_redelivered"),
            });
        }
    }
    Ok(lags)
}

fn print(status: &Status) {
    println!("{:14} {:36} {:>9} {:>7} {:>5}  state", "role", "process", "requests", "errors", "shed");
    for worker in &status.processes {
        let state = worker.not_ready.as_deref().unwrap_or("ready");
        let Worker { role, instance, requests, errors, shed, .. } = worker;
        println!("{role:14} {instance:36} {requests:>9} {errors:>7} {shed:>5}  {state}");
    }
    for role in &status.missing {
        println!("{role:14} nobody answers");
    }
    println!("\n{:20} {:16} {:>9} {:>9} {:>12}", "stream", "consumer", "pending", "in hand", "redelivered");
    for Lag { stream, consumer, pending, in_hand, redelivered } in &status.consumers {
        println!("{stream:20} {consumer:16} {pending:>9} {in_hand:>9} {redelivered:>12}");
    }
}
