//! A whole Lectern of one test: servers, secrets, migrated database, users on the bus, streams, roles.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::binary::lectern_binary;
use super::cluster::TestCluster;
use super::database::Database;
use super::home::{self, Home};
use super::mailbox::Mailbox;
use super::role_process::RoleProcess;
use super::servers::Nats;
use super::stack_options::StackOptions;
use super::template::{ROLE_CONNECTIONS, Template};
use crate::servers::{Launch, tail};

/// A running Lectern. Dropping it kills the processes and forgets the data; in a failing test it prints their logs first.
#[derive(Debug)]
pub struct Stack {
    // dropped in this order: processes before what they talk to
    processes: Vec<RoleProcess>,
    nats: Nats,
    database: Database,
    env: BTreeMap<String, String>,
    lectern: PathBuf,
    room: TempDir,
}

/// What a run of the command `lectern` answered.
#[derive(Debug)]
pub struct Ran {
    /// What was run.
    pub command: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Whether it ended with 0.
    pub success: bool,
}

impl Stack {
    /// Starts one and waits until every process is ready.
    ///
    /// # Panics
    /// With the whole story when anything doesn't start.
    pub async fn start(options: StackOptions) -> Stack {
        Stack::try_start(options).await.unwrap_or_else(|error| panic!("no stack for this test: {error:#}"))
    }

    /// The same for programs that aren't tests.
    ///
    /// # Errors
    /// What didn't start, with the end of its log.
    pub async fn try_start(options: StackOptions) -> anyhow::Result<Stack> {
        let lectern = lectern_binary()?;
        let cluster = TestCluster::get().await?;
        let template = Template::get(cluster, &lectern).await?;
        let database = Database::create(cluster, &template.database).await?;
        let room = Home::get()?.room("stack-")?;
        let file = |name: &str| room.path().join(name).to_string_lossy().into_owned();

        let mut env = options.env;
        env.insert(ROLE_CONNECTIONS.0.into(), ROLE_CONNECTIONS.1.into());
        env.insert("DATABASE_URL".into(), database.url().to_owned());
        env.insert("LECTERN_SECRETS_FILE".into(), template.secrets.to_string_lossy().into_owned());
        env.insert("MEDIA_ROOT".into(), file("media"));
        env.insert("MAILBOX_FILE".into(), file("mailbox.jsonl"));
        fs::create_dir(room.path().join("media"))?;

        let config = file("nats-config");
        run(&lectern, room.path(), &env, &["nats-config", "--dir", &config], "").await?.done()?;
        let nats = Nats::start(Some(Path::new(&config).join("server.conf"))).await?;
        env.insert("NATS_URL".into(), nats.url());
        env.insert("NATS_MONITOR_URL".into(), nats.monitor_url());
        run(&lectern, room.path(), &env, &["provision"], "").await?.done()?;

        let mut stack = Stack { processes: Vec::new(), nats, database, env, lectern, room };
        for roles in &options.processes {
            let process = stack.launch(roles, &[])?;
            stack.processes.push(process);
        }
        for process in &mut stack.processes {
            process.wait_ready().await?;
        }
        Ok(stack)
    }

    /// Starts another process with `roles` and waits until it is ready; `env` overrides what the others have, for
    /// example a `DATABASE_URL` through a [`Proxy`](crate::servers::Proxy).
    ///
    /// # Panics
    /// When it doesn't become ready.
    pub async fn start_roles(&self, roles: &str, env: &[(&str, &str)]) -> RoleProcess {
        let started = async {
            let mut process = self.launch(roles, env)?;
            process.wait_ready().await?;
            anyhow::Ok(process)
        };
        started.await.unwrap_or_else(|error| panic!("no process with roles {roles}: {error:#}"))
    }

    /// Starts another process and doesn't wait: for one that a fault point ends while it starts.
    ///
    /// # Errors
    /// When the program can't be started at all.
    pub fn launch(&self, roles: &str, env: &[(&str, &str)]) -> anyhow::Result<RoleProcess> {
        let count = fs::read_dir(self.room.path())?.count();
        let name = format!("lectern-{}-{count}", roles.replace(',', "-"));
        let mut launch = Launch::new(&name, &self.lectern, self.room.path());
        launch.hermetic = true;
        launch.env = self.env.clone();
        launch.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        RoleProcess::start(launch, roles)
    }

