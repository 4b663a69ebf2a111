//! What identity can be told, and what it then goes by.

use std::path::PathBuf;

use chrono::TimeDelta;
use lectern_core::Env;
use lectern_core::config::{ConfigError, NATS_URL, Setting};
use webauthn_rs::prelude::Webauthn;

use crate::sign_in::rate::{Limit, Rate};

use crate::federation::provider::{self, Providers};
use crate::mail::smtp::{
    EMAIL_FROM, SMTP_CA_FILE, SMTP_HOST, SMTP_PASSWORD, SMTP_PORT, SMTP_TLS, SMTP_USER, SmtpSettings,
};
use crate::mfa::relying_party::{self, PASSKEYS, RP_ID, RP_ORIGINS};
use crate::password::Profile;

/// The environment that the process runs in; declared by the process.
const ENVIRONMENT: Setting = Setting {
    name: "ENVIRONMENT",
    default: Some("development"),
    secret: false,
    help: "development, test, staging or production",
};

pub(crate) const KEK: Setting = Setting {
    name: "IDENTITY_KEK",
    default: None,
    secret: true,
    help: "key-encryption key of identity: 32 bytes, base64",
};
const ERASER_NKEY: Setting = Setting {
    name: "IDENTITY_ERASER_NKEY",
    default: None,
    secret: true,
    help: "nkey seed of the broker's user that may delete messages, used while a person is erased; from the secrets file",
};
const MAILBOX_FILE: Setting = Setting {
    name: "MAILBOX_FILE",
    default: None,
    secret: false,
    help: "file that letters are appended to as JSON lines (development); without it and SMTP_HOST letters stay queued",
};
const ACCESS_MINUTES: Setting = Setting {
    name: "JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
    default: Some("30"),
    secret: false,
    help: "life of an access token, minutes, 1 to 1440",
};
const REFRESH_DAYS: Setting = Setting {
    name: "JWT_REFRESH_TOKEN_EXPIRE_DAYS",
    default: Some("7"),
    secret: false,
    help: "an auth session that is not refreshed ends after this many days, 1 to 365",
};
const ABSOLUTE_DAYS: Setting = Setting {
    name: "SESSION_ABSOLUTE_DAYS",
    default: Some("30"),
    secret: false,
    help: "an auth session ends after this many days in any case, 1 to 365",
};
const GRACE_SECONDS: Setting = Setting {
    name: "REFRESH_GRACE_SECONDS",
    default: Some("10"),
    secret: false,
    help: "a refresh whose answer was lost is answered again for this long, seconds, 0 to 60",
};
const MAX_SESSIONS: Setting = Setting {
    name: "MAX_SESSIONS_PER_USER",
    default: Some("5"),
    secret: false,
    help: "auth sessions of one user; SESSION_LIMIT_POLICY says what the next sign-in does. 0 to 1000, 0: no limit",
};
const SESSION_LIMIT_POLICY: Setting = Setting {
    name: "SESSION_LIMIT_POLICY",
    default: Some("evict_oldest"),
    secret: false,
    help: "what a sign-in does when the user has all the sessions it may have: evict_oldest ends one, reject is refused",
};
const LOGIN_RATE: Setting = Setting {
    name: "LOGIN_RATE",
    default: Some("5/m"),
    secret: false,
    help: "sign-ins of one client address, successful ones too: N/s, N/m, N/h or N/d with N from 1 to 1000, or off",
};
const REGISTER_RATE: Setting = Setting {
    name: "REGISTER_RATE",
    default: Some("3/h"),
    secret: false,
    help: "sign-ups of one client address, written like LOGIN_RATE",
};
const LETTER_RATE: Setting = Setting {
    name: "LETTER_RATE",
    default: Some("5/h"),
    secret: false,
    help: "letters of each kind (forgotten password, verification code) that one client address may ask for, written like LOGIN_RATE",
};
const PUBLIC_URL: Setting = Setting {
    name: "PUBLIC_URL",
    default: Some("http://127.0.0.1:3000"),
    secret: false,
    help: "where people find the site, without a slash at the end; links in letters begin with it",
};
const STEP_UP_SECONDS: Setting = Setting {
    name: "STEP_UP_MAX_AGE_SECONDS",
    default: Some("600"),
    secret: false,
    help: "what changes an account's safety needs a proof of who asks that is no older, seconds, 1 to 86400",
};
const TWO_FACTOR: Setting = Setting {
    name: "ENABLE_TWO_FACTOR_AUTH",
    default: Some("false"),
    secret: false,
    help: "true: users may have sign-in ask for a code of their authenticator app; false: nobody is asked, the requests are not there",
};
const MAX_ATTEMPTS: Setting = Setting {
    name: "MAX_LOGIN_ATTEMPTS",
    default: Some("5"),
    secret: false,
    help: "wrong passwords after which an account is locked, 1 to 100",
};
const LOCKOUT_MINUTES: Setting = Setting {
    name: "ACCOUNT_LOCKOUT_DURATION_MINUTES",
    default: Some("15"),
    secret: false,
    help: "how long it stays locked, minutes, 1 to 1440",
};
const REQUIRES_VERIFIED: Setting = Setting {
    name: "LOGIN_REQUIRES_VERIFIED_EMAIL",
    default: None,
    secret: false,
    help: "true or false; absent: true in staging and production, false in development and test",
};
const TOKEN_CLAIM_EMAIL: Setting = Setting {
    name: "TOKEN_CLAIM_EMAIL",
    default: Some("false"),
    secret: false,
    help: "true puts the e-mail address into access tokens, as seed 001 has it; whoever sees a token then sees the address",
};
const ROLE_ON_REGISTER: Setting = Setting {
    name: "ALLOW_ROLE_ON_REGISTER",
    default: Some("false"),
    secret: false,
    help: "true lets anyone choose their role at sign-up, as seed 004 has it; only in development and test",
};
const FIXED_CODE: Setting = Setting {
    name: "EMAIL_VERIFICATION_FIXED_CODE",
    default: None,
    secret: false,
    help: "six digits that every verification code is, only where ENVIRONMENT=test; absent: 123456 there, random elsewhere",
};
const PASSWORD_PROFILE: Setting = Setting {
    name: "PASSWORD_PROFILE",
    default: Some("seed"),
    secret: false,
    help: "rules of new passwords: seed (upper and lower case, digit, symbol) or nist (length alone); both refuse common ones",
};
const PASSWORD_HISTORY_SIZE: Setting = Setting {
    name: "PASSWORD_HISTORY_SIZE",
    default: Some("5"),
    secret: false,
    help: "a new password is none of this many last ones, the present one included, 0 to 24; 0: it may be any",
};
const ENABLE_PASSWORD_HISTORY: Setting = Setting {
    name: "ENABLE_PASSWORD_HISTORY",
    default: Some("true"),
    secret: false,
    help: "true or false; false is PASSWORD_HISTORY_SIZE=0",
};
const ARGON2_M_KIB: Setting = Setting {
    name: "ARGON2_M_KIB",
    default: Some("19456"),
    secret: false,
    help: "memory of one password hash, KiB, 8 to 1048576; in staging and production at least 7168",
};
const ARGON2_T: Setting = Setting {
    name: "ARGON2_T",
    default: Some("2"),
    secret: false,
    help: "passes of one password hash, 1 to 16",
};
const ARGON2_P: Setting = Setting {
    name: "ARGON2_P",
    default: Some("1"),
    secret: false,
    help: "lanes of one password hash, 1 to 4; each needs 8 KiB of memory",
};
const HASH_POOL_SIZE: Setting = Setting {
    name: "HASH_POOL_SIZE",
    default: None,
    secret: false,
    help: "password hashes computed at once in a process, 1 to 256; absent: one per core",
};

