//! Access and refresh tokens.

pub(crate) mod check;
pub(crate) mod introspect;
pub(crate) mod keys_rotate;
pub(crate) mod revoke;
pub(crate) mod service_token;
pub(crate) mod signing_keys;
pub(crate) mod userinfo;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use lectern_core::jwt::{AUDIENCE, Claims};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::TokenPair;
use ring::digest::{SHA256, digest};

use crate::app::{App, Fault};
use crate::token::signing_keys::KeyRing;
use crate::vault::Vault;

/// The client that tokens are issued to, until there are registered ones.
pub(crate) const CLIENT: &str = "lectern";

/// What a user's access token says of them.
pub(crate) struct Bearer {
    pub user: UserId,
    pub email: String,
    pub role: Role,
    pub roles: Vec<Role>,
    pub is_verified: bool,
    pub uv: i64,
}

/// How and when somebody proved who they are.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub at: DateTime<Utc>,
    /// Authentication methods (RFC 8176).
    pub amr: Vec<String>,
}

/// A refresh token as it is stored.
pub(crate) type RefreshHash = [u8; 32];

/// A new refresh token, 256 random bits, and what is stored of it.
pub(crate) fn new_refresh(vault: &Vault) -> anyhow::Result<(String, RefreshHash)> {
    let token = URL_SAFE_NO_PAD.encode(vault.random::<32>()?);
    let hash = refresh_hash(&token);
    Ok((token, hash))
}

/// SHA-256 of a refresh token; no salt or key is needed for something that can't be guessed (J5).
pub(crate) fn refresh_hash(token: &str) -> RefreshHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// The authenticator assurance level (NIST SP 800-63B) of a sign-in: the second when more than one factor was used, which
/// its methods say with `mfa` (RFC 8176).
fn assurance(amr: &[String]) -> &'static str {
    if amr.iter().any(|method| method == "mfa") { "aal2" } else { "aal1" }
}

/// A pair for a session.
pub(crate) fn pair(
    app: &App,
    ring: &KeyRing,
    bearer: &Bearer,
    sid: AuthSessionId,
    proof: &Proof,
    refresh_token: String,
    now: DateTime<Utc>,
) -> Result<TokenPair, Fault> {
    let life = app.settings().access_life;
    let claims = Claims {
        iss: app.settings().issuer.clone(),
        aud: AUDIENCE.to_owned(),
        sub: bearer.user,
        sid,
        jti: app.clock().new_id(),
        iat: now.timestamp(),
        nbf: now.timestamp(),
        exp: (now + life).timestamp(),
        client_id: CLIENT.to_owned(),
        roles: bearer.roles.clone(),
        role: bearer.role,
        user_id: bearer.user,
        email_verified: bearer.is_verified,
        uv: bearer.uv,
        auth_time: proof.at.timestamp(),
        acr: Some(assurance(&proof.amr).to_owned()),
        amr: proof.amr.clone(),
        email: app.settings().email_in_token.then(|| bearer.email.clone()),
    };
    Ok(TokenPair {
        access_token: ring.sign(&claims, now).map_err(Fault::Broken)?,
        refresh_token,
        token_type: "bearer".to_owned(),
        expires_in: u32::try_from(life.num_seconds()).unwrap_or(u32::MAX),
        device_token: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9068_two_factors_make_the_second_assurance_level() {
        let methods = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(assurance(&methods(&["pwd"])), "aal1");
        assert_eq!(assurance(&methods(&["pwd", "otp", "mfa"])), "aal2");
    }
}
