//! `./dev bench [NAME] [--json FILE]`: figures beside their limits, measured in the same minute on the same machine. A
//! benchmark, not a test: it never fails on time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use futures_util::StreamExt;
use lectern_harness::{Stack, StackOptions, TestServers};
use lectern_tests::load::{Figures, HttpConnection, Operation, closed_loop};
use lectern_tests::machine;
use lectern_tests::peer::{Installed, Peer};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// Keep-alive connections of B1.
const CONNECTIONS: usize = 32;
/// The row of B1's peer.
const PEER: &str = "  NestJS peer";
/// What B1 asks.
const ME: &str = "/api/v1/users/me";

/// Measures what must be fast, each figure beside its limit. Example: ./dev bench b1 --json b1.json
#[derive(Parser)]
struct Arguments {
    /// One scenario: b1 or b11; all when absent
    name: Option<String>,
    /// Write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds per measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// One row of the table.
#[derive(Default)]
struct Row {
    name: &'static str,
    figures: Option<Figures>,
    cpu_s_per_1000: Option<f64>,
    rss_mib: Option<f64>,
    limit: Option<f64>,
    peer: Option<f64>,
    note: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let wanted = |name: &str| arguments.name.as_deref().is_none_or(|asked| asked.eq_ignore_ascii_case(name));
    if !wanted("b1") && !wanted("b11") {
        anyhow::bail!("no scenario {:?}; there are b1 and b11 so far", arguments.name.unwrap_or_default());
    }
    let length = Duration::from_secs(arguments.seconds);
    let machine = machine::describe();
    println!("machine: {machine}");
    println!("durability: PostgreSQL of the tests (fsync off), JetStream default sync\n");

    let begun = Instant::now();
    let mut stack = Stack::try_start(StackOptions::default().limits("load").env("LOG_LEVEL", "warn")).await?;
    eprintln!("the stack is up after {:.1} s", begun.elapsed().as_secs_f64());
    let pid = stack.processes()[0].pid();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = machine::resident_mib(pid);
    let mut rows = Vec::new();
    rows.extend(b1(&stack, pid, length, wanted("b1")).await?);
    if wanted("b11") {
        rows.push(b11(&mut stack, idle, pid).await?);
    }
    if !wanted("b1") {
        rows.retain(|row| row.name.starts_with("B11"));
    }
    print(&rows);
    if let Some(file) = &arguments.json {
        let scenarios: Vec<Value> = rows.iter().map(Row::json).collect();
        let report = json!({ "machine": machine, "scenarios": scenarios });
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n").context("writing the figures")?;
        println!("\nwritten to {}", file.display());
    }
    Ok(())
}

/// `GET /users/me` with a token, no response cache, beside its two parts alone, the bus and the query, and beside a peer.
async fn b1(stack: &Stack, pid: u32, length: Duration, with_peer: bool) -> anyhow::Result<Vec<Row>> {
    // before anything is measured: npm takes the machine for itself
    let installed = if with_peer { Installed::get() } else { Err(anyhow::anyhow!("not asked for")) };
    let alice = stack.learner("alice").await;
    let token = alice.access_token().context("no token")?;
    let me = alice.looks_at_self().await.ok();
    let user: Uuid = me.id().parse()?;
    let payload = me.body.clone();

    eprintln!("B1: GET {ME}, {CONNECTIONS} connections");
    let cpu = machine::cpu_seconds(pid);
    let base = stack.http_url();
    let ours = closed_loop(CONNECTIONS, length, |_| HttpConnection::get(&base, ME, &token)).await?;
    let cpu = machine::cpu_seconds(pid) - cpu;

    eprintln!("B1: bare request/reply of {} bytes", payload.len());
    let bus = bare_bus(payload, length).await?;
    eprintln!("B1: the same query by bare sqlx");
    let pool = stack.database().pool("identity", 5).await?;
    let sql = closed_loop(CONNECTIONS, length, |_| async { Ok(Query { pool: pool.clone(), user }) }).await?;
    let peer = match installed {
        Ok(installed) => b1_peer(&installed, stack, &token, &me.json, length).await,
        Err(error) => Err(error),
    };
    let peer = peer.unwrap_or_else(|error| left_out(&error));

    let limit = 1.0 / (1.0 / bus.throughput() + 1.0 / sql.throughput());
    Ok(vec![
        Row {
            name: "B1 request through",
            cpu_s_per_1000: Some(cpu / done(&ours) * 1000.0),
            rss_mib: Some(machine::peak_mib(pid)),
            limit: Some(limit),
            peer: peer.figures.as_ref().map(Figures::throughput),
            note: "limit: harmonic sum of the two below; goals: 0.5 of it, 4 × the peer".to_owned(),
            figures: Some(ours),
        },
        Row { name: "  bare request/reply", figures: Some(bus), ..Row::default() },
        Row { name: "  bare SQL", figures: Some(sql), ..Row::default() },
        peer,
    ])
}

/// The same load on the peer, once it is seen to answer the same user.
async fn b1_peer(
    installed: &Installed,
    stack: &Stack,
    token: &str,
    me: &Value,
    length: Duration,
) -> anyhow::Result<Row> {
    let jwks = format!("{}/.well-known/jwks.json", stack.http_url());
    let mut peer = installed.start(stack.database().url(), &jwks).await?;
    peer.answers(ME, token, me).await?;
    let bases = peer.http_urls();
    eprintln!("B1: the same of the peer");
    let used = |peer: &Peer| peer.pids().map(machine::cpu_seconds).sum::<f64>();
    let cpu = used(&peer);
    let get = |index: usize| HttpConnection::get(&bases[index % bases.len()], ME, token);
    let figures = closed_loop(CONNECTIONS, length, get).await?;
    let cpu = used(&peer) - cpu;
    Ok(Row {
        name: PEER,
        cpu_s_per_1000: Some(cpu / done(&figures) * 1000.0),
        rss_mib: Some(peer.pids().map(machine::peak_mib).sum()),
        note: format!(
            "NestJS 11 with Fastify on node {}, {} processes",
            installed.version(),
            peer.pids().count()
        ),
        figures: Some(figures),
        ..Row::default()
    })
}

fn left_out(error: &anyhow::Error) -> Row {
    let story = format!("{error:#}");
    eprintln!("B1: the peer is left out: {story}");
    let note = format!("left out: {}", story.lines().next().unwrap_or_default());
    Row { name: PEER, note, ..Row::default() }
}

/// Operations of a run and of its warm-up of a fifth, which costs CPU, too.
fn done(figures: &Figures) -> f64 {
    figures.operations as f64 * 1.2
}

async fn bare_bus(payload: Bytes, length: Duration) -> anyhow::Result<Figures> {
    let nats = TestServers::nats().await;
    let server = async_nats::connect(nats.url()).await?;
    let mut requests = server.queue_subscribe("bare", "q".to_owned()).await?;
    let answers = tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            if let Some(reply) = message.reply {
                answer(&server, reply, payload.clone()).await;
            }
        }
    });
    let client = async_nats::connect(nats.url()).await?;
    let figures = closed_loop(CONNECTIONS, length, |_| async { Ok(BareRequest(client.clone())) }).await;
    answers.abort();
    figures
}