/// The settings of this worker.
pub const SETTINGS: &[Setting] = &[
    KEK,
    ERASER_NKEY,
    MAILBOX_FILE,
    SMTP_HOST,
    SMTP_PORT,
    SMTP_USER,
    SMTP_PASSWORD,
    SMTP_TLS,
    SMTP_CA_FILE,
    EMAIL_FROM,
    PUBLIC_URL,
    ACCESS_MINUTES,
    REFRESH_DAYS,
    ABSOLUTE_DAYS,
    GRACE_SECONDS,
    MAX_SESSIONS,
    SESSION_LIMIT_POLICY,
    LOGIN_RATE,
    REGISTER_RATE,
    LETTER_RATE,
    STEP_UP_SECONDS,
    TWO_FACTOR,
    PASSKEYS,
    RP_ID,
    RP_ORIGINS,
    provider::SOCIAL_LOGIN,
    provider::PROVIDERS,
    provider::ISSUER,
    provider::CLIENT_ID,
    provider::CLIENT_SECRET,
    provider::SCOPES,
    provider::NAME,
    provider::REDIRECT_URL,
    provider::CA_FILE,
    MAX_ATTEMPTS,
    LOCKOUT_MINUTES,
    REQUIRES_VERIFIED,
    TOKEN_CLAIM_EMAIL,
    ROLE_ON_REGISTER,
    FIXED_CODE,
    PASSWORD_PROFILE,
    PASSWORD_HISTORY_SIZE,
    ENABLE_PASSWORD_HISTORY,
    ARGON2_M_KIB,
    ARGON2_T,
    ARGON2_P,
    HASH_POOL_SIZE,
];

