//! Which ports the stack takes.

use std::collections::BTreeMap;

use lectern_harness::servers::{is_free, next_free};

use super::progress::Progress;

/// What is asked for first, by name.
const USUAL: [(&str, u16); 5] =
    [("http", 3000), ("admin", 3001), ("nats", 4222), ("nats_monitor", 8222), ("postgres", 5433)];

/// A free port for each name: the last start's, else the usual one, else the next free one, and says so.
pub fn choose(
    last: &BTreeMap<String, u16>,
    http: Option<u16>,
    progress: &Progress,
) -> anyhow::Result<BTreeMap<String, u16>> {
    let mut chosen: BTreeMap<String, u16> = BTreeMap::new();
    for (name, usual) in USUAL {
        let asked = if name == "http" { http } else { None };
        let wanted = asked.or_else(|| last.get(name).copied().filter(|port| is_free(*port))).unwrap_or(usual);
        let taken: Vec<u16> = chosen.values().copied().collect();
        let port = next_free(wanted, &taken)?;
        if port != wanted {
            progress.say(format!("port {wanted} is taken: {name} uses {port}"));
        }
        chosen.insert(name.to_owned(), port);
    }
    Ok(chosen)
}
