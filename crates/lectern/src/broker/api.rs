//! JetStream's management API in JSON, as the provisioner sees it: what is there, what shall be there, the difference.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream;
use lectern_core::Clock;
use lectern_core::bus::{Bus, BusConfig};
use lectern_core::config::{self, Env};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::secrets::Secrets;

/// How long a command waits for the broker.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Connects as a user of the secrets file and waits until the connection stands.
///
/// # Errors
/// When the broker can't be reached or refuses the user.
pub async fn connect(env: &Env, user: &str) -> anyhow::Result<Bus> {
    let url = env.require(&config::NATS_URL)?.to_owned();
    let nkey = match Secrets::load(env)? {
        Some(secrets) => {
            let seed = secrets.nats.get(user).cloned();
            Some(seed.with_context(|| format!("the secrets file has no broker key of {user}"))?)
        }
        None => None,
    };
    let clock = Clock::default();
    let instance = clock.new_id().to_string();
    let bus =
        Bus::connect(&BusConfig { url: url.clone(), role: user.to_owned(), instance, nkey }, clock).await?;
    let since = Instant::now();
    while !bus.is_connected() {
        if since.elapsed() > CONNECT_PATIENCE {
            bail!("NATS_URL: no connection to {url} as {user} within {} s", CONNECT_PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(bus)
}

/// What one thing needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// Fields that were different: name, before, now.
    Changed(Vec<(String, String, String)>),
    /// It was as it shall be.
    Unchanged,
}

/// Creates or updates a stream.
///
/// # Errors
/// What the broker says.
pub async fn stream(jetstream: &jetstream::Context, wanted: &Map<String, Value>) -> anyhow::Result<Change> {
    let name = wanted.get("name").and_then(Value::as_str).context("a stream without a name")?;
    let Some(info) = ask(jetstream, &format!("STREAM.INFO.{name}"), &json!({}), "stream not found").await?
    else {
        request(jetstream, &format!("STREAM.CREATE.{name}"), &Value::Object(wanted.clone())).await?;
        return Ok(Change::Created);
    };
    let (change, merged) = compare(&info["config"], wanted);
    if change != Change::Unchanged {
        request(jetstream, &format!("STREAM.UPDATE.{name}"), &merged).await?;
    }
    Ok(change)
}

/// Creates or updates a durable consumer.
///
/// # Errors
/// What the broker says.
pub async fn consumer(
    jetstream: &jetstream::Context,
    stream: &str,
    wanted: &Map<String, Value>,
) -> anyhow::Result<Change> {
    let name = wanted.get("durable_name").and_then(Value::as_str).context("a consumer without a name")?;
    let found =
        ask(jetstream, &format!("CONSUMER.INFO.{stream}.{name}"), &json!({}), "consumer not found").await?;
    let (change, config) = match &found {
        None => (Change::Created, Value::Object(wanted.clone())),
        Some(info) => compare(&info["config"], wanted),
    };
    if change != Change::Unchanged {
        let action = if change == Change::Created { "create" } else { "update" };
        let body = json!({ "stream_name": stream, "config": config, "action": action });
        // one filter stands in the subject of the request, several do not
        let subject = match wanted.get("filter_subject").and_then(Value::as_str) {
            Some(filter) => format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
            None => format!("CONSUMER.CREATE.{stream}.{name}"),
        };
        request(jetstream, &subject, &body).await?;
    }
    Ok(change)
}

/// Asks the management API.
///
/// # Errors
/// What the broker says.
pub async fn request(jetstream: &jetstream::Context, subject: &str, body: &Value) -> anyhow::Result<Value> {
    let answer: Value =
        jetstream.request(subject.to_owned(), body).await.with_context(|| format!("$JS.API.{subject}"))?;
    match answer["error"]["description"].as_str() {
        Some(error) => bail!("$JS.API.{subject}: {error}"),
        None => Ok(answer),
    }
}

async fn ask(
    jetstream: &jetstream::Context,
    subject: &str,
    body: &Value,
    absent: &str,
) -> anyhow::Result<Option<Value>> {
    match request(jetstream, subject, body).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.to_string().ends_with(absent) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fields in which what is there differs from what is wanted, and what is there with those fields as wanted. Fields
/// that are not named in `nats/` are left as they are.
fn compare(current: &Value, wanted: &Map<String, Value>) -> (Change, Value) {
    let mut merged = current.clone();
    let mut differences = Vec::new();
    for (field, value) in wanted {
        let before = current.get(field).unwrap_or(&Value::Null);
        if *before == *value || (before.is_null() && is_default(value)) {
            continue;
        }
        differences.push((field.clone(), before.to_string(), value.to_string()));
        merged[field] = value.clone();
    }
    match differences.is_empty() {
        true => (Change::Unchanged, merged),
        false => (Change::Changed(differences), merged),
    }
}

/// What the broker leaves out of its answers.
fn is_default(value: &Value) -> bool {
    *value == json!(0) || *value == json!(false) || *value == json!("") || *value == json!([])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named_and_the_rest_is_kept() {
        let current = json!({ "name": "EVENTS", "max_age": 5, "metadata": { "_nats.level": "5" } });
        let wanted = json!({ "name": "EVENTS", "max_age": 7, "max_bytes": 0 });
        let (change, merged) = compare(&current, wanted.as_object().unwrap());
        assert_eq!(change, Change::Changed(vec![("max_age".to_owned(), "5".to_owned(), "7".to_owned())]));
        assert_eq!(merged, json!({ "name": "EVENTS", "max_age": 7, "metadata": { "_nats.level": "5" } }));
        assert_eq!(compare(&merged, wanted.as_object().unwrap()).0, Change::Unchanged);
    }
}
