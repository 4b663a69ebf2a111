//! What the gateway is told from outside.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use lectern_core::Env;
use lectern_core::config::{ConfigError, Setting};

/// Address of the public listener.
pub const HTTP_ADDR: Setting = Setting {
    name: "HTTP_ADDR",
    default: Some("127.0.0.1:3000"),
    secret: false,
    help: "address and port of the public HTTP listener",
};
/// Rate limits.
pub const LIMITS: Setting = Setting {
    name: "GATEWAY_LIMITS",
    default: Some("seed"),
    secret: false,
    help: "rate limits: seed (RATE_LIMIT_PER_MINUTE per anonymous address, 600/min per token), relaxed or load (none)",
};
/// Seed 001's name for the first of them.
pub const RATE_LIMIT: Setting = Setting {
    name: "RATE_LIMIT_PER_MINUTE",
    default: Some("60"),
    secret: false,
    help: "requests a minute of an anonymous address where GATEWAY_LIMITS=seed, 1 to 100000",
};
/// Where files are kept.
pub const MEDIA_ROOT: Setting = Setting {
    name: "MEDIA_ROOT",
    default: Some("./media"),
    secret: false,
    help: "directory of the object store; several gateway hosts need a shared volume",
};
/// Keys of media URLs.
pub const MEDIA_SIGNING_KEYS: Setting = Setting {
    name: "MEDIA_SIGNING_KEYS",
    default: None,
    secret: true,
    help: "kid:base64 pairs, comma-separated; all verify media URLs, the first signs",
};
/// Proxies in front.
pub const TRUSTED_PROXIES: Setting = Setting {
    name: "TRUSTED_PROXIES",
    default: None,
    secret: false,
    help: "addresses, comma-separated, whose X-Forwarded-For is believed; none by default",
};

/// All settings of the gateway.
pub const SETTINGS: &[Setting] =
    &[HTTP_ADDR, LIMITS, RATE_LIMIT, MEDIA_ROOT, MEDIA_SIGNING_KEYS, TRUSTED_PROXIES];

/// How many requests a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitProfile {
    /// No limits per address or token: a demo runs from one address.
    Relaxed,
    /// Seed 001's: 60/min per anonymous address unless told otherwise, 600/min per token.
    Seed,
    /// As relaxed; for benchmarks.
    Load,
}

impl std::str::FromStr for LimitProfile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "relaxed" => Ok(LimitProfile::Relaxed),
            "seed" => Ok(LimitProfile::Seed),
            "load" => Ok(LimitProfile::Load),
            _ => Err("expected seed, relaxed or load".to_owned()),
        }
    }
}

/// The gateway's configuration.
pub(crate) struct Config {
    pub http_addr: String,
    pub issuer: String,
    pub limits: LimitProfile,
    /// Requests a minute of an anonymous address.
    pub per_address: NonZeroU32,
    pub media_root: PathBuf,
    pub media_keys: Option<String>,
    pub trusted_proxies: Vec<IpAddr>,
}

impl Config {
    pub fn from(env: &Env) -> Result<Config, ConfigError> {
        let trusted_proxies = env
            .get(&TRUSTED_PROXIES)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.parse().map_err(|e| ConfigError::new(TRUSTED_PROXIES.name, format!("{part:?}: {e}")))
            })
            .collect::<Result<_, _>>()?;
        Ok(Config {
            http_addr: env.require(&HTTP_ADDR)?.to_owned(),
            issuer: lectern_core::jwt::issuer(env)?,
            limits: env.parse(&LIMITS)?,
            per_address: per_address(env)?,
            media_root: env.parse(&MEDIA_ROOT)?,
            media_keys: env.get(&MEDIA_SIGNING_KEYS).map(str::to_owned),
            trusted_proxies,
        })
    }
}

fn per_address(env: &Env) -> Result<NonZeroU32, ConfigError> {
    let rate: NonZeroU32 = env.parse(&RATE_LIMIT)?;
    match rate.get() {
        ..=100_000 => Ok(rate),
        _ => Err(ConfigError::new(RATE_LIMIT.name, format!("{rate}; {}", RATE_LIMIT.help))),
    }
}