/// How the erasure of a person reaches the streams.
#[derive(Clone)]
pub(crate) struct Eraser {
    pub nats_url: String,
    /// None where the broker asks for no key.
    pub nkey: Option<String>,
}

impl std::fmt::Debug for Eraser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Eraser").field("nats_url", &self.nats_url).finish_non_exhaustive()
    }
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub eraser: Eraser,
    pub mailbox: Option<PathBuf>,
    pub smtp: Option<SmtpSettings>,
    /// Without a slash at the end.
    pub public_url: String,
    pub access_life: TimeDelta,
    pub idle_life: TimeDelta,
    pub absolute_life: TimeDelta,
    pub grace: TimeDelta,
    pub max_sessions: Option<i64>,
    pub when_full: WhenFull,
    pub login_rate: Option<Rate>,
    pub register_rate: Option<Rate>,
    pub letter_rate: Option<Rate>,
    /// An older proof of who asks does not do for what changes an account's safety.
    pub step_up: TimeDelta,
    pub two_factor: bool,
    /// Who passkeys are made for; none: there are no passkeys here.
    pub relying_party: Option<Webauthn>,
    /// Where else one may sign in; none: nowhere.
    pub providers: Option<Providers>,
    pub max_attempts: i32,
    pub lockout: TimeDelta,
    pub requires_verified_email: bool,
    pub issuer: String,
    pub email_in_token: bool,
    pub role_on_register: bool,
    pub fixed_code: Option<String>,
    pub password_profile: Profile,
    /// How many last passwords a new one must not be; 0: any will do.
    pub password_history: i64,
    pub argon2: argon2::Params,
    pub hash_pool: usize,
}

impl Settings {
    /// Reads and checks them.
    pub fn read(env: &Env) -> Result<Settings, ConfigError> {
        let environment = env.require(&ENVIRONMENT)?;
        let guarded = matches!(environment, "staging" | "production");
        let max_sessions = within(env, &MAX_SESSIONS, 0..=1000)?;
        let smtp = SmtpSettings::read(env, guarded)?;
        let public_url = public_url(env, guarded && smtp.is_some())?;
        Ok(Settings {
            eraser: Eraser {
                nats_url: env.require(&NATS_URL)?.to_owned(),
                nkey: env.get(&ERASER_NKEY).map(str::to_owned),
            },
            mailbox: env.get(&MAILBOX_FILE).map(PathBuf::from),
            providers: provider::read(env, guarded, &public_url)?,
            public_url,
            smtp,
            access_life: TimeDelta::minutes(within(env, &ACCESS_MINUTES, 1..=1440)?),
            idle_life: TimeDelta::days(within(env, &REFRESH_DAYS, 1..=365)?),
            absolute_life: TimeDelta::days(within(env, &ABSOLUTE_DAYS, 1..=365)?),
            grace: TimeDelta::seconds(within(env, &GRACE_SECONDS, 0..=60)?),
            max_sessions: (max_sessions > 0).then_some(max_sessions),
            when_full: env.parse(&SESSION_LIMIT_POLICY)?,
            login_rate: rate(env, &LOGIN_RATE)?,
            register_rate: rate(env, &REGISTER_RATE)?,
            letter_rate: rate(env, &LETTER_RATE)?,
            step_up: TimeDelta::seconds(within(env, &STEP_UP_SECONDS, 1..=86_400)?),
            two_factor: env.parse(&TWO_FACTOR)?,
            relying_party: relying_party::read(env, guarded)?,
            max_attempts: within(env, &MAX_ATTEMPTS, 1..=100)?,
            lockout: TimeDelta::minutes(within(env, &LOCKOUT_MINUTES, 1..=1440)?),
            requires_verified_email: match env.get(&REQUIRES_VERIFIED) {
                Some(_) => env.parse(&REQUIRES_VERIFIED)?,
                None => guarded,
            },
            issuer: lectern_core::jwt::issuer(env)?,
            email_in_token: env.parse(&TOKEN_CLAIM_EMAIL)?,
            role_on_register: role_on_register(env, guarded)?,
            fixed_code: fixed_code(env, environment)?,
            password_profile: env.parse(&PASSWORD_PROFILE)?,
            password_history: match env.parse(&ENABLE_PASSWORD_HISTORY)? {
                true => within(env, &PASSWORD_HISTORY_SIZE, 0..=24)?,
                false => 0,
            },
            argon2: argon2_params(env, guarded)?,
            hash_pool: match env.get(&HASH_POOL_SIZE) {
                Some(_) => within(env, &HASH_POOL_SIZE, 1..=256)?,
                None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            },
        })
    }
}

