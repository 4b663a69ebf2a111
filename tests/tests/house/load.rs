//! A steady load on one subject, as many requests under way as asked for, none lost from sight.

use std::time::{Duration, Instant};

use async_nats::{Client, Request};
use bytes::Bytes;
use lectern_harness::Stack;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a load saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub ok: u64,
    /// What went wrong, each once.
    pub failed: Vec<String>,
    /// How long the retry of each failed request took to succeed.
    pub retried: Vec<Duration>,
    pub elapsed: Duration,
}

impl Tally {
    /// Answered requests a second.
    pub fn rate(&self) -> f64 {
        self.ok as f64 / self.elapsed.as_secs_f64()
    }
}

/// A running load; `ends` stops it.
pub struct Load {
    stop: watch::Sender<bool>,
    workers: JoinSet<Tally>,
    begun: Instant,
}

/// One request for a load: reads only, since a failed one is sent again.
#[derive(Debug, Clone)]
pub struct Shot {
    pub subject: &'static str,
    pub body: Bytes,
    pub token: Option<String>,
    /// How long one attempt is waited for.
    pub patience: Duration,
    /// Between an answer and the next request.
    pub pause: Duration,
}

impl Shot {
    pub async fn fires(&self, client: &Client) -> Result<(), String> {
        let mut request = Request::new().payload(self.body.clone()).timeout(Some(self.patience));
        if let Some(token) = &self.token {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Authorization", format!("Bearer {token}").as_str());
            request = request.headers(headers);
        }
        let answer = client.send_request(self.subject, request).await.map_err(|error| error.to_string())?;
        match answer.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error")) {
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        }
    }
}

impl Load {
    /// Keeps `under_way` requests going over a few connections.
    pub async fn on(stack: &Stack, shot: Shot, under_way: usize) -> Load {
        let (stop, stopped) = watch::channel(false);
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(stack.bus_as("tools").await.expect("connected"));
        }
        let mut workers = JoinSet::new();
        for index in 0..under_way {
            let (client, shot, stopped) =
                (clients[index % clients.len()].clone(), shot.clone(), stopped.clone());
            workers.spawn(work(client, shot, stopped));
        }
        Load { stop, workers, begun: Instant::now() }
    }

    /// Stops, and adds up.
    pub async fn ends(mut self) -> Tally {
        self.stop.send_replace(true);
        let mut total = Tally { elapsed: self.begun.elapsed(), ..Tally::default() };
        while let Some(tally) = self.workers.join_next().await {
            let tally = tally.expect("a worker of the load");
            total.ok += tally.ok;
            total.failed.extend(tally.failed);
            total.retried.extend(tally.retried);
        }
        total
    }
}

async fn work(client: Client, shot: Shot, stopped: watch::Receiver<bool>) -> Tally {
    let mut tally = Tally::default();
    while !*stopped.borrow() {
        if !shot.pause.is_zero() {
            tokio::time::sleep(shot.pause).await;
        }
        match shot.fires(&client).await {
            Ok(()) => tally.ok += 1,
            Err(error) => {
                tally.failed.push(error);
                let again = Instant::now();
                match shot.fires(&client).await {
                    Ok(()) => tally.retried.push(again.elapsed()),
                    Err(error) => tally.failed.push(format!("again: {error}")),
                }
            }
        }
    }
    tally
}
