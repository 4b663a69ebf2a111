//! Closed-loop load over keep-alive connections, as light as it can be: the generator shares the machine with what it measures.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What a run of a scenario came to.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Operations done.
    pub operations: usize,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
}

impl Figures {
    /// Operations per second.
    pub fn throughput(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    fn of(mut latencies: Vec<Duration>, took: Duration) -> Figures {
        latencies.sort_unstable();
        let at = |part: f64| {
            let index = ((latencies.len() as f64 - 1.0) * part).max(0.0) as usize;
            latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        Figures {
            operations: latencies.len(),
            seconds: took.as_secs_f64(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        }
    }
}

/// Runs `workers` copies of an operation, each as fast as its last one returns, for `length` after a warm-up of a fifth.
///
/// # Errors
/// The first error of any operation: a benchmark that fails requests measures nothing.
pub async fn closed_loop<F, Fut, W>(workers: usize, length: Duration, worker: F) -> anyhow::Result<Figures>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = anyhow::Result<W>>,
    W: Operation,
{
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    let warm = begun + length / 5;
    let end = warm + length;
    for index in 0..workers {
        let mut operation = worker(index).await?;
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(100_000);
            loop {
                let started = Instant::now();
                if started >= end {
                    return anyhow::Ok(latencies);
                }
                operation.once().await?;
                if started >= warm {
                    latencies.push(started.elapsed());
                }
            }
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies??);
    }
    Ok(Figures::of(all, length))
}

/// Does an operation at a fixed pace, `per_second` times a second spread over the workers, for `length`. What has to wait for
/// its worker counts from when it was due, so that a slow answer does not hide those behind it.
///
/// # Errors
/// The first error of any operation.
pub async fn paced<W: Operation>(
    mut workers: Vec<W>,
    per_second: f64,
    length: Duration,
) -> anyhow::Result<Figures> {
    let begun = Instant::now();
    let count = workers.len();
    let pause = Duration::from_secs_f64(count as f64 / per_second);
    let mut tasks = JoinSet::new();
    for (index, mut worker) in workers.drain(..).enumerate() {
        let mut due = begun + pause.mul_f64(index as f64 / count as f64);
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while due < begun + length {
                tokio::time::sleep_until(due.into()).await;
                worker.once().await?;
                latencies.push(due.elapsed());
                due += pause;
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies??);
    }
    Ok(Figures::of(all, length))
}

/// Something that can be done again and again.
pub trait Operation: Send + 'static {
    /// Does it once.
    ///
    /// # Errors
    /// When it did not succeed.
    fn once(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// One keep-alive connection that expects status 200.
pub struct HttpConnection {
    stream: TcpStream,
    host: String,
    /// What [`Operation::once`] sends, in turn.
    requests: Vec<Vec<u8>>,
    turn: usize,
    buffer: Vec<u8>,
}

impl HttpConnection {
    /// Connects to `http://host:port`.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(base: &str) -> anyhow::Result<HttpConnection> {
        let host = base.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await.with_context(|| format!("connecting to {host}"))?;
        stream.set_nodelay(true)?;
        Ok(HttpConnection { stream, host, requests: Vec::new(), turn: 0, buffer: Vec::with_capacity(8192) })
    }

    /// Connects for GET requests of `path` with a bearer token, with each of these in turn.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn get<'a>(
        base: &str,
        path: &str,
        tokens: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<HttpConnection> {
        let mut connection = HttpConnection::open(base).await?;
        let host = &connection.host;
        let request = |token| {
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n")
                .into_bytes()
        };
        connection.requests = tokens.into_iter().map(request).collect();
        Ok(connection)
    }

    /// Posts a JSON document and waits for the answer.
    ///
    /// # Errors
    /// When it is not 200.
    pub async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.requests = vec![request.into_bytes()];
        self.once().await
    }
}

impl Operation for HttpConnection {
    async fn once(&mut self) -> anyhow::Result<()> {
        self.turn = (self.turn + 1) % self.requests.len().max(1);
        self.stream.write_all(self.requests.get(self.turn).context("nothing to send")?).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            if !text.starts_with("HTTP/1.1 200") {
                bail!("{}", text.lines().next().unwrap_or_default());
            }
            let length: usize = text
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().to_owned())
                })
                .context("no content-length")?
                .parse()?;
            if self.buffer.len() >= head + 4 + length {
                return Ok(());
            }
        }
    }
}
