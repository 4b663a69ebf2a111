//! Configuration: each component declares its settings beside it; environment variables override a file; impossible
//! values stop the start and name the variable.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// One variable of the configuration table, or one per name where there are several of something.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable's name; a `*` stands for a name that another setting lists, as in `OIDC_*_ISSUER`.
    pub name: &'static str,
    /// What holds when it is absent; none: required, or switched off, as the help says.
    pub default: Option<&'static str>,
    /// Whether it must never be printed.
    pub secret: bool,
    /// What it means, with unit and range, in one line.
    pub help: &'static str,
}

impl Setting {
    /// The variable of one of several.
    pub fn name_of(&self, which: &str) -> String {
        self.name.replacen('*', which, 1)
    }

    fn covers(&self, name: &str) -> bool {
        match self.name.split_once('*') {
            None => self.name == name,
            Some((before, after)) => {
                let rest = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                rest.is_some_and(|which| !which.is_empty())
            }
        }
    }
}

/// A variable that stops the start.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct ConfigError {
    /// The variable.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl ConfigError {
    /// Names a variable and what is wrong with it.
    pub fn new(name: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError { name: name.to_owned(), reason: reason.into() }
    }
}

/// The variables in force.
#[derive(Clone, Default)]
pub struct Env {
    values: BTreeMap<String, String>,
}

/// Who issues tokens, unless `JWT_ISSUER` says otherwise.
pub const ISSUER: &str = "lectern";
/// Which rules hold.
pub const ENVIRONMENT: Setting = Setting {
    name: "ENVIRONMENT",
    default: Some("development"),
    secret: false,
    help: "development, test, staging or production; the last two insist on durable streams and private settings",
};
/// Where the database is.
pub const DATABASE_URL: Setting = Setting {
    name: "DATABASE_URL",
    default: None,
    secret: true,
    help: "the owner's PostgreSQL URL; each role takes host and database from it and its own user and password from the secrets file",
};
/// How many connections a role keeps.
pub const DATABASE_POOL_SIZE: Setting = Setting {
    name: "DATABASE_POOL_SIZE",
    default: Some("5"),
    secret: false,
    help: "connections of each role's pool, 1 to 200",
};
/// Where the broker is.
pub const NATS_URL: Setting = Setting {
    name: "NATS_URL",
    default: Some("nats://127.0.0.1:4222"),
    secret: false,
    help: "one or more broker URLs, separated by commas",
};
/// Where the broker tells about itself.
pub const NATS_MONITOR_URL: Setting = Setting {
    name: "NATS_MONITOR_URL",
    default: None,
    secret: false,
    help: "the broker's monitoring URL, for example http://127.0.0.1:8222; required in staging and production, where JetStream must sync always",
};
/// Where the secrets are.
pub const SECRETS_FILE: Setting = Setting {
    name: "LECTERN_SECRETS_FILE",
    default: None,
    secret: false,
    help: "the file that `lectern secrets init` made: database passwords, broker keys, encryption keys; readable by its owner only",
};
/// How long an access token lives.
pub const ACCESS_TOKEN_MINUTES: Setting = Setting {
    name: "JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
    default: Some("30"),
    secret: false,
    help: "life of an access token, minutes, 1 to 1440; revocations are kept as long",
};
/// Kept so that a configuration which asks for another algorithm doesn't pass unnoticed.
pub const JWT_ALGORITHM: Setting = Setting {
    name: "JWT_ALGORITHM",
    default: Some("EdDSA"),
    secret: false,
    help: "EdDSA, nothing else: shared-secret algorithms are refused",
};
/// Who issues access tokens.
pub const JWT_ISSUER: Setting = Setting {
    name: "JWT_ISSUER",
    default: Some(ISSUER),
    secret: false,
    help: "issuer of access tokens, the same for every process; the public URL of the gateway makes it findable by standard clients",
};
/// The settings that every process has.
pub const SETTINGS: &[Setting] = &[
    ENVIRONMENT,
    DATABASE_URL,
    DATABASE_POOL_SIZE,
    NATS_URL,
    NATS_MONITOR_URL,
    SECRETS_FILE,
    ACCESS_TOKEN_MINUTES,
    JWT_ALGORITHM,
    JWT_ISSUER,
];

/// Names of the seeds without a meaning here (architecture §13): accepted, warned about once, ignored.
const WITHOUT_MEANING: &[&str] = &[
    "KAFKA_*",
    "REDIS_*",
    "APP_NAME",
    "APP_VERSION",
    "DEBUG",
    "DATABASE_MAX_OVERFLOW",
    "JWT_SECRET_KEY",
    "BCRYPT_ROUNDS",
    "PROMETHEUS_PORT",
];

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// On a developer's machine.
    Development,
    /// In an automatic test: the fixed verification code holds here only.
    Test,
    /// Like production, for rehearsals.
    Staging,
    /// For customers.
    Production,
}

