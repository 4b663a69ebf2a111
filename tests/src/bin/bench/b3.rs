//! B3: sign-ins of many accounts, beside what the password hash alone would allow, and what others notice of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use lectern_harness::Stack;
use lectern_tests::load::{Figures, HttpConnection, Operation, closed_loop, paced};
use lectern_tests::machine;
use serde_json::json;

use crate::people::{self, LOGIN};
use crate::rows::Row;

/// How identity hashes unless it is told otherwise: memory in KiB, passes, lanes.
const ARGON2: (u32, u32, u32) = (19_456, 2, 1);
/// So many that nobody signs in often enough to lose an older session.
const ACCOUNTS: usize = 5_000;
/// People who sign in at once.
const AT_ONCE: usize = 16;
/// Other requests a second meanwhile, half of them for the own profile and half for the list of courses.
const OTHERS: f64 = 100.0;

/// CPU seconds used so far.
struct Used {
    lectern: f64,
    nats: f64,
    postgres: f64,
    client: f64,
}

/// Sign-ins, with other requests at a modest pace, beside the bound of the hash: cores ÷ CPU time of one comparison.
pub async fn b3(stack: &mut Stack, length: Duration) -> anyhow::Result<Vec<Row>> {
    let base = stack.http_url();
    let first = stack.learner("b3").await;
    let token = first.access_token().context("no token")?;
    let hash = people::copy(stack, &first.email, ACCOUNTS).await?;
    let (memory, passes, lanes) = ARGON2;
    let parameters = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}$");
    ensure!(hash.starts_with(&parameters), "identity hashes otherwise: {hash}");

    eprintln!("B3: one argon2id comparison of {ARGON2:?} on every core");
    let password = first.password.clone();
    let per_hash = tokio::task::spawn_blocking(move || cpu_per_hash(&password, length / 4)).await??;
    let cores = available_parallelism()?.get() as f64;
    eprintln!("B3: other requests alone, {OTHERS} a second");
    let before = paced(others(&base, &token).await?, OTHERS, length).await?;

    eprintln!("B3: POST {LOGIN}, {AT_ONCE} at once, {ACCOUNTS} accounts, and the other requests");
    let next = Arc::new(AtomicUsize::new(0));
    let sign_in = |_| {
        let (base, next, password) = (base.clone(), next.clone(), first.password.clone());
        async move { Ok(SignIn { connection: HttpConnection::open(&base).await?, next, password }) }
    };
    let used = Used::now(stack).await?;
    let begun = Instant::now();
    let (ours, during) = tokio::join!(
        closed_loop(AT_ONCE, length, sign_in),
        paced(others(&base, &token).await?, OTHERS, length.mul_f64(1.2))
    );
    let took = begun.elapsed().as_secs_f64();
    let used = Used::now(stack).await?.since(&used);
    let (ours, during) = (ours?, during?);

    let signed_in = next.load(Ordering::Relaxed) as f64;
    let hashing = signed_in * per_hash;
    let per = |seconds: f64| seconds / signed_in * 1000.0;
    let shares = format!(
        "CPU ms per sign-in: hash {:.1}, lectern besides {:.1}, PostgreSQL {:.1}, nats {:.1}, client {:.1}; hashing took {:.2} of \
         all CPU used, which was {:.2} of {cores} cores",
        per_hash * 1000.0,
        per(used.lectern - hashing),
        per(used.postgres),
        per(used.nats),
        per(used.client),
        hashing / used.all(),
        used.all() / took
    );
    Ok(vec![
        Row {
            name: "B3 sign-in",
            cpu_s_per_1000: Some(per(used.lectern)),
            rss_mib: Some(machine::peak_mib(stack.processes()[0].pid())),
            limit: Some(cores / per_hash),
            note: format!(
                "limit: {cores} cores ÷ {:.1} ms CPU of one hash; goal 0.9. {shares}",
                per_hash * 1000.0
            ),
            figures: Some(ours),
            ..Row::default()
        },
        others_row("  others before", before),
        others_row("  others meanwhile", during),
    ])
}

fn others_row(name: &'static str, figures: Figures) -> Row {
    let note = "GET /users/me and /courses at a fixed pace; goal p99 < 50 ms".to_owned();
    Row { name, figures: Some(figures), note, ..Row::default() }
}

/// CPU seconds of one right password, every core comparing one.
fn cpu_per_hash(password: &str, length: Duration) -> anyhow::Result<f64> {
    let (memory, passes, lanes) = ARGON2;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| anyhow!("{error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let own = std::process::id();
    let (used, end) = (machine::cpu_seconds(own), Instant::now() + length);
    let count = std::thread::scope(|scope| {
        let compare = || {
            let (mut count, mut out) = (0_u32, [0; 32]);
            // kept, as the pool keeps it
            let mut memory = vec![Block::new(); argon2.params().block_count()];
            while Instant::now() < end {
                let hashed = argon2.hash_password_into_with_memory(
                    password.as_bytes(),
                    &[7; 16],
                    &mut out,
                    &mut memory,
                );
                assert!(hashed.is_ok());
                count += 1;
            }
            count
        };
        let threads: Vec<_> =
            (0..available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(compare)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum::<u32>()
    });
    Ok((machine::cpu_seconds(own) - used) / f64::from(count))
}

async fn others(base: &str, token: &str) -> anyhow::Result<Vec<HttpConnection>> {
    let mut connections = Vec::new();
    for index in 0..8 {
        let path = if index % 2 == 0 { "/api/v1/users/me" } else { "/api/v1/courses" };
        connections.push(HttpConnection::get(base, path, [token]).await?);
    }
    Ok(connections)
}

struct SignIn {
    connection: HttpConnection,
    next: Arc<AtomicUsize>,
    password: String,
}

impl Operation for SignIn {
    async fn once(&mut self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % ACCOUNTS;
        let body = json!({ "email": people::email(number), "password": self.password });
        self.connection.post(LOGIN, &body.to_string()).await
    }
}

impl Used {
    async fn now(stack: &mut Stack) -> anyhow::Result<Used> {
        let postmaster =
            stack.database().value("SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)").await?;
        let postmaster = postmaster.context("a process id")?.parse()?;
        Ok(Used {
            lectern: stack.processes().iter().map(|process| machine::cpu_seconds(process.pid())).sum(),
            nats: machine::cpu_seconds(stack.nats().process.pid()),
            postgres: machine::cpu_seconds_of_family(postmaster),
            client: machine::cpu_seconds(std::process::id()),
        })
    }

    fn since(&self, before: &Used) -> Used {
        Used {
            lectern: self.lectern - before.lectern,
            nats: self.nats - before.nats,
            postgres: self.postgres - before.postgres,
            client: self.client - before.client,
        }
    }

    fn all(&self) -> f64 {
        self.lectern + self.nats + self.postgres + self.client
    }
}
