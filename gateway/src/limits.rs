//! Rate limits, local to each gateway (architecture §7): per address when anonymous, per token else.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::LimitProfile;

/// Requests a minute of a token (architecture §13).
const PER_TOKEN: NonZeroU32 = NonZeroU32::new(600).expect("not zero");
/// Keys kept before old ones are dropped: memory stays bounded under a flood of addresses.
const MOST_KEYS: usize = 100_000;

type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock>;

/// The limits in force; none when they are lifted.
pub(crate) struct Limits(Option<Buckets>);

struct Buckets {
    addresses: Keyed<IpAddr>,
    tokens: Keyed<[u8; 16]>,
    clock: DefaultClock,
}

impl Limits {
    /// `per_address`: requests a minute of an anonymous address (seed 001, I-084).
    pub fn new(profile: LimitProfile, per_address: NonZeroU32) -> Limits {
        Limits((profile == LimitProfile::Seed).then(|| Buckets {
            addresses: RateLimiter::keyed(Quota::per_minute(per_address)),
            tokens: RateLimiter::keyed(Quota::per_minute(PER_TOKEN)),
            clock: DefaultClock::default(),
        }))
    }

    /// Takes one from the address's bucket; on refusal, seconds to wait.
    pub fn take_address(&self, address: IpAddr) -> Result<(), u32> {
        let Some(buckets) = &self.0 else { return Ok(()) };
        bound(&buckets.addresses);
        buckets
            .addresses
            .check_key(&address)
            .map_err(|not_until| seconds(not_until.wait_time_from(buckets.clock.now())))
    }

    /// Takes one from the bucket of a user; on refusal, seconds to wait.
    pub fn take_user(&self, user: [u8; 16]) -> Result<(), u32> {
        let Some(buckets) = &self.0 else { return Ok(()) };
        bound(&buckets.tokens);
        buckets
            .tokens
            .check_key(&user)
            .map_err(|not_until| seconds(not_until.wait_time_from(buckets.clock.now())))
    }
}

fn bound<K: std::hash::Hash + Eq + Clone>(limiter: &Keyed<K>) {
    if limiter.len() > MOST_KEYS {
        limiter.retain_recent();
    }
}

fn seconds(wait: std::time::Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
}
