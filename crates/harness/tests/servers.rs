//! Real servers start, stop, survive, and are left alone when they aren't ours.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_harness::servers::{
    Cluster, ClusterOptions, Durability, Launch, NatsBinary, NatsOptions, NatsServer, PortLease,
    PostgresBinary, ProcessRecord, Watchdog, private_dir, tail,
};
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

/// A directory that the server's account can reach, too, and a watchdog for what a failed test leaves in it.
struct Room {
    dir: tempfile::TempDir,
    watchdog: Watchdog,
}

impl Room {
    fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn room() -> Room {
    let dir = tempfile::Builder::new().prefix("lectern-test-").tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("opened");
    let watchdog = Watchdog::over(dir.path()).expect("a watchdog");
    Room { dir, watchdog }
}

fn nats_in(room: &Room) -> NatsOptions {
    let watchdog = Some(room.watchdog.clone());
    NatsOptions { dir: room.path().into(), ports: None, config: None, detached: false, watchdog }
}

#[tokio::test]
async fn a_kept_cluster_keeps_its_rows_over_a_restart_and_asks_for_the_password() {
    let room = room();
    let binary = PostgresBinary::find_or_fetch().expect("PostgreSQL");
    let lease = PortLease::take().expect("a port");
    let options = ClusterOptions {
        dir: room.path().join("postgres"),
        port: lease.number(),
        durability: Durability::Kept { password: "correct-horse".into() },
        detached: true,
        watchdog: Some(room.watchdog.clone()),
    };
    let mut cluster = Cluster::start(&binary, options.clone()).await.expect("started");
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.expect("connected");
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        .execute(&mut connection)
        .await
        .expect("stored");
    let wrong = cluster.url("postgres").replace("correct-horse", "wrong");
    assert!(PgConnection::connect(&wrong).await.is_err(), "a wrong password is refused");
    cluster.stop().await;
    assert!(!cluster.process.record().is_alive());

    let mut cluster = Cluster::start(&binary, options).await.expect("started again");
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.expect("connected");
    let kept: i32 = sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut connection).await.expect("read");
    assert_eq!(kept, 7);
    let checksums: String =
        sqlx::query_scalar("SHOW data_checksums").fetch_one(&mut connection).await.expect("the setting");
    assert_eq!(checksums, "on");
    cluster.stop().await;
}

#[tokio::test]
async fn a_lock_file_of_a_crashed_cluster_does_not_hinder_the_next_start() {
    let room = room();
    let binary = PostgresBinary::find_or_fetch().expect("PostgreSQL");
    let lease = PortLease::take().expect("a port");
    let dir = room.path().join("postgres");
    let options = ClusterOptions {
        dir: dir.clone(),
        port: lease.number(),
        durability: Durability::Thrown,
        detached: false,
        watchdog: Some(room.watchdog.clone()),
    };
    let mut cluster = Cluster::start(&binary, options.clone()).await.expect("started");
    cluster.stop().await;
    // what a power cut leaves behind, the id now being this test's own
    std::fs::write(dir.join("data/postmaster.pid"), format!("{}\n/elsewhere\n", std::process::id()))
        .expect("written");
    let mut cluster = Cluster::start(&binary, options).await.expect("started over a stale lock");
    cluster.stop().await;
}

#[tokio::test]
async fn a_killed_nats_server_comes_back_on_its_ports_with_its_messages() {
    let room = room();
    let binary = NatsBinary::find_or_fetch().expect("nats-server");
    let options = nats_in(&room);
    let mut server = NatsServer::start(&binary, options).await.expect("started");
    let url = server.url();
    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.expect("connected"));
    let config = async_nats::jetstream::stream::Config { name: "KEPT".into(), ..Default::default() };
    jetstream.create_stream(config).await.expect("a stream");
    jetstream.publish("KEPT", "seven".into()).await.expect("sent").await.expect("stored");

    server.process.kill();
    server.start_again().await.expect("started again");
    assert_eq!(server.url(), url);
    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.expect("connected"));
    let stream = jetstream.get_stream("KEPT").await.expect("still there");
    assert_eq!(stream.cached_info().state.messages, 1);
    server.stop().await;
}

#[tokio::test]
async fn two_servers_of_two_tests_share_nothing() {
    let (one, two) = (room(), room());
    let binary = NatsBinary::find_or_fetch().expect("nats-server");
    let mut one = NatsServer::start(&binary, nats_in(&one)).await.expect("started");
    let mut two = NatsServer::start(&binary, nats_in(&two)).await.expect("started");
    assert_ne!(one.url(), two.url());
    one.stop().await;
    async_nats::connect(&two.url()).await.expect("the other one serves on");
    two.stop().await;
}

