//! ID tokens (OpenID Connect Core 3.1.3.7): what is believed, and of whom. RS256 is what every provider must know; ES256
//! and EdDSA are better. Signatures are verified by ring with the provider's published keys; nothing is ever verified with a
//! shared secret, so neither `none` nor a client secret in the place of a key does anything.

use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

/// Algorithms of signatures that are believed.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
/// Longest token that is looked at, bytes.
const LONGEST: usize = 16 * 1024;
/// Clocks may differ by this much, seconds.
const LEEWAY_S: f64 = 60.0;
/// A token for an answer of this moment was not made longer ago, seconds.
const OLDEST_S: f64 = 600.0;

/// What a token says of its subject, once it is believed.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    pub sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    #[serde(default)]
    email: Value,
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    name: Value,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Some(Vec<String>),
}

impl Claims {
    /// The address, if the provider has verified that it is the subject's.
    pub fn verified_email(&self) -> Option<&str> {
        // a few write the truth as text
        let verified = self.email_verified == Value::Bool(true) || self.email_verified == "true";
        self.email.as_str().filter(|_| verified)
    }

    /// What the subject is called.
    pub fn name(&self) -> Option<&str> {
        self.name.as_str()
    }
}

/// Whom a token must be from, for whom, and for which request.
pub(crate) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: DateTime<Utc>,
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadIdToken {
    /// The keys at hand may be old.
    #[error("signed with a key that the provider does not publish")]
    UnknownKey,
    /// It answers another request.
    #[error("its nonce is not the one that was sent")]
    Nonce,
    #[error("{0}")]
    Invalid(&'static str),
}

/// Verifies a token.
///
/// # Errors
/// [`BadIdToken`].
pub(crate) fn verify(token: &str, keys: &[Jwk], expected: &Expected<'_>) -> Result<Claims, BadIdToken> {
    lectern_core::jwt::install();
    let invalid = |reason| move |_: jsonwebtoken::errors::Error| BadIdToken::Invalid(reason);
    if token.len() > LONGEST {
        return Err(BadIdToken::Invalid("longer than any token"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(invalid("no token with a signature"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(BadIdToken::Invalid("signed by an algorithm that is not believed"));
    }
    // explicit types keep tokens of other kinds out (RFC 8725, 3.11); extensions that must be known are not (RFC 7515, 4.1.11)
    if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) || header.crit.is_some() {
        return Err(BadIdToken::Invalid("of another type"));
    }
    let key = key(keys, header.alg, header.kid.as_deref())?;
    let mut rules = Validation::new(header.alg);
    // all claims are checked below, with the clock that everything else goes by
    rules.required_spec_claims.clear();
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let verified = jsonwebtoken::decode::<Claims>(token, &key, &rules);
    let claims = verified.map_err(invalid("its signature or a claim is not good"))?.claims;
    check(&claims, expected)?;
    Ok(claims)
}

/// The published key for a token. Without a key id there must be one that fits, and no other.
fn key(keys: &[Jwk], algorithm: Algorithm, kid: Option<&str>) -> Result<DecodingKey, BadIdToken> {
    let fits = |key: &&Jwk| {
        let for_signatures = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let its_own = key.common.key_algorithm;
        for_signatures
            && its_own.is_none_or(|its_own| its_own.to_string() == format!("{algorithm:?}"))
            && DecodingKey::from_jwk(key).is_ok_and(|made| made.family() == algorithm.family())
            && (kid.is_none() || key.common.key_id.as_deref() == kid)
    };
    let mut fitting = keys.iter().filter(fits);
    let key = fitting.next().ok_or(BadIdToken::UnknownKey)?;
    if fitting.next().is_some() {
        return Err(BadIdToken::Invalid("several keys could have signed it"));
    }
    DecodingKey::from_jwk(key).map_err(|_| BadIdToken::UnknownKey)
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), BadIdToken> {
    #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
    let now = expected.now.timestamp() as f64;
    let only_us = match &claims.aud {
        Audience::One(one) => one == expected.client_id,
        // we trust no other audience (3.1.3.7, 3)
        Audience::Some(all) => !all.is_empty() && all.iter().all(|one| one == expected.client_id),
    };
    let rules = [
        (claims.iss == expected.issuer, "from another issuer"),
        (only_us, "for another client"),
        (claims.azp.as_deref().is_none_or(|azp| azp == expected.client_id), "issued to another client"),
        (claims.exp > now - LEEWAY_S, "expired"),
        (claims.iat <= now + LEEWAY_S, "from the future"),
        (claims.iat >= now - OLDEST_S, "made long ago"),
        (claims.nbf.is_none_or(|nbf| nbf <= now + LEEWAY_S), "not valid yet"),
        ((1..=255).contains(&claims.sub.len()), "without a subject"),
    ];
    if let Some((_, reason)) = rules.iter().find(|(kept, _)| !kept) {
        return Err(BadIdToken::Invalid(reason));
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(BadIdToken::Nonce);
    }
    Ok(())
}
