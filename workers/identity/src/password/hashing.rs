//! Argon2id in a bounded pool (`spec/reliability.md` J3): hashing never takes more cores than it was given, and a
//! password that waits longer than its request does is not hashed at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::legacy;
use crate::vault::Vault;

/// A waiting request gives up this much before its deadline, so that it can still say so.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);

/// Hashes one password outside any pool, for a command that does nothing else.
pub(crate) async fn hash_once(params: Params, password: String, salt: [u8; 16]) -> anyhow::Result<String> {
    tokio::task::spawn_blocking(move || hash(&params, password.as_bytes(), &salt)).await?
}

/// The pool.
pub(crate) struct Hashing {
    permits: Arc<Semaphore>,
    params: Params,
    /// Compared with where there is no account, so that this takes as long as a wrong password.
    dummy: String,
}

/// Why nothing was hashed.
#[derive(Debug)]
pub(crate) enum NotHashed {
    /// No place became free in time.
    Busy,
    /// Our fault.
    Broken(anyhow::Error),
}

/// What came of comparing a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the one.
    Right,
    /// It is the one, hashed with other parameters than those in force.
    RightButOld,
    /// It is not.
    Wrong,
}

impl Hashing {
    /// A pool of `size` places with these parameters.
    pub fn new(size: usize, params: Params, vault: &Vault) -> anyhow::Result<Hashing> {
        let unguessable = vault.random::<32>()?;
        let dummy = hash(&params, &unguessable, &vault.random::<16>()?)?;
        Ok(Hashing { permits: Arc::new(Semaphore::new(size)), params, dummy })
    }

    /// The PHC string of a new password.
    pub async fn hash(
        &self,
        password: &str,
        salt: [u8; 16],
        time_left: Duration,
    ) -> Result<String, NotHashed> {
        let (password, params) = (password.to_owned(), self.params.clone());
        let hashed = self.in_pool(time_left, move || hash(&params, password.as_bytes(), &salt)).await?;
        hashed.map_err(NotHashed::Broken)
    }

    /// Compares a password with a PHC string; without one, with a hash that no password has.
    pub async fn verify(
        &self,
        password: &str,
        stored: Option<&str>,
        time_left: Duration,
    ) -> Result<Verdict, NotHashed> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.dummy).to_owned();
        let (password, params) = (password.to_owned(), self.params.clone());
        let verdict = self.in_pool(time_left, move || verify(&params, password.as_bytes(), &stored)).await?;
        match verdict {
            Ok(verdict) if known => Ok(verdict),
            Ok(_) => Ok(Verdict::Wrong),
            Err(error) => Err(NotHashed::Broken(error)),
        }
    }

    async fn in_pool<T: Send + 'static>(
        &self,
        time_left: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotHashed> {
        metrics::gauge!("user_password_hash_queue_depth").increment(1);
        let patience = time_left.saturating_sub(TIME_TO_ANSWER);
        let permit = tokio::time::timeout(patience, self.permits.clone().acquire_owned()).await;
        metrics::gauge!("user_password_hash_queue_depth").decrement(1);
        let permit = permit.map_err(|_| NotHashed::Busy)?.map_err(|e| NotHashed::Broken(e.into()))?;
        let done = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let done = job();
            metrics::histogram!("user_password_hash_duration_seconds").record(started.elapsed());
            // given back by the thread that hashes: a caller who hangs up must not make room for another
            drop(permit);
            done
        });
        done.await.map_err(|error| NotHashed::Broken(error.into()))
    }
}

fn argon2id(params: &Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
}

fn hash(params: &Params, password: &[u8], salt: &[u8; 16]) -> anyhow::Result<String> {
    let hashed: PasswordHash = argon2id(params)
        .hash_password_with_salt(password, salt)
        .map_err(|error| anyhow!("hashing: {error}"))?;
    Ok(hashed.to_string())
}

fn verify(params: &Params, password: &[u8], stored: &str) -> anyhow::Result<Verdict> {
    if legacy::is_bcrypt(stored) {
        let right = legacy::verify(password, stored)?;
        return Ok(if right { Verdict::RightButOld } else { Verdict::Wrong });
    }
    let parsed = PasswordHash::new(stored).map_err(|error| anyhow!("a stored password hash: {error}"))?;
    match argon2id(params).verify_password(password, &parsed) {
        Ok(()) => {
            let current = Params::try_from(&parsed).is_ok_and(|used| {
                (used.m_cost(), used.t_cost(), used.p_cost())
                    == (params.m_cost(), params.t_cost(), params.p_cost())
            });
            Ok(if current { Verdict::Right } else { Verdict::RightButOld })
        }
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(anyhow!("comparing a password: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    const LONG: Duration = Duration::from_secs(60);

    fn pool(size: usize, memory: u32) -> Hashing {
        Hashing::new(size, Params::new(memory, 1, 1, None).unwrap(), &vault(1)).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_told_from_another_and_no_account_from_none() {
        let pool = pool(1, 64);
        let stored = pool.hash("Correct-Horse-7!", [1; 16], LONG).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert_eq!(pool.verify("Correct-Horse-7!", Some(&stored), LONG).await.unwrap(), Verdict::Right);
        assert_eq!(pool.verify("correct-Horse-7!", Some(&stored), LONG).await.unwrap(), Verdict::Wrong);
        assert_eq!(pool.verify("Correct-Horse-7!", None, LONG).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_is_right_but_old() {
        let stored = pool(1, 64).hash("Correct-Horse-7!", [1; 16], LONG).await.unwrap();
        let verdict = pool(1, 128).verify("Correct-Horse-7!", Some(&stored), LONG).await.unwrap();
        assert_eq!(verdict, Verdict::RightButOld);
    }

    #[tokio::test]
    async fn j3_the_dummy_has_the_live_parameters() {
        assert!(pool(1, 96).dummy.starts_with("$argon2id$v=19$m=96,t=1,p=1$"));
    }

    #[tokio::test]
    async fn j3_a_place_is_kept_by_the_hashing_thread_and_a_waiting_request_gives_up_in_time() {
        let pool = Arc::new(pool(1, 64));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = pool.clone();
        let caller = tokio::spawn(async move { busy.in_pool(LONG, move || held.recv()).await.is_ok() });
        while pool.permits.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // the caller hangs up; its thread still works
        caller.abort();
        assert!(caller.await.is_err());
        let waited = pool.hash("x", [1; 16], TIME_TO_ANSWER + Duration::from_millis(20)).await;
        assert!(matches!(waited, Err(NotHashed::Busy)));
        release.send(()).unwrap();
        assert!(pool.hash("x", [1; 16], LONG).await.is_ok());
    }
}
