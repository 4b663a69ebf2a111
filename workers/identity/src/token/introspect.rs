//! What a token is good for (RFC 7662), by signature and by the database: what it says holds at this moment, whatever any
//! watcher has heard. A token that is not good for anything is told from no other such token.

use lectern_core::jwt::{BadToken, Claims};
use lectern_core::{Call, Outcome};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{CheckToken, IntrospectToken, Introspection};
use sqlx::query;

use crate::app::{App, Fault};
use crate::token::check;
use crate::token::{self, CLIENT};

/// Looks at an access or a refresh token; the hint is not needed, since neither can be mistaken for the other.
pub async fn introspect(app: App, call: Call, req: IntrospectToken) -> Outcome<IntrospectToken> {
    let ring = app.key_ring().await?;
    let found = match ring.verify(&req.token, &app.settings().issuer) {
        Ok(claims) => access(&app, &call, claims).await?,
        Err(BadToken::Expired) => None,
        Err(BadToken::Invalid | BadToken::UnknownKey) => refresh(&app, &call, &req.token).await?,
    };
    Ok(found.unwrap_or_default())
}

async fn access(app: &App, call: &Call, claims: Claims) -> Result<Option<Introspection>, Fault> {
    let asked = CheckToken { sid: claims.sid, user: claims.sub, uv: claims.uv };
    // the verifier forgives clocks that differ; the moment of expiry is exact here as at every door
    let is_void = claims.exp <= call.now.timestamp() || check::void(app, &asked, call.now).await?.is_some();
    Ok((!is_void).then(|| Introspection {
        active: true,
        token_type: Some("Bearer".to_owned()),
        client_id: Some(claims.client_id),
        sub: Some(claims.sub),
        sid: Some(claims.sid),
        roles: Some(claims.roles),
        iss: Some(claims.iss),
        aud: Some(claims.aud),
        jti: Some(claims.jti),
        iat: Some(claims.iat),
        nbf: Some(claims.nbf),
        exp: Some(claims.exp),
        auth_time: Some(claims.auth_time),
        acr: claims.acr,
    }))
}

async fn refresh(app: &App, call: &Call, token: &str) -> Result<Option<Introspection>, Fault> {
    let found = query!(
        r#"SELECT t.issued_at, LEAST(t.expires_at, s.expires_at_abs) AS "expires_at!", s.sid AS "sid: AuthSessionId",
                  u.id AS "user: UserId", u.roles AS "roles: Vec<Role>"
           FROM identity.refresh_tokens t
           JOIN identity.auth_sessions s ON s.sid = t.sid
           JOIN identity.users u ON u.id = s.user_id
           WHERE t.hash = $1 AND t.consumed_at IS NULL AND t.expires_at > $2
             AND s.revoked_at IS NULL AND s.expires_at_abs > $2 AND u.is_active"#,
        &token::refresh_hash(token),
        call.now
    )
    .fetch_optional(app.pool())
    .await?;
    Ok(found.map(|token| Introspection {
        active: true,
        token_type: Some("refresh_token".to_owned()),
        client_id: Some(CLIENT.to_owned()),
        sub: Some(token.user),
        sid: Some(token.sid),
        roles: Some(token.roles),
        iss: Some(app.settings().issuer.clone()),
        iat: Some(token.issued_at.timestamp()),
        exp: Some(token.expires_at.timestamp()),
        ..Introspection::default()
    }))
}
