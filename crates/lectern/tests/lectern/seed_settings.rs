//! Every variable that seed 001 names does something here, or is known to have no meaning (identity spec I-156 to I-165).

use lectern::roles;
use lectern_core::Env;

/// What a variable of the seed is here.
enum Here {
    /// The seed's own default.
    AsThere(&'static str),
    /// Another one, for a reason.
    Otherwise(Option<&'static str>, &'static str),
    /// Accepted, warned about and ignored.
    WithoutMeaning,
}

use Here::{AsThere, Otherwise, WithoutMeaning};

const VARIABLES: &[(&str, Here)] = &[
    ("APP_NAME", WithoutMeaning),
    ("APP_VERSION", WithoutMeaning),
    ("ENVIRONMENT", Otherwise(Some("development"), "the seed gives none")),
    ("DEBUG", WithoutMeaning),
    ("DATABASE_URL", Otherwise(None, "the seed gives none")),
    ("DATABASE_POOL_SIZE", Otherwise(Some("5"), "each role of each process has a pool of its own")),
    ("DATABASE_MAX_OVERFLOW", WithoutMeaning),
    ("REDIS_URL", WithoutMeaning),
    ("REDIS_POOL_SIZE", WithoutMeaning),
    ("JWT_SECRET_KEY", WithoutMeaning),
    ("JWT_ALGORITHM", Otherwise(Some("EdDSA"), "shared secrets are refused")),
    ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", AsThere("30")),
    ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", AsThere("7")),
    ("KAFKA_BOOTSTRAP_SERVERS", WithoutMeaning),
    ("KAFKA_TOPIC_USER_EVENTS", WithoutMeaning),
    ("BCRYPT_ROUNDS", WithoutMeaning),
    ("RATE_LIMIT_PER_MINUTE", AsThere("60")),
    ("MAX_LOGIN_ATTEMPTS", AsThere("5")),
    ("ACCOUNT_LOCKOUT_DURATION_MINUTES", AsThere("15")),
    ("SMTP_HOST", Otherwise(None, "the seed gives none")),
    ("SMTP_PORT", AsThere("587")),
    ("SMTP_USER", Otherwise(None, "the seed gives none")),
    ("SMTP_PASSWORD", Otherwise(None, "the seed gives none")),
    ("EMAIL_FROM", Otherwise(None, "the seed gives none")),
    ("PROMETHEUS_PORT", WithoutMeaning),
    ("LOG_LEVEL", Otherwise(None, "by ENVIRONMENT, as the seed has it elsewhere (I-147)")),
    ("ENABLE_EMAIL_VERIFICATION", AsThere("true")),
    ("ENABLE_TWO_FACTOR_AUTH", AsThere("false")),
    ("ENABLE_PASSWORD_HISTORY", AsThere("true")),
    ("MAX_SESSIONS_PER_USER", AsThere("5")),
];

#[test]
fn i156_to_i165_every_variable_of_seed_001_has_its_default_or_no_meaning() {
    let settings = roles::settings();
    for (name, here) in VARIABLES {
        let setting = settings.iter().find(|setting| setting.name == *name);
        let warnings = Env::of([((*name).to_owned(), "x".to_owned())]).check().unwrap_or_default();
        let ignored = warnings.iter().any(|warning| warning.contains(name));
        match here {
            AsThere(default) => {
                assert_eq!(setting.expect(name).default, Some(*default), "{name}");
                assert!(!ignored, "{name} is read and said to be ignored");
            }
            Otherwise(default, why) => {
                assert_eq!(setting.expect(name).default, *default, "{name}: {why}");
                assert!(!ignored, "{name} is read and said to be ignored");
            }
            WithoutMeaning => assert!(setting.is_none() && ignored, "{name} is not warned about"),
        }
    }
}