impl Environment {
    /// Whether the rules of production hold.
    pub fn is_strict(self) -> bool {
        matches!(self, Environment::Staging | Environment::Production)
    }
}

impl FromStr for Environment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "development" => Ok(Environment::Development),
            "test" => Ok(Environment::Test),
            "staging" => Ok(Environment::Staging),
            "production" => Ok(Environment::Production),
            _ => Err("no such environment"),
        }
    }
}

fn is_without_meaning(name: &str) -> bool {
    WITHOUT_MEANING.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *pattern,
    })
}

impl Env {
    /// Variables of the process over those of a file of `NAME=value` lines. The file may name only what is `known`.
    ///
    /// # Errors
    /// When the file can't be read, has a line that is no assignment, or names a setting that there is not.
    pub fn load(file: Option<&Path>, known: &[Setting]) -> Result<Env, ConfigError> {
        let mut values = BTreeMap::new();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&name, e.to_string()))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let wrong = |reason: &str| ConfigError::new(&name, format!("line {}: {reason}", number + 1));
                let (key, value) = line.split_once('=').ok_or_else(|| wrong("expected NAME=value"))?;
                let key = key.trim();
                if !known.iter().any(|setting| setting.covers(key)) && !is_without_meaning(key) {
                    return Err(wrong(&format!("there is no setting {key}; `lectern config` lists all")));
                }
                values.insert(key.to_owned(), value.trim().trim_matches('"').to_owned());
            }
        }
        values.extend(std::env::vars());
        Ok(Env { values })
    }

    /// What holds for every process: the environment is one that there is, the token algorithm is ours. Answers the
    /// warnings to be logged.
    ///
    /// # Errors
    /// Names the variable.
    pub fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.environment()?;
        let algorithm = self.require(&JWT_ALGORITHM)?;
        if algorithm != "EdDSA" {
            let reason = format!("{algorithm:?} is refused; {}", JWT_ALGORITHM.help);
            return Err(ConfigError::new(JWT_ALGORITHM.name, reason));
        }
        let ignored: Vec<&str> =
            self.values.keys().map(String::as_str).filter(|name| is_without_meaning(name)).collect();
        Ok(match ignored.is_empty() {
            true => Vec::new(),
            false => {
                vec![format!("these settings have no meaning here and are ignored: {}", ignored.join(", "))]
            }
        })
    }

    /// Where this process runs.
    ///
    /// # Errors
    /// When the variable names no environment.
    pub fn environment(&self) -> Result<Environment, ConfigError> {
        self.parse(&ENVIRONMENT)
    }

    /// Adds what comes from the secrets file; a variable that is set stays as it is.
    pub fn fill(&mut self, name: &str, value: String) {
        if !self.is_set(name) {
            self.values.insert(name.to_owned(), value);
        }
    }

    /// Variables as given, for tests.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Env {
        Env { values: pairs.into_iter().collect() }
    }

    /// The value in force: set, or the default. An empty value counts as absent.
    pub fn get(&self, setting: &Setting) -> Option<&str> {
        self.values.get(setting.name).map(String::as_str).filter(|v| !v.is_empty()).or(setting.default)
    }

    /// The value in force of one of several.
    pub fn get_of(&self, setting: &Setting, which: &str) -> Option<&str> {
        let value = self.values.get(&setting.name_of(which)).map(String::as_str);
        value.filter(|v| !v.is_empty()).or(setting.default)
    }

    /// The value in force of a variable that must be there.
    ///
    /// # Errors
    /// When it is neither set nor has a default.
    pub fn require(&self, setting: &Setting) -> Result<&str, ConfigError> {
        self.get(setting)
            .ok_or_else(|| ConfigError::new(setting.name, format!("is required: {}", setting.help)))
    }

    /// The parsed value of a variable that must be there.
    ///
    /// # Errors
    /// When it is absent or can't be read.
    pub fn parse<T: FromStr>(&self, setting: &Setting) -> Result<T, ConfigError>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.require(setting)?;
        text.parse().map_err(|e| ConfigError::new(setting.name, format!("{text:?}: {e}; {}", setting.help)))
    }

    /// Whether the variable is set, whatever to.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|v| !v.is_empty())
    }
}

