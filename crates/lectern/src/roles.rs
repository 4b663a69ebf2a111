//! The table of roles: what each needs of the broker and the database, what it reads from the configuration, and how it
//! runs. Everything else in this crate is derived from it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use lectern_core::bus::Bus;
use lectern_core::config::{self, Env, Setting};
use lectern_core::run::Process;
use lectern_core::service::Table;
use lectern_core::token::TokenCheck;
use lectern_core::{App, Clock, Service, admin, telemetry};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

/// One role.
pub struct Role {
    /// Its name: in `--roles`, of its NATS user, of its schema, and in its PostgreSQL role `lectern_<name>`.
    pub name: &'static str,
    /// What it reads from the configuration besides what every process reads.
    pub settings: &'static [Setting],
    /// The migrations of its schema; none for a role without a database.
    pub migrations: Option<&'static Migrator>,
    /// What it does on the bus; none for the gateway, which asks for everything and answers nothing.
    pub table: Option<fn() -> Table>,
    /// Runs it until the process stops.
    pub(crate) run: fn(Parts) -> BoxFuture<'static, anyhow::Result<()>>,
}

/// What the process makes for each role: everything under the role's own user.
pub(crate) struct Parts {
    pub name: &'static str,
    pub env: Env,
    pub clock: Clock,
    pub bus: Bus,
    pub tokens: TokenCheck,
    pub pool: Option<PgPool>,
    pub process: Process,
}

/// All roles, in the order in which they are started.
pub static ROLES: &[Role] = &[
    Role {
        name: "identity",
        settings: lectern_identity::SETTINGS,
        migrations: Some(&lectern_identity::MIGRATIONS),
        table: Some(|| lectern_identity::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_identity::app(parts.core()?, &parts.env).await?;
                work(lectern_identity::service(), app, parts).await
            })
        },
    },
    Role {
        name: "courses",
        settings: lectern_courses::SETTINGS,
        migrations: Some(&lectern_courses::MIGRATIONS),
        table: Some(|| lectern_courses::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_courses::app(parts.core()?, &parts.env).await?;
                work(lectern_courses::service(), app, parts).await
            })
        },
    },
    Role {
        name: "content",
        settings: lectern_content::SETTINGS,
        migrations: Some(&lectern_content::MIGRATIONS),
        table: Some(|| lectern_content::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_content::app(parts.core()?, &parts.env).await?;
                work(lectern_content::service(), app, parts).await
            })
        },
    },
    Role {
        name: "playback",
        settings: lectern_playback::SETTINGS,
        migrations: Some(&lectern_playback::MIGRATIONS),
        table: Some(|| lectern_playback::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_playback::app(parts.core()?, &parts.env).await?;
                work(lectern_playback::service(), app, parts).await
            })
        },
    },
    Role {
        name: "enrollment",
        settings: lectern_enrollment::SETTINGS,
        migrations: Some(&lectern_enrollment::MIGRATIONS),
        table: Some(|| lectern_enrollment::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_enrollment::app(parts.core()?, &parts.env).await?;
                work(lectern_enrollment::service(), app, parts).await
            })
        },
    },
    Role {
        name: "notifications",
        settings: lectern_notifications::SETTINGS,
        migrations: Some(&lectern_notifications::MIGRATIONS),
        table: Some(|| lectern_notifications::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_notifications::app(parts.core()?, &parts.env).await?;
                work(lectern_notifications::service(), app, parts).await
            })
        },
    },
    Role {
        name: "audit",
        settings: lectern_audit::SETTINGS,
        migrations: Some(&lectern_audit::MIGRATIONS),
        table: Some(|| lectern_audit::service().table()),
        run: |parts| {
            Box::pin(async move {
                let app = lectern_audit::app(parts.core()?, &parts.env).await?;
                work(lectern_audit::service(), app, parts).await
            })
        },
    },
    Role {
        name: "gateway",
        settings: lectern_gateway::config::SETTINGS,
        migrations: None,
        table: None,
        run: |parts| {
            Box::pin(async move {
                let health = parts.process.health.clone();
                let gateway =
                    lectern_gateway::Gateway::new(parts.bus, parts.tokens, parts.clock, &parts.env, health)?;
                lectern_gateway::run(gateway, parts.process).await
            })
        },
    },
];

