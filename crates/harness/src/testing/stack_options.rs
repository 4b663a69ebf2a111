//! How a test wants its Lectern.

use std::collections::BTreeMap;

/// What to start and with which settings.
#[derive(Debug, Clone)]
pub struct StackOptions {
    pub(super) processes: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

impl Default for StackOptions {
    /// One process with all roles, `ENVIRONMENT=test`, `GATEWAY_LIMITS=relaxed`, and every feature that can be switched off
    /// switched on.
    fn default() -> StackOptions {
        let env = [
            ("ENVIRONMENT", "test"),
            ("GATEWAY_LIMITS", "relaxed"),
            ("ENABLE_TWO_FACTOR_AUTH", "true"),
            ("PASSKEYS_ENABLED", "true"),
            ("LOG_LEVEL", "info"),
            ("LOG_FORMAT", "text"),
        ];
        StackOptions {
            processes: vec!["all".to_owned()],
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
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
    pub fn limits(self, profile: &str) -> StackOptions {
        self.env("GATEWAY_LIMITS", profile)
    }
}
