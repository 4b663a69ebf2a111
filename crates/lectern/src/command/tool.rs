//! `lectern tool`: internal tools on the bus (architecture §13).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use lectern_core::config::Env;
use lectern_subjects::Role;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::token::{self, Ttl};
use crate::broker::tools::{self, Tool};
use crate::broker::{api, plan};
use crate::command::{nats_config, provision};
use crate::secrets::Secrets;

/// Internal tools: each gets a user of the broker, a service token and, to follow facts, a durable consumer on EVENTS.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a tool. Prints its key and its token once, as JSON; neither is kept.
    #[command(
        after_help = "Example:\n  lectern tool add crm --nats-dir /etc/lectern/nats --server-pid /run/nats.pid \\\n    --call svc.courses.v1.courses.list --follow 'evt.enrollment.v1.subscription.*.*'"
    )]
    Add {
        /// Its name, 1 to 40 of a-z, 0-9 and -.
        name: String,
        #[command(flatten)]
        server: Server,
        /// Role of its service token.
        #[arg(long, default_value = "service")]
        role: Role,
        /// A request that it may send; may be given more than once.
        #[arg(long = "call", value_name = "SUBJECT")]
        calls: Vec<String>,
        /// A subject that it may publish to: cmd.… or ext.v1.<name>.…
        #[arg(long = "publish", value_name = "SUBJECT")]
        publishes: Vec<String>,
        /// Facts that it follows, through the durable consumer tool-<name>.
        #[arg(long = "follow", value_name = "FILTER")]
        follows: Vec<String>,
        /// Start its consumer with this sequence of EVENTS instead of the oldest fact.
        #[arg(long, value_name = "SEQUENCE", conflicts_with = "from_time")]
        from_sequence: Option<u64>,
        /// Start its consumer with this moment (RFC 3339).
        #[arg(long, value_name = "TIME")]
        from_time: Option<chrono::DateTime<chrono::Utc>>,
        #[command(flatten)]
        ttl: Ttl,
    },
    /// List the tools with their rights.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Give a tool a new key and a new token. The key before the new one works until the next rotation.
    Rotate {
        /// The tool.
        name: String,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        ttl: Ttl,
    },
    /// Remove a tool: its keys and tokens are refused from now on, its consumer is deleted.
    Remove {
        /// The tool.
        name: String,
        #[command(flatten)]
        server: Server,
    },
}

/// The broker's configuration.
#[derive(Debug, clap::Args)]
pub struct Server {
    /// The directory that `lectern nats-config` wrote.
    #[arg(long, value_name = "DIR")]
    nats_dir: PathBuf,
    /// The broker's pid file: it is told to read its users again. Without it, reload the broker yourself.
    #[arg(long, value_name = "FILE")]
    server_pid: Option<PathBuf>,
}

pub async fn tool(env: &Env, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add { name, server, role, calls, publishes, follows, from_sequence, from_time, ttl } => {
            let mut all = tools::read(&server.nats_dir)?;
            ensure!(all.iter().all(|tool| tool.name != name), "there is a tool {name} already");
            let key = KeyPair::new_user();
            let tool = Tool {
                name,
                keys: vec![key.public_key()],
                role: role.to_string(),
                calls,
                publishes,
                follows,
            };
            tool.check()?;
            let token = token::issue(env, &tool.name, &[role], ttl.seconds()?).await?;
            if !tool.follows.is_empty() {
                consumer(env, &tool, from_sequence, from_time).await?;
            }
            all.push(tool.clone());
            save(env, &server, &all)?;
            shown(&tool, &key, &token)
        }
        Command::List { server } => {
            for Tool { name, keys, role, calls, publishes, follows } in tools::read(&server.nats_dir)? {
                println!("{name}\n  role     {role}\n  keys     {}", keys.join(" "));
                for (what, subjects) in [("calls", calls), ("publishes", publishes), ("follows", follows)] {
                    println!("  {what:9}{}", subjects.join(" "));
                }
            }
            Ok(())
        }
        Command::Rotate { name, server, ttl } => {
            let mut all = tools::read(&server.nats_dir)?;
            let tool = all.iter_mut().find(|tool| tool.name == name);
            let tool = tool.with_context(|| format!("there is no tool {name}"))?;
            let role: Role = tool.role.parse().map_err(anyhow::Error::msg)?;
            let token = token::issue(env, &name, &[role], ttl.seconds()?).await?;
            let key = KeyPair::new_user();
            tool.keys.push(key.public_key());
            let old = tool.keys.len().saturating_sub(2);
            tool.keys.drain(..old);
            let tool = tool.clone();
            save(env, &server, &all)?;
            shown(&tool, &key, &token)
        }
        Command::Remove { name, server } => {
            let mut all = tools::read(&server.nats_dir)?;
            let at = all.iter().position(|tool| tool.name == name);
            let tool = all.remove(at.with_context(|| format!("there is no tool {name}"))?);
            save(env, &server, &all)?;
            if !tool.follows.is_empty() {
                let bus = api::connect(env, "admin").await?;
                let subject = format!("CONSUMER.DELETE.EVENTS.{}", tool.consumer());
                api::request(bus.jetstream(), &subject, &json!({})).await?;
            }
            let ended = token::revoke(env, &name).await?;
            println!("removed {name} and ended {ended} of its tokens");
            Ok(())
        }
    }
}

async fn consumer(
    env: &Env,
    tool: &Tool,
    from_sequence: Option<u64>,
    from_time: Option<chrono::DateTime<chrono::Utc>>,
) -> anyhow::Result<()> {
    let mut wanted = plan::tool_consumer(tool)?;
    if let Some(sequence) = from_sequence {
        wanted.insert("deliver_policy".to_owned(), json!("by_start_sequence"));
        wanted.insert("opt_start_seq".to_owned(), json!(sequence));
    }
    if let Some(time) = from_time {
        wanted.insert("deliver_policy".to_owned(), json!("by_start_time"));
        wanted.insert("opt_start_time".to_owned(), json!(time));
    }
    let bus = api::connect(env, "admin").await?;
    let change = api::consumer(bus.jetstream(), "EVENTS", &wanted).await?;
    if change != api::Change::Created {
        provision::print("consumer", &tool.consumer(), &change);
    }
    Ok(())
}

/// Writes the list and the users, and tells the broker.
fn save(env: &Env, server: &Server, all: &[Tool]) -> anyhow::Result<()> {
    tools::write(&server.nats_dir, all)?;
    nats_config::users(env, &Secrets::require(env)?, &server.nats_dir)?;
    match &server.server_pid {
        Some(file) => reload(file),
        None => {
            eprintln!("lectern: reload the broker: nats-server --signal reload");
            Ok(())
        }
    }
}

fn reload(pid_file: &Path) -> anyhow::Result<()> {
    let shown = pid_file.display();
    let text = fs::read_to_string(pid_file).with_context(|| format!("reading {shown}"))?;
    let pid: i32 = text.trim().parse().with_context(|| format!("{shown} is no pid file"))?;
    if pid <= 1 {
        bail!("{shown} is no pid file");
    }
    kill(Pid::from_raw(pid), Signal::SIGHUP).with_context(|| format!("telling process {pid} to reload"))
}

fn shown(tool: &Tool, key: &KeyPair, token: &str) -> anyhow::Result<()> {
    let consumer = (!tool.follows.is_empty()).then(|| tool.consumer());
    let shown: Value = json!({
        "name": tool.name,
        "nkey_seed": key.seed()?,
        "inbox_prefix": format!("_INBOX_{}", tool.name),
        "service_token": token,
        "consumer": consumer,
    });
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(())
}
