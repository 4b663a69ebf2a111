//! The secrets file: one JSON object, readable by its owner only, made and extended by `lectern secrets init`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lectern_core::config::{self, Env};
use nkeys::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::roles;

/// Who else connects to the broker: the development tools user, the provisioner, the watcher of the system account, and
/// identity while it erases a person.
pub const OTHER_NATS_USERS: [&str; 4] = ["tools", "admin", "system", "eraser"];

/// Every secret of one installation.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Password of each role's PostgreSQL role.
    #[serde(default)]
    pub database: BTreeMap<String, String>,
    /// nkey seed of each user of the broker.
    #[serde(default)]
    pub nats: BTreeMap<String, String>,
    /// The keys that encrypt what identity keeps secret, comma-separated: 32 bytes each, base64. The first seals, all open.
    #[serde(default)]
    pub kek: Option<String>,
    /// The key of identity's hashes: 32 bytes, base64. Files from before it was there have none: `kek` is that, too.
    #[serde(default)]
    pub identity_hash_key: Option<String>,
    /// Keys of media URLs, 32 bytes in base64 by key id; the greatest id signs, all verify.
    #[serde(default)]
    pub media_signing_keys: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads the file that the configuration names; none when it names none.
    ///
    /// # Errors
    /// When it can't be read, others may read it, or it is no secrets file.
    pub fn load(env: &Env) -> anyhow::Result<Option<Secrets>> {
        match env.get(&config::SECRETS_FILE) {
            Some(path) => Ok(Some(Secrets::read(Path::new(path)).context(config::SECRETS_FILE.name)?)),
            None => Ok(None),
        }
    }

    /// The same where nothing works without.
    ///
    /// # Errors
    /// As [`Secrets::load`], and when the configuration names none.
    pub fn require(env: &Env) -> anyhow::Result<Secrets> {
        Secrets::load(env)?.with_context(|| {
            format!(
                "{} is required here; `lectern secrets init --file F` makes one",
                config::SECRETS_FILE.name
            )
        })
    }

    /// Reads one file.
    ///
    /// # Errors
    /// When it can't be read, others may read it, or it is no secrets file.
    pub fn read(path: &Path) -> anyhow::Result<Secrets> {
        let shown = path.display();
        let mode = fs::metadata(path).with_context(|| format!("reading {shown}"))?.permissions().mode();
        ensure!(mode & 0o007 == 0, "{shown} may be read by everyone: chmod 600 it, and renew what is in it");
        let text = fs::read(path).with_context(|| format!("reading {shown}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{shown} is no secrets file"))
    }

    /// Writes the file so that it is never seen half-written or by others.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            if new.exists() {
                fs::remove_file(&new)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// Adds what is missing; answers the names of what was added.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn extend(&mut self) -> anyhow::Result<Vec<String>> {
        let mut added = Vec::new();
        for role in roles::ROLES.iter().filter(|role| role.migrations.is_some()) {
            if !self.database.contains_key(role.name) {
                self.database.insert(role.name.to_owned(), hex::encode(random::<24>()?));
                added.push(format!("database password of {}", role.name));
            }
        }
        for user in roles::ROLES.iter().map(|role| role.name).chain(OTHER_NATS_USERS) {
            if !self.nats.contains_key(user) {
                self.nats.insert(user.to_owned(), KeyPair::new_user().seed()?);
                added.push(format!("broker key of {user}"));
            }
        }
        if self.kek.is_none() {
            self.kek = Some(BASE64_STANDARD.encode(random::<32>()?));
            added.push("key encryption key".to_owned());
            // never added to an older file: its hashes would fit nothing any more
            self.identity_hash_key = Some(BASE64_STANDARD.encode(random::<32>()?));
            added.push("hash key of identity".to_owned());
        }
        if self.media_signing_keys.is_empty() {
            self.media_signing_keys.insert("k1".to_owned(), BASE64_STANDARD.encode(random::<32>()?));
            added.push("media signing key k1".to_owned());
        }
        Ok(added)
    }

    /// Puts the secrets that components read from their settings where they look for them.
    pub fn fill(&self, env: &mut Env) {
        if let Some(kek) = &self.kek {
            env.fill("IDENTITY_KEK", kek.clone());
        }
        if let Some(key) = &self.identity_hash_key {
            env.fill("IDENTITY_HASH_KEY", key.clone());
        }
        if let Some(eraser) = self.nats.get("eraser") {
            env.fill("IDENTITY_ERASER_NKEY", eraser.clone());
        }
        if !self.media_signing_keys.is_empty() {
            let newest_first = self.media_signing_keys.iter().rev();
            let keys: Vec<String> = newest_first.map(|(kid, key)| format!("{kid}:{key}")).collect();
            env.fill("MEDIA_SIGNING_KEYS", keys.join(","));
        }
    }

    /// The public key of a user of the broker.
    ///
    /// # Errors
    /// When the file has no such user or its seed is damaged.
    pub fn public_key(&self, user: &str) -> anyhow::Result<String> {
        let seed = self.nats.get(user).with_context(|| {
            format!("the secrets file has no broker key of {user}; `lectern secrets init` adds it")
        })?;
        Ok(KeyPair::from_seed(seed).with_context(|| format!("the broker key of {user}"))?.public_key())
    }
}

/// Random bytes.
///
/// # Errors
/// When the system has none.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().context("the system has no randomness")?;
    Ok(bytes)
}
