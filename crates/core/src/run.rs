//! Runs one role: everything its table says, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::discovery::{self, Stats};
use crate::error::Error;
use crate::health::Health;
use crate::host::Host;
use crate::service::Service;
use crate::token::TokenCheck;
use crate::{drain, follow, probe, relay, timers};

/// How long a stop waits for what is running.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// A sweep that failed runs again after about this long, then after twice as long and so on, up to its own pace.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);
/// How long a stop waits for the relay's last round; what is left is published by the next process.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

/// What the process gives every role that it runs.
#[derive(Clone)]
pub struct Process {
    /// This process's id, for `$SRV` and the logs.
    pub instance: String,
    /// Where readiness is kept.
    pub health: Health,
    /// Cancelled on SIGTERM.
    pub stop: CancellationToken,
}

/// Runs a worker: answers, follows, rings, drains, relays. Leaves its queue groups while it is not ready and rejoins by
/// itself; after the stop it finishes what was delivered, then returns.
///
/// # Errors
/// When a part can't start at all.
pub async fn run<A>(
    mut service: Service<A>,
    app: A,
    tokens: TokenCheck,
    process: Process,
) -> Result<(), Error>
where
    A: Clone + Send + Sync + AsRef<App> + 'static,
{
    let core = app.as_ref().clone();
    let sweeps = service.take_sweeps();
    let stats = Arc::new(Stats::new(&service, &process.instance, core.now()));
    let service = Arc::new(service);
    let host = Arc::new(Host {
        app: app.clone(),
        core: core.clone(),
        service: service.clone(),
        tokens: tokens.clone(),
        stats: stats.clone(),
    });

    let mut tasks = JoinSet::new();
    // the relay goes last: what is committed while the others finish is published, too
    let (mut relaying, relay_stop) = (JoinSet::new(), CancellationToken::new());
    relaying.spawn(relay::run(core.clone(), relay_stop.clone()));
    let stop = process.stop.clone();
    tasks.spawn(tokens.revocations().clone().watch(core.bus().clone(), stop.clone()));
    for what in [follow::What::Facts, follow::What::Commands] {
        tasks.spawn(follow::run(app.clone(), core.clone(), service.clone(), what, stop.clone()));
    }
    tasks.spawn(timers::run(app.clone(), core.clone(), service.clone(), stop.clone()));
    tasks.spawn(timers::repair(app.clone(), core.clone(), service.clone(), stop.clone()));
    for index in 0..service.drains.len() {
        tasks.spawn(drain::run(app.clone(), core.clone(), service.clone(), index, stop.clone()));
    }
    for sweep in sweeps {
        let (app, stop) = (app.clone(), stop.clone());
        tasks.spawn(async move {
            let mut failures = 0;
            loop {
                let mut pause = sweep.every;
                if let Err(error) = (sweep.handler)(app.clone()).await {
                    failures += 1;
                    pause = again_after(failures, sweep.every, rand::random_range(0.5..=1.0));
                    tracing::warn!(
                        sweep = sweep.name,
                        error = format!("{error:#}"),
                        "a sweep failed; it runs again"
                    );
                } else {
                    failures = 0;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }
    let discovery_stop = CancellationToken::new();
    let discovery = {
        let (core, health, stop) = (core.clone(), process.health.clone(), discovery_stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                if let Err(error) =
                    discovery::answer(core.clone(), stats.clone(), health.clone(), stop.clone()).await
                {
                    tracing::warn!(%error, "discovery; trying again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        })
    };
    // not ready before anybody has asked: a role that joins its queue groups first would leave them at once
    probe::not_asked_yet(core.service(), &process.health);
    let probe = tokio::spawn(probe::run(core.clone(), tokens, process.clone()));

    serve_while_ready(&host, &process).await;

    let stopped =
        tokio::time::timeout(STOP_PATIENCE, async { while tasks.join_next().await.is_some() {} }).await;
    if stopped.is_err() {
        tracing::warn!(
            service = service.name(),
            "some work did not end in time; it will be done again elsewhere"
        );
    }
    relay_stop.cancel();
    let _relayed = tokio::time::timeout(RELAY_PATIENCE, relaying.join_next()).await;
    discovery_stop.cancel();
    let _ended = tokio::join!(discovery, probe);
    let _flushed = core.bus().client().flush().await;
    let _drained = core.bus().client().drain().await;
    core.pool().close().await;
    Ok(())
}

/// The pause after so many failures in a row of a sweep that runs this often. `share` of it, 0.5 to 1, is drawn: processes
/// that failed together don't come back together.
fn again_after(failures: u32, every: Duration, share: f64) -> Duration {
    let doubled = SWEEP_AGAIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(every).mul_f64(share)
}

/// The part that tells whether requests reach a role. Not one of the role's own, which decide whether it joins at all.
fn serving(role: &str) -> String {
    format!("requests to {role}/serving")
}

/// In the queue groups while ready, out of them while not; ends when the process stops.
async fn serve_while_ready<A>(host: &Arc<Host<A>>, process: &Process)
where
    A: Clone + Send + Sync + 'static,
{
    let name = host.service.name();
    while !process.stop.is_cancelled() {
        process.health.set(&serving(name), Some("not in the queue groups".to_owned()));
        if process.health.of(name).is_some() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(50)) => continue,
                () = process.stop.cancelled() => return,
            }
        }
        let leave = process.stop.child_token();
        let watch = async {
            while process.health.of(name).is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            leave.cancel();
        };
        tokio::pin!(watch);
        let serve = host.serve(leave.clone(), || process.health.set(&serving(name), None));
        tokio::pin!(serve);
        let mut watching = true;
        let served = loop {
            tokio::select! {
                served = &mut serve => break served,
                () = &mut watch, if watching => watching = false,
            }
        };
        if let Err(error) = served {
            tracing::warn!(service = name, %error, "could not join the queue groups; trying again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_goes_on_failing_comes_less_and_less_often_and_never_less_than_its_pace() {
        let hour = Duration::from_secs(3600);
        let pauses: Vec<u64> = (1..=12).map(|failures| again_after(failures, hour, 1.0).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(again_after(1, hour, 0.5), Duration::from_millis(2500));
        assert_eq!(again_after(u32::MAX, hour, 1.0), hour);
        assert_eq!(again_after(3, Duration::from_secs(2), 1.0), Duration::from_secs(2));
    }
}
