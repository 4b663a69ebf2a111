//! Connections to PostgreSQL: as the role of one schema, with timeouts on the server's side too.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};

use crate::config::ConfigError;

/// How long a request waits for a connection: first come, first served. Shorter patience with retries would lose its place.
const ACQUIRE: Duration = Duration::from_millis(1500);

/// A connection that was used so recently is handed out without asking whether it still lives.
const BELIEVED: Duration = Duration::from_secs(1);

/// How a role reaches its schema.
#[derive(Clone)]
pub struct Database {
    /// The owner's URL; user and password are replaced by the role's own.
    pub url: String,
    /// The schema's name, also the service's.
    pub schema: &'static str,
    /// The role's password; none connects as the URL says (migrations and tests).
    pub password: Option<String>,
    /// Connections of the pool.
    pub connections: u32,
}

impl Database {
    /// Options of one connection: own role, own schema, `spec/reliability.md` E4 timeouts.
    ///
    /// # Errors
    /// When the URL is no PostgreSQL URL.
    pub fn options(&self) -> Result<PgConnectOptions, ConfigError> {
        let mut options: PgConnectOptions = self
            .url
            .parse()
            .map_err(|e| ConfigError::new("DATABASE_URL", format!("no PostgreSQL URL: {e}")))?;
        if let Some(password) = &self.password {
            options = options.username(&format!("lectern_{}", self.schema)).password(password);
        }
        Ok(options
            .application_name(&format!("lectern/{}", self.schema))
            .options([
                ("search_path", self.schema),
                ("statement_timeout", "2000"),
                ("lock_timeout", "500"),
                ("idle_in_transaction_session_timeout", "5000"),
                ("timezone", "UTC"),
                // what a connection that is half dead holds, a lock too, is free after about eleven seconds
                ("tcp_keepalives_idle", "5"),
                ("tcp_keepalives_interval", "2"),
                ("tcp_keepalives_count", "3"),
            ])
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_millis(500))
            .log_statements(tracing::log::LevelFilter::Trace))
    }

    /// A pool that connects when it is first used, so that a role starts while its database is away and becomes ready later.
    ///
    /// # Errors
    /// When the URL is no PostgreSQL URL.
    pub fn pool(&self) -> Result<PgPool, ConfigError> {
        Ok(PgPoolOptions::new()
            .max_connections(self.connections)
            .acquire_timeout(ACQUIRE)
            .max_lifetime(Duration::from_secs(600))
            .idle_timeout(Duration::from_secs(300))
            // a round trip for each query would be the price of asking always; one that answered a moment ago is alive
            .test_before_acquire(false)
            .before_acquire(|connection, seen| {
                Box::pin(async move {
                    if seen.idle_for > BELIEVED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(self.options()?))
    }
}