/// Tables to which a role may add rows and do nothing else: (schema, table).
pub(crate) const APPEND_ONLY: &[(&str, &str)] = &[("audit", "entries")];

/// Runs a worker by its table.
async fn work<A>(service: Service<A>, app: A, parts: Parts) -> anyhow::Result<()>
where
    A: Clone + Send + Sync + AsRef<App> + 'static,
{
    Ok(lectern_core::run::run(service, app, parts.tokens, parts.process).await?)
}

impl Parts {
    fn core(&self) -> anyhow::Result<App> {
        let pool = self.pool.clone().ok_or_else(|| anyhow::anyhow!("{} has no database", self.name))?;
        Ok(App::new(self.name, pool, self.bus.clone(), self.clock.clone()))
    }
}

/// The tables of all workers.
pub fn tables() -> Vec<Table> {
    ROLES.iter().filter_map(|role| role.table).map(|table| table()).collect()
}

/// The roles that `--roles` names: `all`, or names separated by commas.
///
/// # Errors
/// Names what is no role.
pub fn named(list: &str) -> anyhow::Result<Vec<&'static Role>> {
    if list == "all" {
        return Ok(ROLES.iter().collect());
    }
    let mut found: Vec<&'static Role> = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let role = ROLES.iter().find(|role| role.name == name).ok_or_else(|| {
            let names: Vec<&str> = ROLES.iter().map(|role| role.name).collect();
            anyhow::anyhow!("there is no role {name:?}; there are all, {}", names.join(", "))
        })?;
        if found.iter().all(|other| other.name != role.name) {
            found.push(role);
        }
    }
    anyhow::ensure!(!found.is_empty(), "--roles names no role");
    Ok(found)
}

/// Every setting by the part that it belongs to; one that several parts read stands with the first.
pub fn settings_by_part() -> Vec<(&'static str, Vec<Setting>)> {
    let own = [
        ("every process", config::SETTINGS),
        ("logs and traces", telemetry::SETTINGS),
        ("admin port", admin::SETTINGS),
        ("this command", SETTINGS),
    ];
    let mut seen: Vec<&str> = Vec::new();
    let mut parts = Vec::new();
    for (part, settings) in own.into_iter().chain(ROLES.iter().map(|role| (role.name, role.settings))) {
        let new: Vec<Setting> = settings.iter().copied().filter(|s| !seen.contains(&s.name)).collect();
        seen.extend(new.iter().map(|setting| setting.name));
        parts.push((part, new));
    }
    parts
}

/// Every setting once.
pub fn settings() -> Vec<Setting> {
    settings_by_part().into_iter().flat_map(|(_, settings)| settings).collect()
}

/// How many servers keep a copy of each stream.
pub const NATS_REPLICAS: Setting = Setting {
    name: "NATS_REPLICAS",
    default: Some("1"),
    secret: false,
    help: "copies of each stream, 1 on one machine, 3 in a cluster",
};
/// The password of all accounts of the sample academy.
pub const SAMPLE_PASSWORD: Setting = Setting {
    name: "LECTERN_SAMPLE_PASSWORD",
    default: None,
    secret: true,
    help: "password of the sample academy's accounts; absent: one is generated for each",
};
/// How many connections PostgreSQL grants one role.
pub const DATABASE_ROLE_CONNECTIONS: Setting = Setting {
    name: "DATABASE_ROLE_CONNECTIONS",
    default: Some("100"),
    secret: false,
    help: "connections that PostgreSQL grants one role over all its processes; `lectern migrate` sets it",
};
/// The settings of this command.
pub const SETTINGS: &[Setting] = &[NATS_REPLICAS, SAMPLE_PASSWORD, DATABASE_ROLE_CONNECTIONS];

/// How long a stop may take before what is left is given up.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(32);
