//! `lectern provision`: streams, buckets and consumers.

use lectern_core::config::Env;

use crate::broker::api::{self, Change};
use crate::broker::plan;
use crate::roles;

/// Create or update the broker's streams, buckets and consumers, and print the difference.
///
/// What they shall be stands in nats/*.json and in the workers' tables. Nothing is ever deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lectern provision\n  NATS_REPLICAS=3 lectern provision")]
pub struct Args {}

pub async fn provision(env: &Env, _args: &Args) -> anyhow::Result<()> {
    let tables = roles::tables();
    let bus = api::connect(env, "admin").await?;
    let jetstream = bus.jetstream();
    for stream in plan::streams(env, &tables)? {
        let name = stream.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
        print("stream", &name, &api::stream(jetstream, &stream).await?);
    }
    for (stream, consumer) in plan::consumers(&tables)? {
        let name = consumer.get("durable_name").and_then(|name| name.as_str()).unwrap_or_default();
        let name = format!("{stream}/{name}");
        print("consumer", &name, &api::consumer(jetstream, &stream, &consumer).await?);
    }
    Ok(())
}

/// One line, and one for each changed field.
pub fn print(kind: &str, name: &str, change: &Change) {
    match change {
        Change::Created => println!("created    {kind} {name}"),
        Change::Unchanged => println!("unchanged  {kind} {name}"),
        Change::Changed(fields) => {
            for (field, before, now) in fields {
                println!("changed    {kind} {name}: {field} {before} → {now}");
            }
        }
    }
}
