//! Argon2id in a bounded pool (`spec/reliability.md` J3): hashing never takes more cores than it was given, and a
//! password that waits longer than its request does is not hashed at all. Memory is kept from one hash to the next: giving
//! 19 MiB back and taking them again costs a fifth of a hash.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use super::legacy;
use crate::vault::Vault;

/// A waiting request gives up this much before its deadline, so that it can still say so.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);
/// Memory that nobody hashed in for this long is given back.
const MEMORY_KEPT: Duration = Duration::from_secs(10);

/// Hashes one password outside any pool, for a command that does nothing else.
pub(crate) async fn hash_once(params: Params, password: String, salt: [u8; 16]) -> anyhow::Result<String> {
    tokio::task::spawn_blocking(move || hash(&mut Memory::new(), &params, password.as_bytes(), &salt)).await?
}

/// The pool. Its threads end when it is dropped.
pub(crate) struct Hashing {
    queue: Sender<Job>,
    params: Params,
    /// Compared with where there is no account, so that this takes as long as a wrong password.
    dummy: String,
}

/// What one thread hashes in.
type Memory = Vec<Block>;
/// What a thread is to do; nothing, where nobody waits for it any more.
type Job = Box<dyn FnOnce(&mut Memory) + Send>;

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
    /// A pool of `size` threads with these parameters.
    ///
    /// # Errors
    /// When there are no more threads to have.
    pub fn new(size: usize, params: Params, vault: &Vault) -> anyhow::Result<Hashing> {
        let unguessable = vault.random::<32>()?;
        let dummy = hash(&mut Memory::new(), &params, &unguessable, &vault.random::<16>()?)?;
        let (queue, jobs) = crossbeam_channel::unbounded::<Job>();
        let kept = Arc::<Kept>::default();
        for _ in 0..size {
            let (jobs, kept) = (jobs.clone(), kept.clone());
            let thread = std::thread::Builder::new().name("password-hash".to_owned());
            thread.spawn(move || work(&jobs, &kept))?;
        }
        Ok(Hashing { queue, params, dummy })
    }

    /// The PHC string of a new password.
    pub async fn hash(
        &self,
        password: &str,
        salt: [u8; 16],
        time_left: Duration,
    ) -> Result<String, NotHashed> {
        let (password, params) = (password.to_owned(), self.params.clone());
        self.in_pool(time_left, move |memory| hash(memory, &params, password.as_bytes(), &salt)).await
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
        let verdict = self
            .in_pool(time_left, move |memory| verify(memory, &params, password.as_bytes(), &stored))
            .await?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    /// Has a thread do `job`, unless the caller is gone by then. What has begun is waited for: it takes no longer than
    /// [`TIME_TO_ANSWER`], and nothing that was hashed is thrown away.
    async fn in_pool<T: Send + 'static>(
        &self,
        time_left: Duration,
        job: impl FnOnce(&mut Memory) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, NotHashed> {
        let ((begin, begun), (reply, done)) = (oneshot::channel(), oneshot::channel());
        let queued = Queued::new();
        let job: Job = Box::new(move |memory| {
            let _until_done = queued;
            if begin.send(()).is_err() {
                return;
            }
            let started = Instant::now();
            let result = job(memory);
            metrics::histogram!("user_password_hash_duration_seconds").record(started.elapsed());
            let _nobody_waits = reply.send(result);
        });
        self.queue.send(job).map_err(|_| NotHashed::Broken(anyhow!("no thread hashes")))?;
        let begun = tokio::time::timeout(time_left.saturating_sub(TIME_TO_ANSWER), begun).await;
        // a sender that is gone has panicked before it began; the result says so, too
        let _started = begun.map_err(|_| NotHashed::Busy)?;
        done.await.unwrap_or_else(|_| Err(anyhow!("a hash panicked"))).map_err(NotHashed::Broken)
    }
}

/// A hash that waits or is computed, as the gauge counts them.
struct Queued;

