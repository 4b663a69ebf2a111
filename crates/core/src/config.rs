//! Configuration: each component declares its settings beside it; environment variables override a file; impossible
//! values stop the start and name the variable.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// One variable of the configuration table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// What holds when it is absent; none: required, or switched off, as the help says.
    pub default: Option<&'static str>,
    /// Whether it must never be printed.
    pub secret: bool,
    /// What it means, with unit and range, in one line.
    pub help: &'static str,
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

impl Env {
    /// Variables of the process over those of a file of `NAME=value` lines.
    ///
    /// # Errors
    /// When the file can't be read or has a line that is no assignment.
    pub fn load(file: Option<&Path>) -> Result<Env, ConfigError> {
        let mut values = BTreeMap::new();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&name, e.to_string()))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (key, value) = line.split_once('=').ok_or_else(|| {
                    ConfigError::new(&name, format!("line {}: expected NAME=value", number + 1))
                })?;
                values.insert(key.trim().to_owned(), value.trim().trim_matches('"').to_owned());
            }
        }
        values.extend(std::env::vars());
        Ok(Env { values })
    }

    /// Variables as given, for tests.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Env {
        Env { values: pairs.into_iter().collect() }
    }

    /// The value in force: set, or the default. An empty value counts as absent.
    pub fn get(&self, setting: &Setting) -> Option<&str> {
        self.values.get(setting.name).map(String::as_str).filter(|v| !v.is_empty()).or(setting.default)
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
