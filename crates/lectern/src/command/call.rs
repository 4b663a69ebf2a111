//! `lectern call`: one request on the bus, as the development tools user.

use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use chrono::TimeDelta;
use lectern_core::Clock;
use lectern_core::bus::{Outgoing, refusal_status};
use lectern_core::config::Env;
use lectern_subjects::Effect;
use serde_json::Value;

use crate::broker::api;

/// Send one request on the bus and print its answer; a refusal is printed, too, and ends with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lectern call svc.courses.v1.courses.list '{}'
  lectern call svc.identity.v1.users.me_get '{}' --token \"$TOKEN\"
  echo '{\"title\":\"Rust\",\"description\":\"\"}' | lectern call svc.courses.v1.courses.create - --token \"$TOKEN\" --key once")]
pub struct Args {
    /// The request's subject.
    subject: String,
    /// The body; `-` reads it from standard input.
    #[arg(default_value = "{}")]
    body: String,
    /// The caller's access token, or a service token.
    #[arg(long)]
    token: Option<String>,
    /// Idempotency key: the same key and body get the same answer.
    #[arg(long)]
    key: Option<String>,
    /// The version that the entity must still have.
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    /// Seconds to wait.
    #[arg(long, default_value_t = 5)]
    timeout: u16,
}

pub async fn call(env: &Env, args: Args) -> anyhow::Result<()> {
    let mut body = args.body;
    if body == "-" {
        body.clear();
        std::io::stdin().read_to_string(&mut body).context("reading standard input")?;
    }
    ensure!(
        args.subject.starts_with("svc."),
        "{} is no request: requests are svc.<service>.v<n>.…",
        args.subject
    );
    let known = lectern_subjects::request(&args.subject);
    let bus = api::connect(env, "tools").await?;
    let clock = Clock::default();
    let outgoing = Outgoing {
        token: args.token.map(Arc::from),
        deadline: clock.now() + TimeDelta::seconds(args.timeout.into()),
        idempotency_key: args.key,
        if_match: args.if_match,
        min_version: None,
        ..Outgoing::own(&clock)
    };
    let effect = known.map_or(Effect::Unkeyed, |request| request.effect);
    let answer = bus
        .request(&args.subject, effect, &outgoing, body.into())
        .await
        .with_context(|| args.subject.clone())?;
    let value: Value = serde_json::from_slice(&answer.payload).context("the answer is no JSON")?;
    println!("{}", serde_json::to_string_pretty(&value)?);
    match refusal_status(&answer) {
        Some(status) => bail!("refused with {status} {}", value["error_code"].as_str().unwrap_or_default()),
        None => Ok(()),
    }
}
