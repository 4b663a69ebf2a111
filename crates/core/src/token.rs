//! The token check that every role makes, gateway and workers alike: no service believes a bare header.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use lectern_subjects::identity::{CheckToken, IdentityRefusal};
use moka::sync::Cache;
use ring::digest::{SHA256, digest};

use crate::bus::{Bus, Outgoing};
use crate::call::Caller;
use crate::clock::Clock;
use crate::error::CallError;
use crate::jwt::{self, BadToken, Claims};
use crate::keys::Keys;
use crate::revocation::Revocations;

/// Tokens whose signature is remembered.
const REMEMBERED: u64 = 100_000;

/// Checks access tokens; cheap to clone.
#[derive(Clone)]
pub struct TokenCheck {
    bus: Bus,
    clock: Clock,
    keys: Keys,
    revocations: Revocations,
    verified: Cache<[u8; 32], Arc<Verified>>,
}

struct Verified {
    caller: Arc<Caller>,
    uv: i64,
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// The answer is 401 with this code.
    #[error("{0}")]
    Refused(IdentityRefusal),
    /// It can't be told right now: 503, never a guess.
    #[error("{0}")]
    Unavailable(#[from] CallError),
}

impl TokenCheck {
    /// A check that fetches its keys over this bus.
    pub fn new(bus: Bus, clock: Clock, revocations: Revocations) -> TokenCheck {
        let keys = Keys::new(bus.clone(), clock.clone());
        TokenCheck { bus, clock, keys, revocations, verified: Cache::new(REMEMBERED) }
    }

    /// The revocations that it goes by.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Who the bearer of this token is. Signature and claims are checked once and remembered by the token's hash;
    /// expiry and revocation are checked every time.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub async fn check(&self, token: &str) -> Result<Arc<Caller>, TokenFault> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let verified = match self.verified.get(&hash) {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.verify(token).await?);
                self.verified.insert(hash, verified.clone());
                verified
            }
        };
        let caller = &verified.caller;
        if caller.expires_at <= self.clock.now() {
            self.verified.invalidate(&hash);
            return Err(TokenFault::Refused(IdentityRefusal::TokenExpired));
        }
        if self.revocations.is_revoked(caller.sid, caller.user, verified.uv) {
            return Err(TokenFault::Refused(IdentityRefusal::TokenRevoked));
        }
        if self.revocations.is_stale() {
            self.ask_identity(caller, verified.uv).await?;
        }
        Ok(caller.clone())
    }

    async fn verify(&self, token: &str) -> Result<Verified, TokenFault> {
        let started = Instant::now();
        let kid = jwt::key_id(token).map_err(refusal)?;
        let key = self.keys.get(&kid).await?.ok_or(TokenFault::Refused(IdentityRefusal::TokenInvalid))?;
        let verified = jwt::verify(token, &key).map_err(refusal);
        metrics::histogram!("user_token_verification_duration_seconds").record(started.elapsed());
        let claims = verified?;
        Ok(Verified { uv: claims.uv, caller: Arc::new(caller_of(claims)) })
    }

    /// The watcher is stale: identity decides, synchronously (architecture §8).
    async fn ask_identity(&self, caller: &Caller, uv: i64) -> Result<(), TokenFault> {
        let asked = CheckToken { sid: caller.sid, user: caller.user, uv };
        let state = self.bus.call_with(Outgoing::own(&self.clock), &asked).await?;
        if state.active { Ok(()) } else { Err(TokenFault::Refused(IdentityRefusal::TokenRevoked)) }
    }
}

fn refusal(bad: BadToken) -> TokenFault {
    TokenFault::Refused(match bad {
        BadToken::Expired => IdentityRefusal::TokenExpired,
        BadToken::Invalid | BadToken::UnknownKey => IdentityRefusal::TokenInvalid,
    })
}

fn caller_of(claims: Claims) -> Caller {
    Caller {
        user: claims.sub,
        sid: claims.sid,
        roles: claims.roles,
        email_verified: claims.email_verified,
        auth_time: DateTime::<Utc>::from_timestamp(claims.auth_time, 0).unwrap_or_default(),
        expires_at: DateTime::<Utc>::from_timestamp(claims.exp, 0).unwrap_or_default(),
    }
}
