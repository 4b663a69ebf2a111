//! `./dev logs`.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use lectern_harness::checkout;

/// The options of `logs`.
#[derive(Args)]
pub struct Logs {
    /// A role (`courses`), or `nats` or `postgres`; all roles where absent
    role: Option<String>,
    /// Go on as more is written
    #[arg(short, long)]
    follow: bool,
}

/// Which lines are shown.
pub struct Filter {
    needles: Vec<String>,
}

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The first line.
    Start,
    /// What is written from now on.
    End,
}

impl Filter {
    /// Every line.
    pub fn everything() -> Filter {
        Filter { needles: Vec::new() }
    }

    /// The lines of one role, in either log format: by its name or by one of its subjects.
    fn role(role: &str) -> Filter {
        let names = ["service=", "role=", "service\":\"", "role\":\""].map(|key| format!("{key}{role}"));
        Filter { needles: names.into_iter().chain([format!("svc.{role}.")]).collect() }
    }

    fn lets(&self, line: &str) -> bool {
        self.needles.is_empty() || self.needles.iter().any(|needle| line.contains(needle))
    }
}

impl Logs {
    /// Prints a log, and follows it if asked.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let dir = checkout::state_dir();
        let (file, filter): (PathBuf, Filter) = match self.role.as_deref() {
            None | Some("all") => (dir.join("lectern.log"), Filter::everything()),
            Some("nats") => (dir.join("nats/nats-server.log"), Filter::everything()),
            Some("postgres") => (dir.join("postgres/postgres.log"), Filter::everything()),
            Some(role) => (dir.join("lectern.log"), Filter::role(role)),
        };
        ensure!(file.exists(), "nothing written yet in {}", file.display());
        if self.follow {
            follow(&file, &filter, From::Start).await;
        } else {
            let text = std::fs::read(&file)?;
            print_lines(&String::from_utf8_lossy(&text), &filter);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what a file holds and gets, for ever.
pub async fn follow(file: &Path, filter: &Filter, from: From) {
    let mut offset = match from {
        From::Start => 0,
        From::End => file.metadata().map_or(0, |meta| meta.len()),
    };
    let mut rest = String::new();
    loop {
        if let Ok(more) = read_from(file, offset) {
            offset += more.len() as u64;
            rest += &String::from_utf8_lossy(&more);
            if let Some(end) = rest.rfind('\n') {
                print_lines(&rest[..end], filter);
                rest.drain(..=end);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn read_from(file: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(file)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut more = Vec::new();
    file.read_to_end(&mut more)?;
    Ok(more)
}

/// A reader that goes away (`| head`) ends us quietly.
fn print_lines(text: &str, filter: &Filter) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for line in text.lines().filter(|line| filter.lets(line)) {
        if writeln!(out, "{line}").is_err() {
            std::process::exit(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn a_role_is_found_in_both_formats() {
        let filter = Filter::role("courses");
        assert!(filter.lets("15:30:20.405 INFO  ready service=courses"));
        assert!(filter.lets(r#"{"level":"info","service":"courses"}"#));
        assert!(filter.lets("15:30:20.405 INFO  published subject=svc.courses.v1.courses.publish"));
        assert!(!filter.lets("15:30:20.405 INFO  ready service=identity courses"));
    }
}
