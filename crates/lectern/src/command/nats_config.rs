//! `lectern nats-config`: the broker's configuration from the contract and the secrets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lectern_core::config::Env;

use crate::broker::server_conf::{self, Server};
use crate::broker::tools;
use crate::secrets::Secrets;

/// Write the broker's configuration: one nkey user per role, its rights generated from the contract.
///
/// Writes server.conf, system.conf and users.conf. Flags of nats-server override ports and directories in it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  lectern nats-config --dir /etc/lectern/nats --store-dir /var/lib/nats\n  nats-server -c /etc/lectern/nats/server.conf"
)]
pub struct Args {
    /// Where to write; made when it isn't there.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Address of clients.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of clients.
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// Port of monitoring, on loopback.
    #[arg(long, default_value_t = 8222)]
    monitor_port: u16,
    /// Where streams are kept; <DIR>/jetstream when absent.
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
    /// Most bytes of streams on disk: below 80 % of the volume.
    #[arg(long, default_value = "10GB")]
    max_file_store: String,
}

pub fn nats_config(env: &Env, args: &Args) -> anyhow::Result<()> {
    let secrets = Secrets::require(env)?;
    fs::create_dir_all(&args.dir).with_context(|| format!("making {}", args.dir.display()))?;
    let dir = args.dir.canonicalize()?;
    let store_dir = args.store_dir.clone().unwrap_or_else(|| dir.join("jetstream"));
    let server = Server {
        host: args.host.clone(),
        port: args.port,
        monitor_port: args.monitor_port,
        store_dir: store_dir.display().to_string(),
        sync_always: env.environment()?.is_strict(),
        max_file_store: args.max_file_store.clone(),
    };
    write(&dir.join("server.conf"), &server_conf::server_conf(&server))?;
    write(&dir.join("system.conf"), &server_conf::system_conf(&secrets.public_key("system")?))?;
    users(env, &secrets, &dir)?;
    println!("wrote server.conf, system.conf and users.conf in {}", dir.display());
    Ok(())
}

/// Writes `users.conf` from the contract, the secrets and the list of tools.
///
/// # Errors
/// When a key is missing or the file can't be written.
pub fn users(env: &Env, secrets: &Secrets, dir: &Path) -> anyhow::Result<()> {
    let development = !env.environment()?.is_strict();
    let text = server_conf::users_conf(development, &tools::read(dir)?, |user| secrets.public_key(user))?;
    write(&dir.join("users.conf"), &text)
}

/// A server that reads its configuration meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("writing {}", path.display()))
}
