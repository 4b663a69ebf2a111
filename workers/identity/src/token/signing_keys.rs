//! The keys that sign access tokens (`spec/protocols.md` P10): in a table, sealed, cached in each process.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::jwt::{self, BadToken, Claims};
use lectern_core::{Call, Clock, Outcome};
use lectern_subjects::identity::{GetJwks, Jwk, Jwks};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sqlx::{PgPool, query};
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::vault::Vault;

/// How long a process goes by the keys that it has read.
pub(crate) const REFRESH: Duration = Duration::from_secs(5);

/// The keys as this process last read them.
#[derive(Default)]
pub(crate) struct SigningKeys(RwLock<Option<(Instant, Arc<KeyRing>)>>);

/// All keys in force, newest first.
pub(crate) struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    kid: String,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
    not_before: DateTime<Utc>,
}

/// Answers the public keys.
pub async fn jwks(app: App, _call: Call, _req: GetJwks) -> Outcome<GetJwks> {
    Ok(app.key_ring().await?.jwks())
}

/// Keeps the cache current, and makes the first key when there is none.
pub async fn refresh(app: App) -> anyhow::Result<()> {
    let ring = read(app.pool(), app.vault(), app.clock()).await?;
    app.keys().store(ring);
    Ok(())
}

impl App {
    /// The keys in force, at most a few seconds old.
    pub(crate) async fn key_ring(&self) -> Result<Arc<KeyRing>, Fault> {
        if let Some(ring) = self.keys().fresh() {
            return Ok(ring);
        }
        let ring = read(self.pool(), self.vault(), self.clock()).await.map_err(Fault::Broken)?;
        Ok(self.keys().store(ring))
    }
}

impl SigningKeys {
    fn fresh(&self) -> Option<Arc<KeyRing>> {
        let cached = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // twice the sweep's pace: a sweep that is a moment late costs no request a query
        cached.as_ref().filter(|(read, _)| read.elapsed() < 2 * REFRESH).map(|(_, ring)| ring.clone())
    }

    fn store(&self, ring: KeyRing) -> Arc<KeyRing> {
        let ring = Arc::new(ring);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ring.clone()));
        ring
    }
}

impl KeyRing {
    /// Signs with the newest key that has begun to sign.
    pub fn sign(&self, claims: &Claims, now: DateTime<Utc>) -> anyhow::Result<String> {
        let key = self.signer(now)?;
        Ok(jwt::sign(claims, &key.kid, &key.pkcs8)?)
    }

    /// Verifies an access token by the keys in force, everything but revocation.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn verify(&self, token: &str, issuer: &str) -> Result<Claims, BadToken> {
        let kid = jwt::key_id(token)?;
        let key = self.keys.iter().find(|key| key.kid == kid).ok_or(BadToken::UnknownKey)?;
        jwt::verify(token, &jwt::public_key(&URL_SAFE_NO_PAD.encode(&key.public))?, issuer)
    }

    /// The id of the key that signs at this moment.
    pub fn kid(&self, now: DateTime<Utc>) -> anyhow::Result<&str> {
        Ok(&self.signer(now)?.kid)
    }

    fn signer(&self, now: DateTime<Utc>) -> anyhow::Result<&Key> {
        self.keys.iter().find(|key| key.not_before <= now).context("no signing key is in force")
    }

    fn jwks(&self) -> Jwks {
        let keys = self.keys.iter().map(|key| Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: "EdDSA".to_owned(),
            r#use: "sig".to_owned(),
            kid: key.kid.clone(),
            x: URL_SAFE_NO_PAD.encode(&key.public),
        });
        Jwks { keys: keys.collect() }
    }
}

/// Reads the keys in force, and makes the first one when there is none.
pub(crate) async fn read(pool: &PgPool, vault: &Vault, clock: &Clock) -> anyhow::Result<KeyRing> {
    let ring = stored(pool, vault, clock.now()).await?;
    if !ring.keys.is_empty() {
        return Ok(ring);
    }
    make_first(pool, vault, clock).await?;
    stored(pool, vault, clock.now()).await
}

async fn stored(pool: &PgPool, vault: &Vault, now: DateTime<Utc>) -> anyhow::Result<KeyRing> {
    let rows = query!(
        "SELECT kid, private_sealed, public_key, not_before FROM identity.signing_keys
         WHERE retire_at IS NULL OR retire_at > $1 ORDER BY generation DESC",
        now
    )
    .fetch_all(pool)
    .await?;
    let keys = rows.into_iter().map(|row| {
        let pkcs8 = vault.open(&place(&row.kid), &row.private_sealed).context("a signing key")?;
        Ok(Key { kid: row.kid, pkcs8, public: row.public_key, not_before: row.not_before })
    });
    Ok(KeyRing { keys: keys.collect::<anyhow::Result<_>>()? })
}

/// A key that is not stored yet.
pub(crate) struct NewKey {
    pub kid: Uuid,
    /// PKCS#8, sealed.
    pub private_sealed: Vec<u8>,
    pub public: Vec<u8>,
}

impl NewKey {
    /// # Errors
    /// When the system gives no random bytes.
    pub fn make(vault: &Vault, clock: &Clock) -> anyhow::Result<NewKey> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .map_err(|_| anyhow!("the system gives no random bytes"))?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|e| anyhow!("a new key: {e}"))?;
        let kid = clock.new_id();
        let private_sealed = vault.seal(&place(&kid.to_string()), pkcs8.as_ref())?;
        Ok(NewKey { kid, private_sealed, public: pair.public_key().as_ref().to_vec() })
    }
}

/// Makes the first key. Of processes that do so together one wins, by the constraint, and all then read the winner's.
/// The first key signs also for a sign-in that began a moment before there was one.
const BEFORE_THE_FIRST: TimeDelta = TimeDelta::minutes(1);

async fn make_first(pool: &PgPool, vault: &Vault, clock: &Clock) -> anyhow::Result<()> {
    let NewKey { kid, private_sealed, public } = NewKey::make(vault, clock)?;
    let now = clock.now();
    let made = query!(
        "INSERT INTO identity.signing_keys
             (kid, generation, alg, private_sealed, public_key, created_at, not_before)
         VALUES ($1, 1, 'EdDSA', $2, $3, $4, $5)
         ON CONFLICT (generation) DO NOTHING",
        kid.to_string(),
        private_sealed,
        public,
        now,
        now - BEFORE_THE_FIRST,
    )
    .execute(pool)
    .await?;
    if made.rows_affected() == 1 {
        tracing::info!(%kid, "made the first signing key");
    }
    Ok(())
}

fn place(kid: &str) -> String {
    format!("signing_keys/{kid}")
}
