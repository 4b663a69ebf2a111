//! The broker's configuration: `server.conf`, and `users.conf` with one nkey user per role.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::permissions::{self, Permissions};
use super::tools::Tool;
use crate::roles;

/// Where and how the broker listens; flags of nats-server override all of it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address of clients and monitoring.
    pub host: String,
    /// Port of clients.
    pub port: u16,
    /// Port of monitoring, on loopback.
    pub monitor_port: u16,
    /// Where the streams are.
    pub store_dir: String,
    /// Whether each message is on the disk before it is acknowledged.
    pub sync_always: bool,
    /// Bytes of streams on disk, as nats-server reads it: `10GB`.
    pub max_file_store: String,
}

/// `server.conf`.
pub fn server_conf(server: &Server) -> String {
    let Server { host, port, monitor_port, store_dir, sync_always, max_file_store } = server;
    let sync = if *sync_always { "    sync_interval: always\n" } else { "" };
    format!(
        "# Made by `lectern nats-config`; make it anew rather than edit it.
server_name: lectern
host: {host:?}
port: {port}
# monitoring tells much: loopback only
http: \"127.0.0.1:{monitor_port}\"

# a peer that is gone is noticed within 5 s
ping_interval: \"2s\"
ping_max: 2
write_deadline: \"2s\"
max_payload: 1MB
lame_duck_duration: \"30s\"

jetstream {{
    store_dir: {store_dir:?}
    max_mem: 256MB
    max_file: {max_file_store}
{sync}}}

system_account: SYS
accounts {{
    SYS {{
        include \"system.conf\"
    }}
    LECTERN {{
        jetstream: enabled
        include \"users.conf\"
    }}
}}
"
    )
}

/// `system.conf`: who watches the broker itself.
pub fn system_conf(public_key: &str) -> String {
    format!("# Made by `lectern nats-config`.\nusers: [\n    {{ nkey: {public_key} }}\n]\n")
}

/// Every user with its rights, by the name of its key in the secrets file. The development tools user is there in
/// development and test only.
pub fn users(with_development_tools: bool) -> BTreeMap<&'static str, Permissions> {
    let mut users = BTreeMap::new();
    for role in roles::ROLES {
        let rights = role.table.map_or_else(permissions::gateway, |table| permissions::worker(&table()));
        users.insert(role.name, rights);
    }
    users.insert("admin", permissions::admin());
    users.insert("eraser", permissions::eraser());
    if with_development_tools {
        users.insert("tools", permissions::development_tools());
    }
    users
}

/// `users.conf`: `key` gives a user's public key.
///
/// # Errors
/// When a user has no key.
pub fn users_conf(
    with_development_tools: bool,
    tools: &[Tool],
    key: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let mut text = String::from(
        "# Made by `lectern nats-config` from the contract; make it anew rather than edit it.\nusers: [\n",
    );
    for (name, rights) in users(with_development_tools) {
        user(&mut text, name, &key(name)?, &rights);
    }
    for tool in tools {
        for key in &tool.keys {
            user(&mut text, &format!("tool {}", tool.name), key, &permissions::tool(tool));
        }
    }
    text.push_str("]\n");
    Ok(text)
}

fn user(text: &mut String, name: &str, key: &str, rights: &Permissions) {
    let list = |subjects: &[String]| {
        let quoted: Vec<String> = subjects.iter().map(|subject| format!("{subject:?}")).collect();
        quoted.join(",\n                ")
    };
    let answers =
        if rights.answers { "\n            allow_responses: { max: 1, expires: \"30s\" }" } else { "" };
    // writing to a string can't fail
    let _infallible = write!(
        text,
        "    # {name}
    {{
        nkey: {key}
        permissions: {{
            publish: {{ allow: [
                {}
            ] }}
            subscribe: {{ allow: [
                {}
            ] }}{answers}
        }}
    }}
",
        list(&rights.publish),
        list(&rights.subscribe),
    );
}
