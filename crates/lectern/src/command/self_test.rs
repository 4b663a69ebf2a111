//! What each role asks itself before it is given work: a refused subscription is silent, a refused request is a timeout
//! (`spec/reliability.md` N4), so it is tried.

use std::time::Duration;

use chrono::TimeDelta;
use lectern_core::Clock;
use lectern_core::bus::{Bus, Outgoing};
use lectern_core::run::Process;
use lectern_subjects::{Effect, subject};

use crate::roles::Role;

/// After so many silent answers it is no slow start any more.
const PATIENCE: u32 = 10;

/// The part of a role's readiness that this test decides.
pub fn part(role: &str) -> String {
    format!("{role}/start")
}

/// Asks until there is an answer: the role's own `$SRV.PING` for a worker, the connection for the gateway.
pub async fn run(role: &'static Role, bus: Bus, process: Process) {
    let mut silent = 0;
    while !process.stop.is_cancelled() {
        if bus.is_connected() {
            if role.table.is_none() || answers(role.name, &bus, &process.instance).await {
                break;
            }
            silent += 1;
            if silent == PATIENCE {
                let reason = "does not hear its own $SRV.PING: its rights on the broker are wrong";
                tracing::error!(role = role.name, violations = bus.permission_violations(), "{reason}");
                process.health.set(&part(role.name), Some(reason.to_owned()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = process.stop.cancelled() => return,
        }
    }
    process.health.set(&part(role.name), None);
    watch_violations(role.name, &bus, &process).await;
}

async fn answers(role: &str, bus: &Bus, instance: &str) -> bool {
    let clock = Clock::default();
    let outgoing = Outgoing { deadline: clock.now() + TimeDelta::seconds(1), ..Outgoing::own(&clock) };
    let ping = subject::discovery("PING", Some(role), Some(&instance));
    bus.request(&ping, Effect::Read, &outgoing, bytes::Bytes::new()).await.is_ok()
}

/// Says once a minute that the broker refuses something, as long as it goes on.
async fn watch_violations(role: &str, bus: &Bus, process: &Process) {
    let mut known = 0;
    loop {
        let now = bus.permission_violations();
        if now > known {
            tracing::error!(
                role,
                refused = now - known,
                "the broker refused subjects: the rights do not fit the contract"
            );
            known = now;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
            () = process.stop.cancelled() => return,
        }
    }
}