/// What is in force, one line per setting, secrets masked; a `*` marks what was set.
pub fn print(env: &Env, settings: &[Setting]) -> String {
    let mut text = String::new();
    for setting in settings {
        let several = setting.name.contains('*');
        let set = env.values.keys().filter(|name| several && setting.covers(name) && env.is_set(name));
        let mut names: Vec<&str> = set.map(String::as_str).collect();
        if names.is_empty() {
            names.push(setting.name);
        }
        for name in names {
            let mark = if env.is_set(name) { '*' } else { ' ' };
            let set = env.values.get(name).map(String::as_str).filter(|v| !v.is_empty());
            let value = match set.or(setting.default) {
                Some(_) if setting.secret => "***",
                Some(value) => &crate::telemetry::mask::mask(value),
                None => "(absent)",
            };
            text.push_str(&format!("{mark} {name}={value}\n"));
        }
    }
    text
}

/// A configuration file with every setting, its meaning and its default, commented out.
pub fn example(parts: &[(&str, Vec<Setting>)]) -> String {
    let mut text = String::from(
        "# Every setting of Lectern with its default; made by `lectern config --env-example`.\n\
         # Variables of the process override this file. Use it with `lectern run --config FILE`.\n",
    );
    for (part, settings) in parts.iter().filter(|(_, settings)| !settings.is_empty()) {
        text.push_str(&format!("\n# --- {part}\n"));
        for setting in settings {
            let secret = if setting.secret { " (secret)" } else { "" };
            let default = setting.default.unwrap_or_default();
            text.push_str(&format!("# {}{secret}\n#{}={default}\n", setting.help, setting.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn impossible_values_name_the_variable() {
        assert!(env(&[]).check().is_ok_and(|warnings| warnings.is_empty()));
        let refused = env(&[("JWT_ALGORITHM", "HS256")]).check().map_err(|e| e.name);
        assert_eq!(refused, Err("JWT_ALGORITHM".to_owned()));
        let refused = env(&[("ENVIRONMENT", "prod")]).check().map_err(|e| e.name);
        assert_eq!(refused, Err("ENVIRONMENT".to_owned()));
        let warnings =
            env(&[("KAFKA_BOOTSTRAP_SERVERS", "x"), ("REDIS_URL", "y")]).check().unwrap_or_default();
        assert_eq!(warnings.len(), 1, "one warning for all");
    }

    #[test]
    fn a_file_may_name_only_what_there_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# note\nENVIRONMENT=staging\nREDIS_URL=x\n").unwrap();
        let loaded = Env::load(Some(file.path()), SETTINGS).unwrap();
        assert_eq!(loaded.environment().unwrap(), Environment::Staging);
        std::fs::write(file.path(), "ENVIRONMENT=staging\nENVIRONMNT=x\n").unwrap();
        let refused = Env::load(Some(file.path()), SETTINGS).err().unwrap().to_string();
        assert!(refused.contains("line 2") && refused.contains("ENVIRONMNT"), "{refused}");
    }

    #[test]
    fn a_setting_of_several_is_read_named_and_printed_for_each() {
        const SECRET: Setting = Setting { name: "SHOP_*_KEY", default: None, secret: true, help: "" };
        const COLOUR: Setting =
            Setting { name: "SHOP_*_COLOUR", default: Some("red"), secret: false, help: "" };
        let env = env(&[("SHOP_EAST_KEY", "k1"), ("SHOP_WEST_KEY", "k2"), ("SHOP_WEST_COLOUR", "blue")]);
        assert_eq!((env.get_of(&SECRET, "EAST"), env.get_of(&SECRET, "NORTH")), (Some("k1"), None));
        assert_eq!((env.get_of(&COLOUR, "EAST"), env.get_of(&COLOUR, "WEST")), (Some("red"), Some("blue")));
        let printed = print(&env, &[SECRET, COLOUR]);
        assert_eq!(printed, "* SHOP_EAST_KEY=***\n* SHOP_WEST_KEY=***\n* SHOP_WEST_COLOUR=blue\n");
        assert!(!COLOUR.covers("SHOP__COLOUR") && !COLOUR.covers("SHOP_COLOUR"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "SHOP_EAST_COLOUR=green\n").unwrap();
        assert!(
            Env::load(Some(file.path()), &[COLOUR]).is_ok()
                && Env::load(Some(file.path()), &[SECRET]).is_err()
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let printed =
            print(&env(&[("DATABASE_URL", "postgres://a:b@c/d"), ("NATS_URL", "nats://u:p@h")]), SETTINGS);
        assert!(printed.contains("* DATABASE_URL=***\n"), "{printed}");
        assert!(printed.contains("* NATS_URL=nats://***@h\n"), "{printed}");
        assert!(printed.contains("  LECTERN_SECRETS_FILE=(absent)\n"), "{printed}");
    }
}
