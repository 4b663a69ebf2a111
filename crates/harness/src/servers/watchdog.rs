//! What we started for tests ends with us, whatever ends us.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

/// A shell that holds the other end of a pipe of ours. When we end — normally, by panic, by `kill -9` — the pipe closes,
/// and it stops what it was told to watch and removes the directory. (The parent-death signal of Linux is tied to the
/// thread that started the child, and a test's thread ends long before its process.)
#[derive(Debug, Clone)]
pub struct Watchdog {
    pipe: Arc<Mutex<ChildStdin>>,
}

/// `+SIGNAL PID` watches, `-PID` forgets. QUIT lets PostgreSQL give back its shared memory.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
watched=
while read -r line; do
  case $line in
    +*) watched="$watched ${line#+}" ; watched=$(echo $watched) ;;
    -*) kept= ; set -- $watched
        while [ $# -ge 2 ]; do [ "$2" = "${line#-}" ] || kept="$kept $1 $2"; shift 2; done
        watched=$(echo $kept) ;;
  esac
done
set -- $watched
while [ $# -ge 2 ]; do kill -s "$1" "$2" 2>/dev/null; shift 2; done
tries=0
while [ $tries -lt 50 ]; do
  alive= ; set -- $watched
  while [ $# -ge 2 ]; do kill -0 "$2" 2>/dev/null && alive="$alive $2"; shift 2; done
  [ -n "$alive" ] || break
  tries=$((tries + 1)) ; sleep 0.1
done
[ -z "$alive" ] || kill -s KILL $alive 2>/dev/null
rm -rf "$WATCHED_DIR"
"#;

impl Watchdog {
    /// Starts one that removes `dir` at the end.
    pub fn over(dir: &Path) -> anyhow::Result<Watchdog> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT])
            .env("WATCHED_DIR", dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting sh")?;
        let pipe = child.stdin.take().context("the shell's stdin")?;
        Ok(Watchdog { pipe: Arc::new(Mutex::new(pipe)) })
    }

    /// Watches `pid`, to be ended with `signal` (`KILL`, `QUIT`).
    pub fn watch(&self, signal: &str, pid: u32) {
        self.tell(&format!("+{signal} {pid}\n"));
    }

    /// Forgets `pid`, which has ended: its number may soon be somebody else's.
    pub fn forget(&self, pid: u32) {
        self.tell(&format!("-{pid}\n"));
    }

    fn tell(&self, line: &str) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        // a broken pipe means that the shell was killed: then nobody watches, and the tests still run
        drop(pipe.write_all(line.as_bytes()));
    }
}
