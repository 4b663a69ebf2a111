//! How a test wants its Lectern.

use std::collections::BTreeMap;

/// Identity's limits per client address: with their defaults they are those of the seeds.
const ADDRESS_LIMITS: [&str; 3] = ["LOGIN_RATE", "REGISTER_RATE", "LETTER_RATE"];

/// The variables of a profile of rate limits: `seed` as in production; `relaxed` and `load` none per address or user, so
/// that everything can come from one machine.
pub fn limits(profile: &str) -> Vec<(String, String)> {
    let mut variables = vec![("GATEWAY_LIMITS".to_owned(), profile.to_owned())];
    if profile != "seed" {
        variables.extend(ADDRESS_LIMITS.map(|name| (name.to_owned(), "off".to_owned())));
    }
    variables
}

/// What to start and with which settings.
#[derive(Debug, Clone)]
pub struct StackOptions {
    pub(super) processes: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

impl Default for StackOptions {
    /// One process with all roles, `ENVIRONMENT=test`, no limits per address, and every feature that can be switched off
    /// switched on.
    fn default() -> StackOptions {
        let env = [
            ("ENVIRONMENT", "test"),
            ("ENABLE_TWO_FACTOR_AUTH", "true"),
            ("PASSKEYS_ENABLED", "true"),
            ("LOG_LEVEL", "info"),
            ("LOG_FORMAT", "text"),
        ];
        StackOptions {
            processes: vec!["all".to_owned()],
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
        .limits("relaxed")
    }
}

impl StackOptions {
    /// One process per entry, each with a list of roles as `lectern run --roles` takes it: `["gateway", "identity,courses"]`.
    /// An empty list starts the servers only.
    pub fn processes<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> StackOptions {
        self.processes = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable for every process.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> StackOptions {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// The profile of rate limits: `relaxed`, `seed` or `load`.
    pub fn limits(mut self, profile: &str) -> StackOptions {
        self.env.retain(|name, _| !ADDRESS_LIMITS.contains(&name.as_str()));
        self.env.extend(limits(profile));
        self
    }
}