#[expect(clippy::disallowed_methods, reason = "the bare client is the limit that we are compared with")]
async fn answer(server: &async_nats::Client, reply: async_nats::Subject, payload: Bytes) {
    let _lost = server.publish(reply, payload).await;
}

struct BareRequest(async_nats::Client);

impl Operation for BareRequest {
    #[expect(clippy::disallowed_methods, reason = "the bare client is the limit that we are compared with")]
    async fn once(&mut self) -> anyhow::Result<()> {
        self.0.request("bare", Bytes::from_static(b"{}")).await?;
        Ok(())
    }
}

struct Query {
    pool: PgPool,
    user: Uuid,
}

impl Operation for Query {
    async fn once(&mut self) -> anyhow::Result<()> {
        sqlx::query("SELECT * FROM identity.users WHERE id = $1")
            .bind(self.user)
            .fetch_one(&self.pool)
            .await?;
        Ok(())
    }
}

/// Memory, start, size.
async fn b11(stack: &mut Stack, idle: f64, pid: u32) -> anyhow::Result<Row> {
    let loaded = machine::peak_mib(pid);
    let begun = Instant::now();
    let mut second = stack.start_roles("all", &[]).await;
    let start = begun.elapsed().as_secs_f64();
    second.terminate().await?;
    let binary = std::env::current_exe()?.with_file_name("lectern");
    let note = format!(
        "idle {idle:.0} MiB (goal < 120), peak under B1 {loaded:.0} MiB; start to ready {start:.2} s (goal < 3); binary {:.1} MiB (goal < 60)",
        machine::file_mib(&binary)
    );
    Ok(Row { name: "B11 footprint", rss_mib: Some(idle), note, ..Row::default() })
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.figures.as_ref()?.throughput() / self.limit?)
    }

    fn times_peer(&self) -> Option<f64> {
        Some(self.figures.as_ref()?.throughput() / self.peer?)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name.trim(),
            "throughput": self.figures.as_ref().map(Figures::throughput),
            "p50_ms": self.figures.as_ref().map(|figures| figures.p50_ms),
            "p99_ms": self.figures.as_ref().map(|figures| figures.p99_ms),
            "cpu_s_per_1000": self.cpu_s_per_1000,
            "rss_mib": self.rss_mib,
            "limit": self.limit,
            "ratio": self.ratio(),
            "peer": self.peer,
            "times_peer": self.times_peer(),
            "note": self.note,
        })
    }
}

fn print(rows: &[Row]) {
    println!(
        "{:<24}{:>10}{:>9}{:>9}{:>12}{:>10}{:>10}{:>7}{:>8}",
        "scenario", "per s", "p50 ms", "p99 ms", "CPU s/1000", "RSS MiB", "limit", "ratio", "× peer"
    );
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    for row in rows {
        let figures = row.figures.as_ref();
        println!(
            "{:<24}{:>10}{:>9}{:>9}{:>12}{:>10}{:>10}{:>7}{:>8}  {}",
            row.name,
            cell(figures.map(Figures::throughput), 0),
            cell(figures.map(|figures| figures.p50_ms), 2),
            cell(figures.map(|figures| figures.p99_ms), 2),
            cell(row.cpu_s_per_1000, 3),
            cell(row.rss_mib, 0),
            cell(row.limit, 0),
            cell(row.ratio(), 2),
            cell(row.times_peer(), 1),
            row.note
        );
    }
}
