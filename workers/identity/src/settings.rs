//! What identity can be told, and what it then goes by.

use std::path::PathBuf;

use chrono::TimeDelta;
use lectern_core::Env;
use lectern_core::config::{ConfigError, Setting};
use webauthn_rs::prelude::{Url, Webauthn, WebauthnBuilder};

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
const MAILBOX_FILE: Setting = Setting {
    name: "MAILBOX_FILE",
    default: None,
    secret: false,
    help: "file that letters are appended to as JSON lines (development); without it letters stay queued",
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
    help: "auth sessions of one user; the next sign-in ends the oldest. 0 to 1000, 0: no limit",
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
const PASSKEYS: Setting = Setting {
    name: "PASSKEYS_ENABLED",
    default: Some("false"),
    secret: false,
    help: "true: users may sign in with passkeys (WebAuthn); false: the requests are not there",
};
const RP_ID: Setting = Setting {
    name: "WEBAUTHN_RP_ID",
    default: Some("localhost"),
    secret: false,
    help: "the domain that passkeys are bound to; changing it makes all of them useless",
};
const RP_ORIGINS: Setting = Setting {
    name: "WEBAUTHN_ORIGINS",
    default: Some("http://localhost:3000"),
    secret: false,
    help: "origins of the pages that ask for passkeys, separated by commas, within that domain; https in staging and production",
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
const FIXED_CODE: Setting = Setting {
    name: "EMAIL_VERIFICATION_FIXED_CODE",
    default: None,
    secret: false,
    help: "six digits that every verification code is, only where ENVIRONMENT=test; absent: 123456 there, random elsewhere",
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
    MAILBOX_FILE,
    ACCESS_MINUTES,
    REFRESH_DAYS,
    ABSOLUTE_DAYS,
    GRACE_SECONDS,
    MAX_SESSIONS,
    STEP_UP_SECONDS,
    TWO_FACTOR,
    PASSKEYS,
    RP_ID,
    RP_ORIGINS,
    MAX_ATTEMPTS,
    LOCKOUT_MINUTES,
    REQUIRES_VERIFIED,
    FIXED_CODE,
    ARGON2_M_KIB,
    ARGON2_T,
    ARGON2_P,
    HASH_POOL_SIZE,
];

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub mailbox: Option<PathBuf>,
    pub access_life: TimeDelta,
    pub idle_life: TimeDelta,
    pub absolute_life: TimeDelta,
    pub grace: TimeDelta,
    pub max_sessions: Option<i64>,
    /// An older proof of who asks does not do for what changes an account's safety.
    pub step_up: TimeDelta,
    pub two_factor: bool,
    /// Who passkeys are made for; none: there are no passkeys here.
    pub relying_party: Option<Webauthn>,
    pub max_attempts: i32,
    pub lockout: TimeDelta,
    pub requires_verified_email: bool,
    pub fixed_code: Option<String>,
    pub argon2: argon2::Params,
    pub hash_pool: usize,
}

impl Settings {
    /// Reads and checks them.
    pub fn read(env: &Env) -> Result<Settings, ConfigError> {
        let environment = env.require(&ENVIRONMENT)?;
        let guarded = matches!(environment, "staging" | "production");
        let max_sessions = within(env, &MAX_SESSIONS, 0..=1000)?;
        Ok(Settings {
            mailbox: env.get(&MAILBOX_FILE).map(PathBuf::from),
            access_life: TimeDelta::minutes(within(env, &ACCESS_MINUTES, 1..=1440)?),
            idle_life: TimeDelta::days(within(env, &REFRESH_DAYS, 1..=365)?),
            absolute_life: TimeDelta::days(within(env, &ABSOLUTE_DAYS, 1..=365)?),
            grace: TimeDelta::seconds(within(env, &GRACE_SECONDS, 0..=60)?),
            max_sessions: (max_sessions > 0).then_some(max_sessions),
            step_up: TimeDelta::seconds(within(env, &STEP_UP_SECONDS, 1..=86_400)?),
            two_factor: env.parse(&TWO_FACTOR)?,
            relying_party: relying_party(env, guarded)?,
            max_attempts: within(env, &MAX_ATTEMPTS, 1..=100)?,
            lockout: TimeDelta::minutes(within(env, &LOCKOUT_MINUTES, 1..=1440)?),
            requires_verified_email: match env.get(&REQUIRES_VERIFIED) {
                Some(_) => env.parse(&REQUIRES_VERIFIED)?,
                None => guarded,
            },
            fixed_code: fixed_code(env, environment)?,
            argon2: argon2_params(env, guarded)?,
            hash_pool: match env.get(&HASH_POOL_SIZE) {
                Some(_) => within(env, &HASH_POOL_SIZE, 1..=256)?,
                None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            },
        })
    }
}

/// Who passkeys are made for and signed by.
fn relying_party(env: &Env, guarded: bool) -> Result<Option<Webauthn>, ConfigError> {
    if !env.parse::<bool>(&PASSKEYS)? {
        return Ok(None);
    }
    let wrong = |reason: String| ConfigError::new(RP_ORIGINS.name, reason);
    let mut origins = Vec::new();
    for origin in env.require(&RP_ORIGINS)?.split(',') {
        let origin = Url::parse(origin.trim()).map_err(|error| wrong(format!("{origin}: {error}")))?;
        if guarded && origin.scheme() != "https" {
            return Err(wrong(format!("{origin} is not https")));
        }
        // it checks the first origin only, so each is checked as a first one
        WebauthnBuilder::new(env.require(&RP_ID)?, &origin)
            .map_err(|_| wrong(format!("{origin} is not within {}", RP_ID.name)))?;
        origins.push(origin);
    }
    let (first, rest) = origins.split_first().ok_or_else(|| wrong("at least one".to_owned()))?;
    let mut builder = WebauthnBuilder::new(env.require(&RP_ID)?, first).map_err(|e| wrong(e.to_string()))?;
    for origin in rest {
        builder = builder.append_allowed_origin(origin);
    }
    builder.rp_name("Lectern").build().map(Some).map_err(|error| wrong(error.to_string()))
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

fn argon2_params(env: &Env, guarded: bool) -> Result<argon2::Params, ConfigError> {
    let lanes: u32 = within(env, &ARGON2_P, 1..=4)?;
    // OWASP's lightest recommended memory is 7 MiB
    let least = if guarded { 7168 } else { 8 * lanes };
    let memory = within(env, &ARGON2_M_KIB, least..=1_048_576)?;
    let passes = within(env, &ARGON2_T, 1..=16)?;
    argon2::Params::new(memory, passes, lanes, None)
        .map_err(|error| ConfigError::new(ARGON2_M_KIB.name, error.to_string()))
}

fn within<T>(env: &Env, setting: &Setting, range: std::ops::RangeInclusive<T>) -> Result<T, ConfigError>
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
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        Settings::read(&Env::of(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))))
    }

    #[test]
    fn c24_the_fixed_code_exists_only_in_the_test_environment() {
        assert_eq!(read(&[("ENVIRONMENT", "test")]).unwrap().fixed_code.as_deref(), Some("123456"));
        assert_eq!(read(&[]).unwrap().fixed_code, None);
        for environment in ["development", "staging", "production"] {
            let refused = read(&[("ENVIRONMENT", environment), (FIXED_CODE.name, "123456")]).unwrap_err();
            assert_eq!(refused.name, FIXED_CODE.name);
        }
    }

    #[test]
    fn sign_in_needs_a_verified_address_in_staging_and_production_unless_told_otherwise() {
        let needs = |pairs: &[(&str, &str)]| read(pairs).unwrap().requires_verified_email;
        assert!(needs(&[("ENVIRONMENT", "production")]) && needs(&[("ENVIRONMENT", "staging")]));
        assert!(!needs(&[("ENVIRONMENT", "development")]) && !needs(&[("ENVIRONMENT", "test")]));
        assert!(needs(&[("ENVIRONMENT", "test"), (REQUIRES_VERIFIED.name, "true")]));
    }

    #[test]
    fn impossible_values_name_their_variable() {
        for (name, value) in [
            (ACCESS_MINUTES.name, "0"),
            (MAX_ATTEMPTS.name, "many"),
            (ARGON2_M_KIB.name, "7"),
            (GRACE_SECONDS.name, "61"),
            (REQUIRES_VERIFIED.name, "perhaps"),
            (STEP_UP_SECONDS.name, "0"),
            (TWO_FACTOR.name, "sometimes"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().name, name);
        }
    }

    #[test]
    fn passkeys_need_origins_within_their_domain_and_https_where_it_matters() {
        let with = |pairs: &[(&str, &str)]| {
            let mut all = vec![(PASSKEYS.name, "true")];
            all.extend(pairs);
            read(&all)
        };
        assert!(read(&[]).unwrap().relying_party.is_none());
        assert!(with(&[]).unwrap().relying_party.is_some());
        let two = (RP_ORIGINS.name, "https://learn.example.com, https://example.com");
        let made = with(&[("ENVIRONMENT", "production"), (RP_ID.name, "example.com"), two]).unwrap();
        assert_eq!(made.relying_party.unwrap().get_allowed_origins().len(), 2);
        for origins in ["https://example.com,https://example.org", "https://badexample.com", "nonsense", ""] {
            let refused = with(&[(RP_ID.name, "example.com"), (RP_ORIGINS.name, origins)]).unwrap_err();
            assert_eq!(refused.name, RP_ORIGINS.name, "{origins}");
        }
        assert_eq!(with(&[("ENVIRONMENT", "production")]).unwrap_err().name, RP_ORIGINS.name);
    }

    #[test]
    fn cheap_password_hashes_are_refused_where_it_matters() {
        assert!(read(&[("ARGON2_M_KIB", "8"), ("ARGON2_T", "1")]).is_ok());
        let refused = read(&[("ENVIRONMENT", "production"), ("ARGON2_M_KIB", "64")]).unwrap_err();
        assert_eq!(refused.name, ARGON2_M_KIB.name);
    }
}