impl Queued {
    fn new() -> Queued {
        metrics::gauge!("user_password_hash_queue_depth").increment(1);
        Queued
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        metrics::gauge!("user_password_hash_queue_depth").decrement(1);
    }
}

/// Memory between two hashes, used last at the end: as much as was needed at once lately.
#[derive(Default)]
struct Kept(Mutex<Vec<(Instant, Memory)>>);

impl Kept {
    fn take(&self) -> Memory {
        self.with(|kept| kept.pop()).map_or_else(Memory::new, |(_, memory)| memory)
    }

    fn give_back(&self, memory: Memory) {
        self.with(|kept| kept.push((Instant::now(), memory)));
        self.forget_old();
    }

    fn forget_old(&self) {
        let old: Vec<_> = self.with(|kept| {
            let old = kept.iter().take_while(|(used, _)| used.elapsed() >= MEMORY_KEPT).count();
            kept.drain(..old).collect()
        });
        // unmapping takes its time: not under the lock
        drop(old);
    }

    fn with<T>(&self, what: impl FnOnce(&mut Vec<(Instant, Memory)>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One thread of the pool.
fn work(jobs: &Receiver<Job>, kept: &Kept) {
    loop {
        match jobs.recv_timeout(MEMORY_KEPT) {
            Ok(job) => {
                let mut memory = kept.take();
                // the hook has told of a panic, and so does the caller
                let _panicked = catch_unwind(AssertUnwindSafe(|| job(&mut memory)));
                kept.give_back(memory);
            }
            Err(RecvTimeoutError::Timeout) => kept.forget_old(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn hash(memory: &mut Memory, params: &Params, password: &[u8], salt: &[u8; 16]) -> anyhow::Result<String> {
    let broken = |error: argon2::password_hash::Error| anyhow!("hashing: {error}");
    let algorithm = Algorithm::Argon2id;
    let argon2 = Argon2::new(algorithm, Version::V0x13, params.clone());
    let hashed = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(broken)?,
        salt: Some(Salt::new(salt).map_err(|error| broken(error.into()))?),
        hash: Some(output(memory, &argon2, password, salt).map_err(broken)?),
    };
    Ok(hashed.to_string())
}

fn verify(memory: &mut Memory, params: &Params, password: &[u8], stored: &str) -> anyhow::Result<Verdict> {
    if legacy::is_bcrypt(stored) {
        let right = legacy::verify(password, stored)?;
        return Ok(if right { Verdict::RightButOld } else { Verdict::Wrong });
    }
    let parsed = PasswordHash::new(stored).map_err(|error| anyhow!("a stored password hash: {error}"))?;
    let computed =
        recompute(memory, password, &parsed).map_err(|error| anyhow!("comparing a password: {error}"))?;
    // `Output` compares in constant time
    if parsed.hash != Some(computed) {
        return Ok(Verdict::Wrong);
    }
    let current = Params::try_from(&parsed).is_ok_and(|used| {
        (used.m_cost(), used.t_cost(), used.p_cost()) == (params.m_cost(), params.t_cost(), params.p_cost())
    });
    Ok(if current { Verdict::Right } else { Verdict::RightButOld })
}

/// What a password gives with everything else as in a stored hash.
fn recompute(
    memory: &mut Memory,
    password: &[u8],
    stored: &PasswordHash,
) -> Result<Output, argon2::password_hash::Error> {
    let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(algorithm, version, Params::try_from(stored)?);
    let salt = stored.salt.as_deref().ok_or(argon2::password_hash::Error::SaltInvalid)?;
    output(memory, &argon2, password, salt)
}

fn output(
    memory: &mut Memory,
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
) -> Result<Output, argon2::password_hash::Error> {
    let params = argon2.params();
    // every block is written before it is read: what stands there from before does not matter
    let blocks = params.block_count();
    memory.try_reserve_exact(blocks.saturating_sub(memory.len())).map_err(|_| argon2::Error::OutOfMemory)?;
    memory.resize(blocks, Block::new());
    let mut out = [0; Output::MAX_LENGTH];
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let out = out.get_mut(..length).ok_or(argon2::password_hash::Error::OutputSize)?;
    argon2.hash_password_into_with_memory(password, salt, out, memory)?;
    Ok(Output::new(out)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    #[test]
    fn what_was_hashed_before_in_the_same_memory_changes_nothing() {
        let (small, large) =
            (Params::new(64, 2, 1, None).unwrap(), Params::new(256, 3, 2, Some(48)).unwrap());
        let mut used = Memory::new();
        for params in [&large, &small, &large, &large] {
            let again = hash(&mut used, params, b"Correct-Horse-7!", &[1; 16]).unwrap();
            assert_eq!(again, hash(&mut Memory::new(), params, b"Correct-Horse-7!", &[1; 16]).unwrap());
            assert_eq!(verify(&mut used, params, b"Correct-Horse-7!", &again).unwrap(), Verdict::Right);
            assert_eq!(verify(&mut used, params, b"Correct-Horse-8!", &again).unwrap(), Verdict::Wrong);
        }
    }

    #[test]
    fn a_hash_of_the_reference_implementation_is_compared() {
        // phc-winner-argon2's test.c: version 0x13, Argon2id, 256 KiB, two passes
        let known = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let params = Params::new(256, 2, 1, None).unwrap();
        let mut memory = Memory::new();
        assert_eq!(verify(&mut memory, &params, b"password", known).unwrap(), Verdict::Right);
        assert_eq!(verify(&mut memory, &params, b"passwore", known).unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn j3_what_has_begun_in_time_is_answered_however_little_time_is_left() {
        let pool = pool(1, 64);
        let slow = |_: &mut Memory| {
            std::thread::sleep(Duration::from_millis(60));
            Ok("done")
        };
        let barely = TIME_TO_ANSWER + Duration::from_millis(20);
        assert_eq!(pool.in_pool(barely, slow).await.unwrap(), "done");
    }

    #[test]
    fn memory_is_kept_for_as_many_as_hash_at_once_and_no_longer_than_it_is_used() {
        let kept = Kept::default();
        let (one, other) = (kept.take(), kept.take());
        kept.give_back(one);
        kept.give_back(other);
        for _ in 0..10 {
            let memory = kept.take();
            kept.give_back(memory);
        }
        assert_eq!(kept.with(|kept| kept.len()), 2);
        let long_ago = Instant::now().checked_sub(MEMORY_KEPT).unwrap();
        kept.with(|kept| kept[0].0 = long_ago);
        kept.forget_old();
        assert_eq!(kept.with(|kept| kept.len()), 1);
    }

    #[tokio::test]
    async fn a_hash_that_panics_takes_no_thread_with_it() {
        let pool = pool(1, 64);
        let panicked = pool.in_pool::<()>(LONG, |_| panic!("of a test")).await;
        assert!(matches!(panicked, Err(NotHashed::Broken(_))), "{panicked:?}");
        assert!(pool.hash("x", [1; 16], LONG).await.is_ok());
    }

    #[tokio::test]
    async fn j3_a_thread_hashes_one_after_the_other_and_a_waiting_request_gives_up_in_time() {
        let pool = Arc::new(pool(1, 64));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = pool.clone();
        let (begun, has_begun) = oneshot::channel();
        let job = move |_: &mut Memory| {
            begun.send(()).unwrap();
            held.recv().map_err(Into::into)
        };
        let caller = tokio::spawn(async move { busy.in_pool(LONG, job).await.is_ok() });
        has_begun.await.unwrap();
        // the caller hangs up; its thread still works
        caller.abort();
        assert!(caller.await.is_err());
        let waited = pool.hash("x", [1; 16], TIME_TO_ANSWER + Duration::from_millis(20)).await;
        assert!(matches!(waited, Err(NotHashed::Busy)));
        release.send(()).unwrap();
        assert!(pool.hash("x", [1; 16], LONG).await.is_ok());
    }
}