    /// Runs the command `lectern` with this stack's environment.
    ///
    /// # Panics
    /// When the program can't be started at all.
    pub async fn lectern(&self, args: &[&str]) -> Ran {
        self.lectern_with_input(args, "").await
    }

    /// The same with something on its standard input.
    ///
    /// # Panics
    /// When the program can't be started at all.
    pub async fn lectern_with_input(&self, args: &[&str], input: &str) -> Ran {
        let ran = run(&self.lectern, self.room.path(), &self.env, args, input).await;
        ran.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The gateway's address, for example `http://127.0.0.1:20123`: the first process's that has that role.
    ///
    /// # Panics
    /// When no process of [`StackOptions::processes`] has it.
    pub fn http_url(&self) -> String {
        let gateway = self.processes.iter().find(|process| process.is_gateway());
        gateway.expect("a process with the role gateway").http_url()
    }

    /// The processes of [`StackOptions::processes`], in that order.
    pub fn processes(&mut self) -> &mut Vec<RoleProcess> {
        &mut self.processes
    }

    /// The bus: its URLs, `kill9`, `restart`.
    pub fn nats(&mut self) -> &mut Nats {
        &mut self.nats
    }

    /// The client URL of the bus.
    pub fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// The database, to look behind the doors.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Where mail lands.
    pub fn mailbox(&self) -> Mailbox {
        Mailbox::at(&self.env["MAILBOX_FILE"])
    }

    /// What every process has in its environment.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The directory of logs and media.
    pub fn dir(&self) -> &Path {
        self.room.path()
    }

    /// The seed of a NATS user in the secrets file: `tools`, `admin`, or a role.
    ///
    /// # Errors
    /// When the secrets file has none of that name.
    pub fn nats_seed(&self, user: &str) -> anyhow::Result<String> {
        let secrets: Value = serde_json::from_slice(&fs::read(&self.env["LECTERN_SECRETS_FILE"])?)?;
        let seed =
            secrets["nats"][user].as_str().with_context(|| format!("no NATS user {user} in the secrets"))?;
        Ok(seed.to_owned())
    }

    /// A connection to the bus as `user`. Users other than `tools` may listen on their private inbox only.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn bus_as(&self, user: &str) -> anyhow::Result<async_nats::Client> {
        let seed = self.nats_seed(user)?;
        let mut options = async_nats::ConnectOptions::with_nkey(seed).name(format!("test/{user}"));
        if user != "tools" {
            options = options.custom_inbox_prefix(format!("_INBOX_{user}"));
        }
        options.connect(self.nats_url()).await.with_context(|| format!("connecting to the bus as {user}"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut logs: Vec<PathBuf> = fs::read_dir(self.room.path())
                .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
                .unwrap_or_default();
            logs.retain(|path| path.extension().is_some_and(|end| end == "log"));
            logs.sort();
            logs.push(self.nats.process.log().to_owned());
            for log in logs {
                eprintln!("---- {} (last 60 lines)\n{}", log.display(), tail(&log, 60));
            }
        }
        if home::keeps() {
            eprintln!("kept: {} and database {}", self.room.path().display(), self.database.url());
        }
    }
}

impl Ran {
    /// Its standard output, trimmed.
    ///
    /// # Errors
    /// When it failed: with all that it said.
    pub fn done(self) -> anyhow::Result<String> {
        let Ran { command, stdout, stderr, success } = self;
        ensure!(success, "lectern {command} failed:\n{stdout}{stderr}");
        Ok(stdout.trim().to_owned())
    }
}

async fn run(
    lectern: &Path,
    dir: &Path,
    env: &BTreeMap<String, String>,
    args: &[&str],
    input: &str,
) -> anyhow::Result<Ran> {
    use std::io::Write;
    let mut command = Command::new(lectern);
    command
        .args(args)
        .envs(env)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (input, words) = (input.to_owned(), args.join(" "));
    let output = spawn_blocking(move || -> anyhow::Result<Output> {
        let mut child = command.spawn().context("starting lectern")?;
        if let Some(mut stdin) = child.stdin.take() {
            // a command that doesn't read its input may end before we have written it
            drop(stdin.write_all(input.as_bytes()));
        }
        Ok(child.wait_with_output()?)
    });
    let output = output.await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran {
        command: words,
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        success: output.status.success(),
    })
}
