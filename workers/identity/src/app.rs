//! What identity has besides core's pool, bus and clock.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use lectern_core::{Call, Env, Error, Tx};
use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{CommonRefusal, Refusal};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use crate::federation::Federation;
use crate::gauges;
use crate::mail::Post;
use crate::password::{Hashing, NotHashed};
use crate::settings::Settings;
use crate::sign_in::attempts::Places;
use crate::token::signing_keys::SigningKeys;
use crate::vault::Vault;

/// Identity's handle to the world; cheap to clone.
#[derive(Clone)]
pub struct App {
    core: lectern_core::App,
    own: Arc<Own>,
}

/// Identity's own parts.
pub(crate) struct Own {
    pub settings: Settings,
    pub vault: Vault,
    pub hashing: Hashing,
    pub places: Places,
    pub post: Option<Post>,
    pub keys: SigningKeys,
    pub federation: Option<Federation>,
}

impl Own {
    fn new(env: &Env) -> anyhow::Result<Own> {
        let settings = Settings::read(env)?;
        let vault = Vault::open_with(env)?;
        let hashing = Hashing::new(settings.hash_pool, settings.argon2.clone(), &vault)?;
        let (places, keys, post) = (Places::default(), SigningKeys::default(), Post::of(&settings));
        let federation = settings.providers.as_ref().map(Federation::new).transpose()?;
        Ok(Own { settings, vault, hashing, places, post, keys, federation })
    }
}

/// Puts identity's parts together.
///
/// # Errors
/// When a setting is missing or impossible; the error names it.
pub async fn app(core: lectern_core::App, env: &Env) -> anyhow::Result<App> {
    // the dummy hash is computed here, with the live parameters
    let env = env.clone();
    let own = tokio::task::spawn_blocking(move || Own::new(&env)).await??;
    gauges::start_at_zero();
    match (&own.post, &own.settings.mailbox) {
        (None, _) => tracing::warn!("neither SMTP_HOST nor MAILBOX_FILE is set: letters stay in the queue"),
        (Some(Post::Server(_)), Some(_)) => {
            tracing::warn!("SMTP_HOST is set: letters go there, and none to MAILBOX_FILE");
        }
        _ => {}
    }
    Ok(App { core, own: Arc::new(own) })
}

impl AsRef<lectern_core::App> for App {
    fn as_ref(&self) -> &lectern_core::App {
        &self.core
    }
}

impl Deref for App {
    type Target = lectern_core::App;

    fn deref(&self) -> &lectern_core::App {
        &self.core
    }
}

impl App {
    pub(crate) fn settings(&self) -> &Settings {
        &self.own.settings
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.own.vault
    }

    pub(crate) fn hashing(&self) -> &Hashing {
        &self.own.hashing
    }

    pub(crate) fn places(&self) -> &Places {
        &self.own.places
    }

    pub(crate) fn post(&self) -> Option<&Post> {
        self.own.post.as_ref()
    }

    /// None where nobody signs in at providers.
    pub(crate) fn federation(&self) -> Option<&Federation> {
        self.own.federation.as_ref()
    }

    pub(crate) fn keys(&self) -> &SigningKeys {
        &self.own.keys
    }

    /// Time left for a request.
    pub(crate) fn time_left(&self, call: &Call) -> Duration {
        call.time_left(self.now())
    }

    /// Begins a request's transaction; a database that is merely busy is asked again within the deadline, at most three
    /// times (architecture §13, Retries). Nothing has been done yet, so asking again is safe.
    pub(crate) async fn begin_patiently(&self, call: &Call) -> Result<Tx, Error> {
        for attempt in 1.. {
            match self.begin(call).await {
                Err(error) if self.may_ask_again(call, attempt, &error) => pause().await,
                begun => return begun,
            }
        }
        unreachable!("the loop ends at the third attempt")
    }

    /// A connection for single statements, with the same patience.
    pub(crate) async fn connect_patiently(&self, call: &Call) -> Result<PoolConnection<Postgres>, Error> {
        for attempt in 1.. {
            match self.pool().acquire().await.map_err(Error::from) {
                Err(error) if self.may_ask_again(call, attempt, &error) => pause().await,
                connected => return connected,
            }
        }
        unreachable!("the loop ends at the third attempt")
    }

    fn may_ask_again(&self, call: &Call, attempt: u32, error: &Error) -> bool {
        attempt < 3 && error.is_transient() && !self.time_left(call).is_zero()
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(20..=200))).await;
}

/// Why identity did not answer.
pub(crate) type Fault = lectern_core::Fault<IdentityRefusal>;

/// A fault where nobody waits for an answer: in a sweep.
pub(crate) fn into_error(fault: Fault) -> anyhow::Error {
    match fault {
        Fault::Refused(refused) => refused.into(),
        Fault::Common(refused) => refused.into(),
        Fault::Broken(error) => error,
    }
}

impl From<NotHashed> for Fault {
    fn from(not: NotHashed) -> Fault {
        match not {
            NotHashed::Busy => CommonRefusal::Unavailable.retry_after(1).into(),
            NotHashed::Broken(error) => Fault::Broken(error),
        }
    }
}
