//! Keeps a role's readiness current: broker, database, revocations, slow consumption.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::Instant;

use crate::app::App;
use crate::health::Health;
use crate::revocation;
use crate::run::Process;
use crate::token::TokenCheck;

/// How often a role asks whether it is ready.
const EVERY: Duration = Duration::from_millis(250);
/// How long the database may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// A database that has been away for this long takes the role out of its queue groups (architecture §13).
const PATIENCE: Duration = Duration::from_secs(2);

/// Says of everything that is asked about that nobody has asked yet.
pub(crate) fn not_asked_yet(service: &str, health: &Health) {
    for name in ["database", "nats", "revocations"] {
        health.set(&format!("{service}/{name}"), Some("not asked yet".to_owned()));
    }
}

/// Asks until the process stops.
pub(crate) async fn run(core: App, tokens: TokenCheck, process: Process) {
    let part = |name: &str| format!("{}/{name}", core.service());
    let (database, nats, revocations) = (part("database"), part("nats"), part("revocations"));
    let mut asker = Asker { options: core.pool().connect_options(), connection: None };
    let mut last_good = None::<Instant>;
    loop {
        match asker.ask().await {
            Ok(()) => {
                last_good = Some(Instant::now());
                process.health.set(&database, None);
            }
            Err(reason) if last_good.is_none_or(|at| at.elapsed() >= PATIENCE) => {
                process.health.set(&database, Some(reason));
            }
            Err(_) => {}
        }
        process.health.set(&nats, (!core.bus().is_connected()).then(|| "not connected".to_owned()));
        tokens.revocations().record_age(core.service());
        let stale = tokens.revocations().is_stale();
        process.health.set(
            &revocations,
            stale.then(|| format!("the watcher of bucket {} is not current", revocation::BUCKET)),
        );
        let slow = core.bus().took_slow_consumer();
        process.health.set(&part("consumption"), slow.then(|| "messages were dropped".to_owned()));
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = process.stop.cancelled() => {
                process.health.set(&part("stop"), Some("draining".to_owned()));
                return;
            }
        }
    }
}

/// Asks over a connection of its own: a pool that is merely busy must not take a role out of its queue groups, or overload
/// would look like an outage and become one.
struct Asker {
    options: Arc<PgConnectOptions>,
    connection: Option<PgConnection>,
}

impl Asker {
    async fn ask(&mut self) -> Result<(), String> {
        let asked = tokio::time::timeout(ANSWER, async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            sqlx::query("SELECT 1").execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        });
        match asked.await {
            Ok(Ok(connection)) => {
                self.connection = Some(connection);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer within a second".to_owned()),
        }
    }
}
