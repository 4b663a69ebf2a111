//! Lanes: messages of one key are handled one after the other, in the order of the stream, those of different keys at the
//! same time.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_nats::jetstream::Message;
use futures_util::{FutureExt, StreamExt};
use tokio::task::{JoinError, JoinSet};

use crate::consume::{End, Source, lanes, progress};

/// Messages held at once; more stay with the broker, for other processes too.
const HELD: usize = 128;

/// Handles messages until the process stops.
pub(crate) async fn run<K, H, F>(source: Source, key: K, handle: H)
where
    K: Fn(&Message) -> String,
    H: Fn(Arc<Message>) -> F,
    F: Future<Output = End> + Send + 'static,
{
    let mut lanes = Lanes::new(lanes(source.core.pool()));
    let source = Arc::new(source);
    let mut last_delivery = None;
    while let Some(mut open) = source.open(HELD / 2).await {
        last_delivery = open.last_delivery;
        let mut signs_of_life = tokio::time::interval(open.progress);
        signs_of_life.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = open.messages.next(), if lanes.held.len() < HELD => match next {
                    Some(Ok(message)) => lanes.take(key(&message), Arc::new(message)),
                    Some(Err(error)) => {
                        source.lost(Some(&error));
                        break;
                    }
                    None => {
                        source.lost(None);
                        break;
                    }
                },
                Some(done) = lanes.running.join_next() => lanes.finished(done),
                _ = signs_of_life.tick() => progress(lanes.held.values()).await,
                () = source.stop.cancelled() => {
                    while let Some(Some(Ok(message))) = open.messages.next().now_or_never() {
                        source.settle(&message, last_delivery, End::Left).await;
                    }
                    break;
                }
            }
            lanes.start(|message| {
                let (source, work) = (source.clone(), handle(message.clone()));
                async move {
                    let end = work.await;
                    source.settle(&message, last_delivery, end).await;
                }
            });
        }
        if source.stop.is_cancelled() {
            break;
        }
    }
    for message in lanes.leave() {
        source.settle(&message, last_delivery, End::Left).await;
    }
    while lanes.running.join_next().await.is_some() {}
    source.gauge(0.0);
}

/// Messages held here, by key.
struct Lanes {
    /// Under way or waiting, for the signs of life.
    held: HashMap<u64, Arc<Message>>,
    /// A key is here as long as one of its messages is under way or waiting.
    waiting: HashMap<String, VecDeque<(u64, Arc<Message>)>>,
    /// Keys whose next message may start.
    ready: VecDeque<String>,
    running: JoinSet<(u64, String)>,
    next: u64,
    most: usize,
}

impl Lanes {
    fn new(most: usize) -> Lanes {
        Lanes {
            held: HashMap::new(),
            waiting: HashMap::new(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            next: 0,
            most,
        }
    }

    fn take(&mut self, key: String, message: Arc<Message>) {
        self.next += 1;
        self.held.insert(self.next, message.clone());
        let lane = self.waiting.entry(key.clone()).or_insert_with(|| {
            self.ready.push_back(key);
            VecDeque::new()
        });
        lane.push_back((self.next, message));
    }

    fn start<W>(&mut self, work: impl Fn(Arc<Message>) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        while self.running.len() < self.most {
            let Some(key) = self.ready.pop_front() else { return };
            let Some((id, message)) = self.waiting.get_mut(&key).and_then(VecDeque::pop_front) else {
                continue;
            };
            let work = work(message);
            self.running.spawn(async move {
                // whatever happens to one message, its key goes on; an unanswered message comes again
                let _panicked = AssertUnwindSafe(work).catch_unwind().await;
                (id, key)
            });
        }
    }

    fn finished(&mut self, done: Result<(u64, String), JoinError>) {
        let Ok((id, key)) = done else { return };
        self.held.remove(&id);
        match self.waiting.get(&key) {
            Some(lane) if !lane.is_empty() => self.ready.push_back(key),
            _ => {
                self.waiting.remove(&key);
            }
        }
    }

    /// What was not begun.
    fn leave(&mut self) -> Vec<Arc<Message>> {
        self.ready.clear();
        self.waiting.drain().flat_map(|(_, lane)| lane).map(|(_, message)| message).collect()
    }
}
