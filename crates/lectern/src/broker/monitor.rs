//! The broker's monitoring pages.

use std::time::Duration;

use anyhow::{Context, ensure};
use lectern_core::config::{self, Env};
use serde_json::Value;

/// Refuses a broker that acknowledges before a message is on the disk, where that matters (`spec/reliability.md` L2).
///
/// # Errors
/// In staging and production: when the page can't be read, or JetStream does not sync always.
pub async fn check_durability(env: &Env) -> anyhow::Result<()> {
    let strict = env.environment()?.is_strict();
    let name = config::NATS_MONITOR_URL.name;
    let Some(url) = env.get(&config::NATS_MONITOR_URL) else {
        ensure!(!strict, "{name} is required in staging and production: {}", config::NATS_MONITOR_URL.help);
        return Ok(());
    };
    if !strict {
        return Ok(());
    }
    let page = page(url, "varz").await.context(name)?;
    let jetstream = &page["jetstream"]["config"];
    ensure!(
        jetstream["sync_always"] == Value::Bool(true),
        "{name}: the broker at {url} acknowledges before messages are on the disk; set `sync_interval: always` in its \
         jetstream block (now: sync_interval {})",
        jetstream["sync_interval"]
    );
    Ok(())
}

/// One page as JSON.
///
/// # Errors
/// When it can't be read.
pub async fn page(url: &str, name: &str) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build()?;
    let address = format!("{}/{name}", url.trim_end_matches('/'));
    let answer = client.get(&address).send().await.with_context(|| format!("asking {address}"))?;
    Ok(answer.error_for_status()?.json().await?)
}
