//! `./dev` itself: the whole stack goes up, says how to reach it, mends itself, and goes down without a trace.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use lectern_harness::Actor;
use lectern_harness::checkout::{DevState, DevStatus};
use lectern_harness::servers::{PortLease, Watchdog};
use lectern_harness::testing::lectern_binary;
use nix::sys::signal::Signal;

/// `./dev` with a state directory of this test's own.
struct Dev {
    dir: std::path::PathBuf,
    room: tempfile::TempDir,
    watchdog: Watchdog,
}

impl Dev {
    fn new() -> Dev {
        let room = tempfile::Builder::new().prefix("lectern-test-").tempdir_in("/tmp").expect("a directory");
        std::fs::set_permissions(room.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("opened");
        let watchdog = Watchdog::over(room.path()).expect("a watchdog");
        Dev { dir: room.path().join("state"), room, watchdog }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dev"));
        command
            .args(args)
            .env("LECTERN_DEV_DIR", &self.dir)
            .env("LECTERN_BIN", lectern_binary().expect("lectern"));
        for name in ["DATABASE_URL", "NATS_URL", "NATS_MONITOR_URL", "LECTERN_SECRETS_FILE"] {
            command.env_remove(name);
        }
        let output = command.current_dir(self.room.path()).output().expect("dev");
        if let Some(state) = self.state() {
            state.processes.iter().for_each(|process| self.watchdog.watch("QUIT", process.pid));
        }
        output
    }

    fn state(&self) -> Option<DevState> {
        serde_json::from_slice(&std::fs::read(self.dir.join("state.json")).ok()?).ok()
    }

    /// Runs it and answers its standard output.
    #[track_caller]
    fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "./dev {args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    #[track_caller]
    fn status(&self) -> DevStatus {
        serde_json::from_str(&self.succeeds(&["status", "--json"])).expect("JSON")
    }
}

fn mode(file: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&file.metadata().expect("a file")) & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_goes_up_is_mended_goes_down_and_is_forgotten() {
    let dev = Dev::new();
    assert!(!dev.run(&["status"]).status.success(), "nothing runs yet");
    dev.succeeds(&["down"]);

    // the wanted port is somebody else's
    let lease = PortLease::take().expect("a port");
    let _taken = TcpListener::bind(("127.0.0.1", lease.number())).expect("bound");
    let port = lease.number().to_string();
    let table = dev.succeeds(&["up", "--detach", "--port", &port]);
    let status = dev.status();
    assert!(!status.http.ends_with(&port), "a taken port is left to its owner: {}", status.http);
    assert!(table.contains(&status.http), "{table}");

    // one login per role, and each signs in
    let roles: Vec<&str> = status.accounts.iter().map(|account| account.role.as_str()).collect();
    for role in ["admin", "operator", "auditor", "moderator", "instructor", "learner"] {
        assert!(roles.contains(&role), "{role} is missing in {roles:?}");
        let account = status.account(role).expect("an account");
        Actor::with_account(&status.http, role, &account.email, &account.password).logs_in().await.ok();
    }
    let metrics = reqwest::get(&status.metrics).await.expect("metrics").text().await.expect("text");
    assert!(metrics.contains("http_requests_total"), "{metrics}");
    for secret in ["state.json", "secrets.json", "tools.nk", "academy.json"] {
        assert_eq!(mode(&dev.dir.join(secret)), 0o600, "{secret} is for its owner alone");
    }

    // a mail lands where `mail` finds it
    let newcomer = Actor::with_account(&status.http, "Newcomer", "newcomer@example.org", "Correct-Horse-7!");
    newcomer.registers().await.created();
    let mut mail = dev.succeeds(&["mail", "--to", "newcomer@example.org", "--json"]);
    while mail.trim() == "[]" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        mail = dev.succeeds(&["mail", "--to", "newcomer@example.org", "--json"]);
    }
    let letters: serde_json::Value = serde_json::from_str(&mail).expect("JSON");
    assert!(letters[0]["subject"].is_string() && letters[0]["text"].is_string(), "{mail}");

    // up again changes nothing; after a crash it mends, and the account is still there
    let before = dev.state().expect("a state");
    assert!(dev.succeeds(&["up", "--detach"]).contains("it runs already"));
    assert_eq!(dev.state().expect("a state").processes, before.processes);
    let roles = before.processes.iter().find(|process| process.name == "lectern").expect("the roles");
    roles.stop(Signal::SIGKILL, std::time::Duration::from_secs(5)).await;
    assert!(!dev.run(&["status"]).status.success(), "a dead process is no running stack");
    dev.succeeds(&["up", "--detach"]);
    let status = dev.status();
    newcomer.at(&status.http).logs_in().await.ok();

    dev.succeeds(&["down"]);
    assert!(before.processes.iter().all(|process| !process.is_alive()));
    assert!(!dev.run(&["status", "--json"]).status.success());
    dev.succeeds(&["reset"]);
    assert!(!dev.dir.exists());
}

#[test]
fn what_is_not_built_yet_says_so_and_fails() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_dev")).args(["chaos", "--minutes", "3", "--seed", "1"]).output();
    let output = output.expect("dev");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was done"));
}

#[test]
fn reset_removes_no_directory_that_is_not_its_own() {
    let dev = Dev::new();
    std::fs::create_dir(&dev.dir).expect("made");
    std::fs::write(dev.dir.join("precious"), "yes").expect("written");
    let output =
        Command::new(env!("CARGO_BIN_EXE_dev")).arg("reset").env("LECTERN_DEV_DIR", &dev.dir).output();
    let output = output.expect("dev");
    assert!(!output.status.success());
    assert!(dev.dir.join("precious").exists());
}
