//! B1: a request through everything, beside its two parts alone and beside a peer.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use lectern_harness::{Stack, TestServers};
use lectern_tests::load::{Figures, HttpConnection, Operation, closed_loop};
use lectern_tests::machine;
use lectern_tests::peer::{Installed, Peer};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::people::{self, Person};
use crate::rows::Row;

/// Keep-alive connections.
const CONNECTIONS: usize = 32;
/// People who look at their profile in turn: more than identity remembers, so that it has to ask for each.
const PEOPLE: usize = 1_500;
/// The row of the peer.
const PEER: &str = "  NestJS peer";
/// What is asked.
const ME: &str = "/api/v1/users/me";

/// `GET /users/me` with tokens, answered from the database, beside its two parts alone, the bus and the query, and beside a
/// peer.
pub async fn b1(stack: &mut Stack, pid: u32, length: Duration, with_peer: bool) -> anyhow::Result<Vec<Row>> {
    // before anything is measured: npm takes the machine for itself
    let installed = if with_peer { Installed::get() } else { Err(anyhow::anyhow!("not asked for")) };
    let alice = stack.learner("alice").await;
    let token = alice.access_token().context("no token")?;
    eprintln!("B1: {PEOPLE} people sign in");
    people::copy(stack, &alice.email, PEOPLE).await?;
    let people = people::sign_in(stack, &alice.password, PEOPLE).await?;
    let me = alice.looks_at_self().await.ok();
    let payload = me.body.clone();

    let base = stack.http_url();
    eprintln!("B1: GET {ME}, {CONNECTIONS} connections, {PEOPLE} people");
    machine::forget_peak(pid);
    let (hits, cpu) = (profile_hits(stack).await?, machine::cpu_seconds(pid));
    let ours = closed_loop(CONNECTIONS, length, |index| look(&base, &people, index)).await?;
    let cpu = machine::cpu_seconds(pid) - cpu;
    let peak = machine::peak_mib(pid);
    let hits = profile_hits(stack).await? - hits;
    ensure!(hits < 0.01 * done(&ours), "{hits} of {} profiles were remembered", done(&ours));
    eprintln!("B1: the same of one person, who is remembered");
    let remembered = closed_loop(CONNECTIONS, length, |_| HttpConnection::get(&base, ME, [&*token])).await?;

    eprintln!("B1: bare request/reply of {} bytes", payload.len());
    let bus = bare_bus(payload, length).await?;
    eprintln!("B1: the same query by bare sqlx");
    let pool = stack.database().pool("identity", 5).await?;
    let query = |index| {
        let users = share(&people, index).map(|person| person.id).collect();
        let pool = pool.clone();
        async { Ok(Query { pool, users, turn: 0 }) }
    };
    let sql = closed_loop(CONNECTIONS, length, query).await?;
    let peer = match installed {
        Ok(installed) => b1_peer(&installed, stack, &token, &me.json, &people, length).await,
        Err(error) => Err(error),
    };
    let peer = peer.unwrap_or_else(|error| left_out(&error));

    let limit = 1.0 / (1.0 / bus.throughput() + 1.0 / sql.throughput());
    Ok(vec![
        Row {
            name: "B1 request through",
            cpu_s_per_1000: Some(cpu / done(&ours) * 1000.0),
            rss_mib: Some(peak),
            limit: Some(limit),
            peer: peer.figures.as_ref().map(Figures::throughput),
            note: "limit: harmonic sum of the two bare ones; goals: 0.5 of it, 4 × the peer".to_owned(),
            figures: Some(ours),
        },
        Row { name: "  profile remembered", figures: Some(remembered), ..Row::default() },
        Row { name: "  bare request/reply", figures: Some(bus), ..Row::default() },
        Row { name: "  bare SQL", figures: Some(sql), ..Row::default() },
        peer,
    ])
}

/// How many profiles identity has answered from memory so far.
async fn profile_hits(stack: &mut Stack) -> anyhow::Result<f64> {
    stack.processes()[0].metric("cache_hits_total", "cache_type=\"user\"").await
}

/// The people of one connection.
fn share(people: &[Person], connection: usize) -> impl Iterator<Item = &Person> {
    people.iter().skip(connection).step_by(CONNECTIONS)
}

fn look(
    base: &str,
    people: &[Person],
    connection: usize,
) -> impl Future<Output = anyhow::Result<HttpConnection>> {
    HttpConnection::get(base, ME, share(people, connection).map(|person| &*person.token))
}

/// The same load on the peer, once it is seen to answer the same user.
async fn b1_peer(
    installed: &Installed,
    stack: &Stack,
    token: &str,
    me: &Value,
    people: &[Person],
    length: Duration,
) -> anyhow::Result<Row> {
    let jwks = format!("{}/.well-known/jwks.json", stack.http_url());
    let mut peer = installed.start(stack.database().url(), &jwks).await?;
    peer.answers(ME, token, me).await?;
    let bases = peer.http_urls();
    eprintln!("B1: the same of the peer");
    let used = |peer: &Peer| peer.pids().map(machine::cpu_seconds).sum::<f64>();
    let cpu = used(&peer);
    let get = |index: usize| look(&bases[index % bases.len()], people, index);
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
    users: Vec<Uuid>,
    turn: usize,
}

impl Operation for Query {
    async fn once(&mut self) -> anyhow::Result<()> {
        self.turn = (self.turn + 1) % self.users.len();
        sqlx::query("SELECT * FROM identity.users WHERE id = $1")
            .bind(self.users[self.turn])
            .fetch_one(&self.pool)
            .await?;
        Ok(())
    }
}
