//! Access and refresh tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use lectern_core::jwt::{AUDIENCE, Claims, ISSUER};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::TokenPair;
use ring::digest::{SHA256, digest};

use crate::app::{App, Fault};
use crate::signing_keys::KeyRing;
use crate::vault::Vault;

/// The client that tokens are issued to, until there are registered ones.
const CLIENT: &str = "lectern";

/// What a user's access token says of them.
pub(crate) struct Bearer {
    pub user: UserId,
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
        iss: ISSUER.to_owned(),
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
        amr: proof.amr.clone(),
    };
    Ok(TokenPair {
        access_token: ring.sign(&claims, now).map_err(Fault::Broken)?,
        refresh_token,
        token_type: "bearer".to_owned(),
        expires_in: u32::try_from(life.num_seconds()).unwrap_or(u32::MAX),
    })
}
