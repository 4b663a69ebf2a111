//! The way to a provider: what is asked there, and what waits here for the answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_core::{Call, Outcome};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{LinkIdentity, ListProviders, OidcStart, Provider, Providers, StartOidc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use url::Url;

use crate::app::{App, Fault};
use crate::federation::discovery::{Metadata, Party};
use crate::federation::{federation, party, unavailable};
use crate::mfa::challenges::{self, Asked, Kind, sha256};
use crate::mfa::step_up;
use crate::sign_in::address_limit::{self, Action};

/// What the answer is checked against; sealed, and gone with the first answer.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    pub provider: String,
    /// Of PKCE (RFC 7636).
    pub verifier: String,
    pub nonce: String,
    /// SHA-256 of what the browser keeps.
    pub binding: [u8; 32],
    /// The session that links an identity; none for a sign-in.
    pub session: Option<AuthSessionId>,
}

/// Where else one may sign in.
pub async fn providers(app: App, _call: Call, _req: ListProviders) -> Outcome<ListProviders> {
    let parties = federation(&app)?.parties.iter().map(|party| &party.provider);
    let items = parties.map(|it| Provider { provider: it.id.clone(), name: it.name.clone() }).collect();
    Ok(Providers { items })
}

/// Begins a sign-in.
pub async fn start(app: App, call: Call, req: StartOidc) -> Outcome<StartOidc> {
    let (web, party) = party(&app, &req.provider)?;
    address_limit::take(&app, &call, Action::StartOidc).await?;
    let metadata = party.metadata(web).await.map_err(|away| unavailable(&party.provider, &away))?;
    let mut connection = app.connect_patiently(&call).await?;
    begin(&mut connection, &app, party, &metadata, None).await
}

/// Begins to link an identity: a new way to sign in, hence a step-up, and the session that asked has to be there still when
/// the answer comes.
pub async fn link(app: App, call: Call, req: LinkIdentity) -> Outcome<LinkIdentity> {
    let (web, party) = party(&app, &req.provider)?;
    let caller = step_up::recently(&app, &call)?;
    let metadata = party.metadata(web).await.map_err(|away| unavailable(&party.provider, &away))?;
    let mut tx = app.begin_patiently(&call).await?;
    let started = begin(&mut tx, &app, party, &metadata, Some((caller.user, caller.sid))).await?;
    tx.audit("user.credential_begun", Some(caller.user), json!({ "kind": "oidc", "provider": req.provider }))
        .await?;
    Ok(tx.commit(started).await?)
}

async fn begin(
    connection: &mut PgConnection,
    app: &App,
    party: &Party,
    metadata: &Metadata,
    link: Option<(UserId, AuthSessionId)>,
) -> Result<OidcStart, Fault> {
    let random =
        || Ok::<_, Fault>(URL_SAFE_NO_PAD.encode(app.vault().random::<32>().map_err(Fault::Broken)?));
    let (verifier, nonce, binding) = (random()?, random()?, random()?);
    let provider = &party.provider;
    let challenge = URL_SAFE_NO_PAD.encode(sha256(&verifier));
    let pending = Pending {
        provider: provider.id.clone(),
        verifier,
        nonce,
        binding: sha256(&binding),
        session: link.map(|(_, sid)| sid),
    };
    let asked = Asked {
        user: link.map(|(user, _)| user),
        state: Some(serde_json::to_vec(&pending)?),
        ..Asked::default()
    };
    let (state, expires_at) = challenges::ask(connection, app, Kind::Oidc, asked).await?;
    let mut url = Url::parse(&metadata.authorization_endpoint)?;
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", &provider.redirect_url)
        .append_pair("scope", &provider.scopes)
        .append_pair("state", &state)
        .append_pair("nonce", &pending.nonce)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    Ok(OidcStart { url: url.into(), binding, expires_at })
}
