//! Every variable that seed 001 names does something here, or is known to have no meaning (identity spec I-156 to I-165).

use lectern::roles;
use lectern_core::Env;

/// What a variable of the seed is here.
enum Here {
    /// It has the seed's value where nobody sets it.
    AsThere,
    /// Another one, or none, for a reason.
    Otherwise(Option<&'static str>, &'static str),
    /// Accepted, warned about and ignored.
    WithoutMeaning,
}

use Here::{AsThere, Otherwise, WithoutMeaning};

/// Name, the value in the seed's own configuration, and what becomes of it.
const VARIABLES: &[(&str, &str, Here)] = &[
    ("APP_NAME", "user-service", WithoutMeaning),
    ("APP_VERSION", "1.0.0", WithoutMeaning),
    ("ENVIRONMENT", "development", AsThere),
    ("DEBUG", "False", WithoutMeaning),
    (
        "DATABASE_URL",
        "postgresql://user:password@postgres:5432/aegis",
        Otherwise(None, "the seed gives none"),
    ),
    ("DATABASE_POOL_SIZE", "20", Otherwise(Some("5"), "each role of each process has a pool of its own")),
    ("DATABASE_MAX_OVERFLOW", "10", WithoutMeaning),
    ("REDIS_URL", "redis://redis:6379", WithoutMeaning),
    ("REDIS_POOL_SIZE", "10", WithoutMeaning),
    ("JWT_SECRET_KEY", "your-secret-key-here", WithoutMeaning),
    ("JWT_ALGORITHM", "HS256", Otherwise(Some("EdDSA"), "shared secrets are refused")),
    ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "30", AsThere),
    ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", "7", AsThere),
    ("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092", WithoutMeaning),
    ("KAFKA_TOPIC_USER_EVENTS", "user-events", WithoutMeaning),
    ("BCRYPT_ROUNDS", "12", WithoutMeaning),
    ("RATE_LIMIT_PER_MINUTE", "60", AsThere),
    ("MAX_LOGIN_ATTEMPTS", "5", AsThere),
    ("ACCOUNT_LOCKOUT_DURATION_MINUTES", "15", AsThere),
    ("SMTP_HOST", "smtp.example.com", Otherwise(None, "the seed gives none")),
    ("SMTP_PORT", "587", AsThere),
    ("SMTP_USER", "user", Otherwise(None, "the seed gives none")),
    ("SMTP_PASSWORD", "smtp-password-here", Otherwise(None, "the seed gives none")),
    ("EMAIL_FROM", "no-reply@example.com", Otherwise(None, "the seed gives none")),
    ("PROMETHEUS_PORT", "9090", WithoutMeaning),
    ("LOG_LEVEL", "INFO", Otherwise(None, "by ENVIRONMENT, as the seed has it elsewhere (I-147)")),
    ("ENABLE_EMAIL_VERIFICATION", "true", AsThere),
    ("ENABLE_TWO_FACTOR_AUTH", "false", AsThere),
    ("ENABLE_PASSWORD_HISTORY", "true", AsThere),
    ("MAX_SESSIONS_PER_USER", "5", AsThere),
];

#[test]
fn i156_to_i165_every_variable_of_seed_001_has_its_default_or_no_meaning() {
    let settings = roles::settings();
    for (name, value, here) in VARIABLES {
        let setting = settings.iter().find(|setting| setting.name == *name);
        let warnings = Env::of([((*name).to_owned(), "x".to_owned())]).check().unwrap_or_default();
        let ignored = warnings.iter().any(|warning| warning.contains(name));
        match here {
            AsThere => assert_eq!(setting.expect(name).default, Some(*value), "{name}"),
            Otherwise(default, why) => assert_eq!(setting.expect(name).default, *default, "{name}: {why}"),
            WithoutMeaning => assert!(setting.is_none() && ignored, "{name} is not warned about"),
        }
        assert!(matches!(here, WithoutMeaning) || !ignored, "{name} is read and said to be ignored");
    }
}

#[test]
fn i156_to_i163_the_configuration_of_seed_001_is_taken_name_by_name() {
    let known = roles::settings();
    let load = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Env::load(Some(file.path()), &known)
    };
    // its algorithm is a shared secret's, which is refused
    let of_seed = |(name, value, _): &(&str, &str, Here)| {
        if *name == "JWT_ALGORITHM" { String::new() } else { format!("{name}={value}\n") }
    };
    let seed: String = VARIABLES.iter().map(of_seed).collect();
    let env = load(&seed).unwrap_or_else(|error| panic!("{error}"));
    // what means nothing here is said once, and nothing else is
    let warnings = env.check().expect("a good configuration");
    let ignored: Vec<&str> = warnings.iter().filter_map(|it| it.split_once(": ")).map(|it| it.1).collect();
    assert_eq!(
        ignored,
        ["APP_NAME, APP_VERSION, BCRYPT_ROUNDS, DATABASE_MAX_OVERFLOW, DEBUG, JWT_SECRET_KEY, \
          KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_USER_EVENTS, PROMETHEUS_PORT, REDIS_POOL_SIZE, REDIS_URL"]
    );
    for (name, value) in [("JWT_ALGORITHM", "HS256"), ("ENVIRONMENT", "Production")] {
        let env = load(&format!("{seed}{name}={value}\n")).expect("read");
        assert_eq!(env.check().map_err(|error| error.name).err().as_deref(), Some(name), "{value}");
    }
    // names are compared letter by letter
    let refused = load("smtp_host=smtp.example.com\n").err().expect("no setting").to_string();
    assert!(refused.contains("smtp_host"), "{refused}");
}
