//! `lectern run`: roles in one process, until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lectern_core::bus::{Bus, BusConfig};
use lectern_core::config::{self, ConfigError, Env};
use lectern_core::health::Health;
use lectern_core::pg::Database;
use lectern_core::revocation::Revocations;
use lectern_core::run::Process;
use lectern_core::token::TokenCheck;
use lectern_core::{Clock, admin, jwt, metrics};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::monitor;
use crate::command::self_test;
use crate::roles::{self, Parts, Role};
use crate::secrets::Secrets;

/// Run roles in this process until SIGTERM: then finish what was begun (at most 30 s) and go. A second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lectern run --roles all\n  lectern run --roles courses,content\n  lectern --config /etc/lectern/env run --roles gateway"
)]
pub struct Args {
    /// `all`, or names separated by commas: identity, courses, content, playback, enrollment, notifications, audit, gateway.
    #[arg(long, value_name = "ROLES")]
    roles: String,
}

pub async fn run(mut env: Env, args: Args) -> anyhow::Result<()> {
    let roles = roles::named(&args.roles)?;
    let secrets = Secrets::load(&env)?;
    ensure!(
        secrets.is_some() || !env.environment()?.is_strict(),
        "{} is required in staging and production",
        config::SECRETS_FILE.name
    );
    if let Some(secrets) = &secrets {
        secrets.fill(&mut env);
    }
    monitor::check_durability(&env).await?;

    let clock = Clock::default();
    metrics::init(env.require(&config::ENVIRONMENT)?, clock.now().timestamp());
    let process = Process {
        instance: clock.new_id().to_string(),
        health: Health::default(),
        stop: CancellationToken::new(),
    };
    let mut parts = Vec::with_capacity(roles.len());
    for role in roles {
        process.health.set(&self_test::part(role.name), Some("starting".to_owned()));
        parts
            .push((role, assemble(role, &env, secrets.as_ref(), &clock, &process).await.context(role.name)?));
    }
    let address: SocketAddr = env.parse(&admin::ADMIN_ADDR)?;
    let listener = admin::bind(address).await?;
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(listener, process.health.clone(), admin_stop.clone()));
    tokio::spawn(stop_on_signal(process.stop.clone()));

    let mut running = JoinSet::new();
    for (role, parts) in parts {
        tokio::spawn(self_test::run(role, parts.bus.clone(), process.clone()));
        let run = (role.run)(parts);
        running.spawn(async move { (role.name, run.await) });
    }
    tracing::info!(roles = args.roles, instance = process.instance, admin = %address, "started");
    let outcome = supervise(running, &process).await;
    admin_stop.cancel();
    let _answered = tokio::time::timeout(Duration::from_secs(1), admin).await;
    tracing::info!("stopped");
    outcome
}

/// Everything under the role's own users.
async fn assemble(
    role: &Role,
    env: &Env,
    secrets: Option<&Secrets>,
    clock: &Clock,
    process: &Process,
) -> anyhow::Result<Parts> {
    let missing = |what: &str| {
        format!("the secrets file has no {what} of {}; `lectern secrets init` adds it", role.name)
    };
    let nkey = match secrets {
        Some(secrets) => Some(secrets.nats.get(role.name).cloned().with_context(|| missing("broker key"))?),
        None => None,
    };
    let pool = match role.migrations {
        Some(_) => {
            let password = match secrets {
                Some(s) => {
                    Some(s.database.get(role.name).cloned().with_context(|| missing("database password"))?)
                }
                None => None,
            };
            let connections: u32 = env.parse(&config::DATABASE_POOL_SIZE)?;
            if !(1..=200).contains(&connections) {
                return Err(ConfigError::new(config::DATABASE_POOL_SIZE.name, "expected 1 to 200").into());
            }
            let url = env.require(&config::DATABASE_URL)?.to_owned();
            Some(Database { url, schema: role.name, password, connections }.pool()?)
        }
        None => None,
    };
    let minutes: u64 = env.parse(&config::ACCESS_TOKEN_MINUTES)?;
    let bus_config = BusConfig {
        url: env.require(&config::NATS_URL)?.to_owned(),
        role: role.name.to_owned(),
        instance: process.instance.clone(),
        nkey,
    };
    let bus = Bus::connect(&bus_config, clock.clone()).await?;
    let revocations = Revocations::new(Duration::from_secs(minutes * 60));
    let issuer = jwt::issuer(env)?;
    let tokens = TokenCheck::new(bus.clone(), clock.clone(), revocations).issued_by(&issuer);
    let (env, clock, process) = (env.clone(), clock.clone(), process.clone());
    Ok(Parts { name: role.name, env, clock, bus, tokens, pool, process })
}

/// Waits until every role has ended. One that ends by itself takes the process with it: somebody restarts it as a whole.
async fn supervise(
    mut running: JoinSet<(&'static str, anyhow::Result<()>)>,
    process: &Process,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let too_late = async {
        process.stop.cancelled().await;
        tokio::time::sleep(roles::STOP_PATIENCE).await;
    };
    tokio::pin!(too_late);
    loop {
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = &mut too_late => bail!("not everything ended within {} s", roles::STOP_PATIENCE.as_secs()),
        };
        let failure = match ended {
            None => return outcome,
            Some(Ok((name, Ok(())))) if process.stop.is_cancelled() => {
                tracing::info!(role = name, "ended");
                continue;
            }
            Some(Ok((name, Ok(())))) => anyhow::anyhow!("{name} ended by itself"),
            Some(Ok((name, Err(error)))) => error.context(name),
            Some(Err(panic)) => anyhow::anyhow!("a role panicked: {panic}"),
        };
        tracing::error!(error = format!("{failure:#}"), "a role failed");
        process.stop.cancel();
        if outcome.is_ok() {
            outcome = Err(failure);
        }
    }
}

/// SIGTERM or SIGINT stops in order; the second one at once.
async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can't be received: this process can only be killed");
        return;
    };
    for again in [false, true] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if again {
            tracing::warn!("told to stop a second time: ending at once");
            std::process::exit(130);
        }
        tracing::info!("told to stop");
        stop.cancel();
    }
}
