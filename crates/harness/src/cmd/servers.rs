//! The database and the bus of the development stack.

use std::path::Path;

use lectern_harness::checkout::{DevState, write_private};
use lectern_harness::environment;
use lectern_harness::servers::{
    Cluster, ClusterOptions, Durability, NatsBinary, NatsOptions, NatsServer, PostgresBinary,
};
use rand::distr::{Alphanumeric, SampleString};
use sqlx::{Connection, PgConnection};

use super::progress::Progress;

/// The name of the development database.
const DATABASE: &str = "lectern";

/// The programs that will be needed: found or fetched before anything is started.
pub struct Found {
    postgres: Option<PostgresBinary>,
    nats: Option<NatsBinary>,
}

/// Finds or fetches what the environment doesn't already provide.
pub fn find(progress: &Progress) -> anyhow::Result<Found> {
    let nats = match environment::var("NATS_URL") {
        Some(url) => {
            progress.say(format!("nats-server: NATS_URL is set, so {url} is used"));
            None
        }
        None => {
            let binary = NatsBinary::find_or_fetch()?;
            progress.say(format!("nats-server {}: {}", binary.version, binary.why));
            Some(binary)
        }
    };
    let postgres = match environment::var("DATABASE_URL") {
        Some(url) => {
            progress.say(format!("PostgreSQL: DATABASE_URL is set, so {} is used", without_password(&url)));
            None
        }
        None => {
            let binary = PostgresBinary::find_or_fetch()?;
            progress.say(format!("PostgreSQL {}: {}", binary.version, binary.why));
            Some(binary)
        }
    };
    Ok(Found { postgres, nats })
}

/// Starts the private cluster, unless the caller has a database, and answers the owner's URL.
pub async fn start_postgres(
    found: &Found,
    dir: &Path,
    state: &mut DevState,
    progress: &Progress,
) -> anyhow::Result<String> {
    let Some(binary) = &found.postgres else {
        return Ok(environment::var("DATABASE_URL").unwrap_or_default());
    };
    let secret = dir.join("postgres.password");
    if !secret.exists() {
        write_private(&secret, Alphanumeric.sample_string(&mut rand::rng(), 32).as_bytes())?;
    }
    let options = ClusterOptions {
        dir: dir.join("postgres"),
        port: state.ports["postgres"],
        durability: Durability::Kept { password: std::fs::read_to_string(secret)? },
        detached: true,
        watchdog: None,
    };
    let mut cluster = Cluster::spawn(binary, options)?;
    state.started(cluster.process.record())?;
    cluster.wait_ready().await?;
    create_database(&cluster.url("postgres")).await?;
    progress.say(format!("PostgreSQL runs on port {}", state.ports["postgres"]));
    Ok(cluster.url(DATABASE))
}

async fn create_database(admin_url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(admin_url).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sqlx::raw_sql("CREATE DATABASE lectern").execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}

/// Starts the private nats-server with the users in `dir/nats-config`, unless the caller has a bus. Answers the client
/// and the monitoring URL.
pub async fn start_nats(
    found: &Found,
    dir: &Path,
    state: &mut DevState,
    progress: &Progress,
) -> anyhow::Result<(String, String)> {
    let config = dir.join("nats-config").join("server.conf");
    let Some(binary) = &found.nats else {
        progress.say(format!("your nats-server must know the users in {}", config.display()));
        let var = |name| environment::var(name).unwrap_or_default();
        return Ok((var("NATS_URL"), var("NATS_MONITOR_URL")));
    };
    let options = NatsOptions {
        dir: dir.join("nats"),
        ports: Some((state.ports["nats"], state.ports["nats_monitor"])),
        config: Some(config),
        detached: true,
        watchdog: None,
    };
    let mut server = NatsServer::spawn(binary, options)?;
    state.started(server.process.record())?;
    server.wait_ready().await?;
    progress.say(format!("nats-server runs on port {}", state.ports["nats"]));
    Ok((server.url(), server.monitor_url()))
}

/// A URL that may be shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, place)) => format!("{scheme}://{}@{place}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_shown_url_has_no_password() {
        assert_eq!(without_password("postgres://a:b@c@h:5/d"), "postgres://a@h:5/d");
        assert_eq!(without_password("nats://h:4222"), "nats://h:4222");
    }
}