/// What a sign-in does that finds no room for its session (identity spec C25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// It ends the oldest.
    EvictOldest,
    /// It is refused with USER_1203.
    Reject,
}

impl std::str::FromStr for WhenFull {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<WhenFull, Self::Err> {
        match text {
            "evict_oldest" => Ok(WhenFull::EvictOldest),
            "reject" => Ok(WhenFull::Reject),
            _ => Err("no such policy"),
        }
    }
}

fn rate(env: &Env, setting: &Setting) -> Result<Option<Rate>, ConfigError> {
    let Limit(rate) = env.parse(setting)?;
    Ok(rate)
}

/// Identity spec C2: where it matters nobody makes themselves an admin.
fn role_on_register(env: &Env, guarded: bool) -> Result<bool, ConfigError> {
    let allowed = env.parse(&ROLE_ON_REGISTER)?;
    if allowed && guarded {
        return Err(ConfigError::new(ROLE_ON_REGISTER.name, "is allowed only in development and test"));
    }
    Ok(allowed)
}

/// Identity spec C24: a code that everyone knows exists in tests only; anywhere else the start is refused.
fn fixed_code(env: &Env, environment: &str) -> Result<Option<String>, ConfigError> {
    match env.get(&FIXED_CODE) {
        None => Ok((environment == "test").then(|| "123456".to_owned())),
        Some(_) if environment != "test" => {
            Err(ConfigError::new(FIXED_CODE.name, "is allowed only where ENVIRONMENT=test"))
        }
        Some(code) if code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Some(code.to_owned()))
        }
        Some(_) => Err(ConfigError::new(FIXED_CODE.name, "expected six digits")),
    }
}

/// Links that leave the machine in production go to a site that nobody can listen in on.
fn public_url(env: &Env, to_customers: bool) -> Result<String, ConfigError> {
    let url = env.require(&PUBLIC_URL)?.trim_end_matches('/');
    let site = match url.strip_prefix("https://") {
        None if to_customers => None,
        None => url.strip_prefix("http://"),
        site => site,
    };
    let is_good =
        |site: &str| !site.is_empty() && !site.contains(|c: char| c.is_whitespace() || "#?\"<>".contains(c));
    match site {
        Some(site) if is_good(site) => Ok(url.to_owned()),
        _ => Err(ConfigError::new(PUBLIC_URL.name, format!("{url:?}: not good here; {}", PUBLIC_URL.help))),
    }
}

fn argon2_params(env: &Env, guarded: bool) -> Result<argon2::Params, ConfigError> {
    let lanes: u32 = within(env, &ARGON2_P, 1..=4)?;
    // OWASP's lightest recommended memory is 7 MiB
    let least = if guarded { 7168 } else { 8 * lanes };
    let memory = within(env, &ARGON2_M_KIB, least..=1_048_576)?;
    let passes = within(env, &ARGON2_T, 1..=16)?;
    argon2::Params::new(memory, passes, lanes, None)
        .map_err(|error| ConfigError::new(ARGON2_M_KIB.name, error.to_string()))
}

pub(crate) fn within<T>(
    env: &Env,
    setting: &Setting,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, ConfigError>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
    T::Err: std::fmt::Display,
{
    let value: T = env.parse(setting)?;
    if range.contains(&value) {
        return Ok(value);
    }
    let (from, to) = range.into_inner();
    Err(ConfigError::new(setting.name, format!("{value} is not within {from} to {to}; {}", setting.help)))
}

#[cfg(test)]
mod tests;