#[tokio::test]
async fn a_process_that_got_a_dead_ones_id_is_never_signalled() {
    let mut stranger = Command::new("sleep").arg("60").spawn().expect("a stranger");
    let stale = |birth: &str, program: &str| ProcessRecord {
        name: "postgres".into(),
        pid: stranger.id(),
        birth: birth.into(),
        program: program.into(),
    };
    assert!(!stale("another birth", "sleep").signal(Signal::SIGKILL));
    assert!(!stale("", "sleep").signal(Signal::SIGKILL));
    assert!(!stale("another birth", "postgres").stop(Signal::SIGKILL, Duration::ZERO).await);
    assert!(stranger.try_wait().expect("its state").is_none(), "the stranger lives");
    stranger.kill().expect("ended by the test");
    stranger.wait().expect("reaped");
}

#[tokio::test]
async fn a_process_is_stopped_by_its_record_and_killed_when_it_does_not_listen() {
    let room = room();
    let stubborn = Launch::new("stubborn", "/bin/sh", room.path())
        .args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
    let mut process = stubborn.start().expect("started");
    while !tail(process.log(), 1).contains("ready") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let record: ProcessRecord =
        serde_json::from_value(serde_json::to_value(process.record()).expect("written")).expect("read back");
    assert!(record.is_alive());
    assert!(record.stop(Signal::SIGTERM, Duration::from_millis(200)).await);
    assert!(!record.is_alive());
    let status = process.ends_within(Duration::from_secs(5)).await.expect("ended");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
}

#[tokio::test]
async fn a_detached_child_holds_no_descriptor_of_its_caller() {
    let room = room();
    // the caller left descriptors open in us, as a CI step or `make -j` does: bash starts this test's own program again
    let inner = std::env::current_exe().expect("this test");
    let script = "exec 7>\"$1\" 15>\"$1\"; exec \"$2\" --exact --ignored starts_a_sleeper --nocapture";
    let status = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(room.path().join("pipe"))
        .arg(inner)
        .env("LECTERN_TEST_ROOM", room.path())
        .stdout(Stdio::null())
        .status()
        .expect("bash");
    assert!(status.success());
    let record: ProcessRecord =
        serde_json::from_slice(&std::fs::read(room.path().join("record.json")).expect("its record"))
            .expect("a record");
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", record.pid))
        .expect("its descriptors")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert!(
        record.stop(Signal::SIGKILL, Duration::from_secs(5)).await,
        "it outlived the process that started it"
    );
    assert_eq!(open.len(), 3, "only stdin, stdout and stderr: {open:?}");
}

/// Not a test of its own: what the one above starts in another process.
#[test]
#[ignore = "the body of a_detached_child_holds_no_descriptor_of_its_caller"]
fn starts_a_sleeper() {
    let room =
        std::path::PathBuf::from(lectern_harness::environment::var("LECTERN_TEST_ROOM").expect("the room"));
    let mut launch = Launch::new("sleep", "/bin/sleep", &room).args(["60"]);
    launch.detached = true;
    let process = launch.start().expect("started");
    // the shell that closes descriptors has replaced itself when the command line is the sleeper's own
    let path = format!("/proc/{}/cmdline", process.pid());
    while !std::fs::read(&path).is_ok_and(|line| line.starts_with(b"/bin/sleep")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(room.join("record.json"), serde_json::to_vec(process.record()).expect("json"))
        .expect("written");
}

#[tokio::test]
async fn the_watchdog_ends_what_a_killed_test_left_and_removes_its_directory() {
    let room = room();
    let watched = room.path().join("watched");
    std::fs::create_dir(&watched).expect("made");
    let mut left = Launch::new("left", "/bin/sleep", &watched).args(["60"]).start().expect("started");
    let mut ended = Launch::new("ended", "/bin/sleep", &watched).args(["0"]).start().expect("started");
    let mut stranger =
        Launch::new("stranger", "/bin/sleep", room.path()).args(["60"]).start().expect("started");
    let watchdog = Watchdog::over(&watched).expect("a watchdog");
    watchdog.watch("KILL", left.pid());
    watchdog.watch("QUIT", ended.pid());
    watchdog.watch("KILL", stranger.pid());
    ended.ends_within(Duration::from_secs(10)).await.expect("ended");
    watchdog.forget(ended.pid());
    watchdog.forget(stranger.pid());
    drop(watchdog); // the pipe closes, as when the process is killed
    left.ends_within(Duration::from_secs(10)).await.expect("the watchdog ended it");
    while watched.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stranger.ended().is_none(), "what was forgotten is left alone");
    stranger.kill();
}

#[test]
fn a_directory_that_others_may_write_into_is_refused() {
    let room = room();
    let open = room.path().join("open");
    std::fs::create_dir(&open).expect("made");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("opened");
    let error = private_dir(&open, 0o755).expect_err("refused");
    assert!(error.to_string().contains("others may write into it"), "{error}");
    private_dir(&room.path().join("new"), 0o755).expect("a new one is ours");
    private_dir(&room.path().join("new"), 0o755).expect("and stays so");
}
