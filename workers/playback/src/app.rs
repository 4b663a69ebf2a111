//! What playback has besides its pool and its bus: the rules in force.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::Env;
use lectern_core::config::{ConfigError, Setting};
use lectern_core::signed_url::SigningKeys;

const CAP: Setting = Setting {
    name: "MAX_CONCURRENT_STREAMS",
    default: Some("2"),
    secret: false,
    help: "live playback sessions per user, 0 to 100; 0 is no cap",
};
const PATIENCE: Setting = Setting {
    name: "PLAYBACK_TTL_SECONDS",
    default: Some("30"),
    secret: false,
    help: "seconds without events after which a playback session is abandoned, 1 to 3600",
};
const URL_TTL: Setting = Setting {
    name: "MEDIA_URL_TTL_SECONDS",
    default: Some("900"),
    secret: false,
    help: "life of a signed media URL in seconds, 2 to 900",
};
const KEYS: Setting = Setting {
    name: "MEDIA_SIGNING_KEYS",
    default: None,
    secret: true,
    help: "kid:base64,kid:base64, 32 bytes each; the first signs media URLs, all verify",
};

/// The configuration of this worker.
pub const SETTINGS: &[Setting] = &[CAP, PATIENCE, URL_TTL, KEYS];

/// The worker's handle to the world.
#[derive(Clone)]
pub struct App {
    core: lectern_core::App,
    rules: Arc<Rules>,
}

struct Rules {
    stream_cap: i64,
    patience: TimeDelta,
    url_ttl: TimeDelta,
    keys: SigningKeys,
    sweeps: Mutex<Attention>,
}

/// Since when, without a break, this process has been able to notice that somebody is silent.
struct Attention {
    since: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// Sweeps run every 5 s; a longer pause means that we were away, not the viewers.
const INATTENTION: TimeDelta = TimeDelta::seconds(15);

/// The worker's app, with the settings of `env`.
///
/// # Errors
/// When a setting is missing or impossible.
pub async fn app(core: lectern_core::App, env: &Env) -> anyhow::Result<App> {
    let now = core.now();
    let rules = Rules {
        stream_cap: within(env, &CAP, 0, 100)?,
        patience: TimeDelta::seconds(within(env, &PATIENCE, 1, 3600)?),
        url_ttl: TimeDelta::seconds(within(env, &URL_TTL, 2, 900)?),
        keys: env.parse(&KEYS)?,
        sweeps: Mutex::new(Attention { since: now, last: now }),
    };
    Ok(App { core, rules: Arc::new(rules) })
}

fn within(env: &Env, setting: &Setting, least: i64, most: i64) -> Result<i64, ConfigError> {
    let value = env.parse(setting)?;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::new(setting.name, format!("{value} is out of range: {}", setting.help)))
    }
}

impl App {
    /// Live playback sessions that a user may have; 0 is no cap.
    pub(crate) fn stream_cap(&self) -> i64 {
        self.rules.stream_cap
    }

    /// A playback session with its last events before this moment is abandoned.
    pub(crate) fn silent_before(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - self.rules.patience
    }

    /// Life of a media URL.
    pub(crate) fn url_ttl(&self) -> TimeDelta {
        self.rules.url_ttl
    }

    /// The keys of media URLs.
    pub(crate) fn signing_keys(&self) -> &SigningKeys {
        &self.rules.keys
    }

    /// Notes that a sweep runs, and says whether we have been there long enough to call anyone silent: after an outage
    /// of our own, nobody's events could reach us.
    pub(crate) fn may_judge_silence(&self, now: DateTime<Utc>) -> bool {
        let mut sweeps = self.rules.sweeps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now - sweeps.last > INATTENTION {
            sweeps.since = now;
        }
        sweeps.last = now;
        now - sweeps.since >= self.rules.patience
    }
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
