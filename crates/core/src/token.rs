//! The token check that every role makes, gateway and workers alike: no service believes a bare header.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use lectern_subjects::identity::{CheckToken, IdentityRefusal, VoidReason};
use lectern_subjects::{Refusal, Refused};
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
    issuer: Arc<str>,
}

struct Verified {
    caller: Arc<Caller>,
    uv: i64,
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// The answer is 401 with this code, and `details.reason` when the token is genuine but void.
    #[error("{0}")]
    Refused(Refused<IdentityRefusal>),
    /// It can't be told right now: 503, never a guess.
    #[error("{0}")]
    Unavailable(#[from] CallError),
}

impl TokenCheck {
    /// A check that fetches its keys over this bus.
    pub fn new(bus: Bus, clock: Clock, revocations: Revocations) -> TokenCheck {
        let keys = Keys::new(bus.clone(), clock.clone());
        let verified = Cache::new(REMEMBERED);
        TokenCheck { bus, clock, keys, revocations, verified, issuer: jwt::ISSUER.into() }
    }

    /// The same for tokens of this issuer ([`jwt::issuer`]) and no other.
    #[must_use]
    pub fn issued_by(self, issuer: &str) -> TokenCheck {
        // what another issuer's check remembers is not for this one
        TokenCheck { issuer: issuer.into(), verified: Cache::new(REMEMBERED), ..self }
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
            return Err(TokenFault::Refused(IdentityRefusal::TokenExpired.into()));
        }
        if let Some(reason) = self.revocations.void(caller.sid, caller.user, verified.uv) {
            return Err(void(reason));
        }
        if self.revocations.is_stale() {
            self.ask_identity(caller, verified.uv).await?;
        }
        self.revocations.has_seen(caller.user, verified.uv);
        Ok(caller.clone())
    }

    async fn verify(&self, token: &str) -> Result<Verified, TokenFault> {
        let started = Instant::now();
        let kid = jwt::key_id(token).map_err(refusal)?;
        let key = self.keys.get(&kid).await?.ok_or_else(|| refusal(BadToken::UnknownKey))?;
        let verified = jwt::verify(token, &key, &self.issuer).map_err(refusal);
        metrics::histogram!("user_token_verification_duration_seconds").record(started.elapsed());
        let claims = verified?;
        Ok(Verified { uv: claims.uv, caller: Arc::new(caller_of(claims)) })
    }

    /// The watcher is stale: identity decides, synchronously (architecture §8).
    async fn ask_identity(&self, caller: &Caller, uv: i64) -> Result<(), TokenFault> {
        let asked = CheckToken { sid: caller.sid, user: caller.user, uv };
        let state = self.bus.call_with(Outgoing::own(&self.clock), &asked).await?;
        if state.active { Ok(()) } else { Err(void(state.reason.unwrap_or(VoidReason::Revoked))) }
    }
}

fn refusal(bad: BadToken) -> TokenFault {
    let refusal = match bad {
        BadToken::Expired => IdentityRefusal::TokenExpired,
        BadToken::Invalid | BadToken::UnknownKey => IdentityRefusal::TokenInvalid,
    };
    TokenFault::Refused(refusal.into())
}

/// A client that reads `stale_claims` refreshes silently; any other reason asks for a new sign-in (`spec/protocols.md` P4).
fn void(reason: VoidReason) -> TokenFault {
    TokenFault::Refused(IdentityRefusal::TokenRevoked.because(serde_json::json!({ "reason": reason })))
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
