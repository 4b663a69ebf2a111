//! Sign-in by accounts elsewhere (OpenID Connect Core 1.0, code flow with PKCE; RFC 9700). An identity is an account at a
//! provider, known by (issuer, subject) and by nothing else: an address is no proof of who somebody is here, so an account
//! that is there is never linked to one by its address. While a provider is waited for, no transaction is open and no
//! connection is taken.

pub(crate) mod callback;
mod discovery;
mod exchange;
mod id_token;
pub(crate) mod identities;
pub(crate) mod provider;
pub(crate) mod start;
mod web;

use lectern_core::Tx;
use lectern_subjects::id::{CredentialId, UserId};
use lectern_subjects::identity::{IdentityLinked, IdentityRefusal, IdentityUnlinked};
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;

use crate::account;
use crate::app::{App, Fault};
use crate::federation::discovery::Party;
use crate::federation::provider::{Provider, Providers};
use crate::federation::web::{Away, Web};
use crate::mail::{self, Letter};

/// Who is signed in at a provider, as methods of authentication are written.
pub(crate) const AMR: &str = "fed";

/// The providers, with what is known of them in this process.
pub(crate) struct Federation {
    web: Web,
    parties: Vec<Party>,
}

impl Federation {
    /// The providers of the settings.
    pub fn new(providers: &Providers) -> anyhow::Result<Federation> {
        let parties = providers.all.iter().cloned().map(Party::new).collect();
        Ok(Federation { web: Web::new(&providers.authorities)?, parties })
    }
}

/// The providers.
///
/// # Errors
/// COMMON_0006 where sign-in at providers is switched off.
fn federation(app: &App) -> Result<&Federation, CommonRefusal> {
    app.federation().ok_or(CommonRefusal::RouteNotFound)
}

/// One provider, and the way to it.
///
/// # Errors
/// COMMON_0006 when there is none of this name.
fn party<'a>(app: &'a App, id: &str) -> Result<(&'a Web, &'a Party), CommonRefusal> {
    let federation = federation(app)?;
    let party = federation.parties.iter().find(|party| party.provider.id == id);
    Ok((&federation.web, party.ok_or(CommonRefusal::RouteNotFound)?))
}

/// Whether somebody could sign in with an identity of this issuer.
pub(crate) fn knows(app: &App, issuer: &str) -> bool {
    let providers = app.federation().map(|federation| federation.parties.iter());
    providers.is_some_and(|mut parties| parties.any(|party| party.provider.issuer == issuer))
}

/// An identity as it is found: issuer and subject together, which no one can choose freely (OpenID Connect Core 5.7).
fn key_of(app: &App, issuer: &str, subject: &str) -> [u8; 32] {
    app.vault().hash("oidc identity", &[issuer.as_bytes(), subject.as_bytes()])
}

/// The refusal while a provider does not answer.
fn unavailable(provider: &Provider, away: &Away) -> Fault {
    tracing::warn!(provider = provider.id, error = %away, "an OpenID provider is not there");
    count(provider, "unavailable");
    let details = json!({ "provider": provider.id, "reason": "the provider does not answer" });
    Refused { retry_after_s: Some(5), ..CommonRefusal::Unavailable.because(details) }.into()
}

/// The refusal of a sign-in that the provider did not see through.
fn failed(provider: &Provider, reason: &str) -> Fault {
    count(provider, "failed");
    let details = json!({ "provider": provider.id, "reason": reason });
    IdentityRefusal::FederationFailed.because(details).into()
}

fn count(provider: &Provider, status: &'static str) {
    metrics::counter!("user_oidc_total", "provider" => provider.id.clone(), "status" => status).increment(1);
}

/// An identity that was linked or unlinked.
struct Changed<'a> {
    user: UserId,
    email: &'a str,
    id: CredentialId,
    /// What requests call the provider.
    provider: &'a str,
    /// What people call it.
    name: &'a str,
}

/// Says of a new identity what is to be said: to followers, to the record and to the owner.
async fn linked(tx: &mut Tx, app: &App, it: &Changed<'_>) -> Result<(), Fault> {
    let version = account::next_version(tx, it.user).await?;
    let fact = IdentityLinked { user_id: it.user, id: it.id, provider: it.provider.to_owned() };
    tx.announce(&fact, version).await?;
    tx.audit("identity.linked", Some(it.user), json!({ "id": it.id, "provider": it.provider })).await?;
    let language = account::language(tx, it.user).await?;
    mail::queue(tx, app, &Letter::identity_linked(it.email, language, it.name)).await
}

/// The same of one that is gone.
async fn unlinked(tx: &mut Tx, app: &App, it: &Changed<'_>) -> Result<(), Fault> {
    let version = account::next_version(tx, it.user).await?;
    let fact = IdentityUnlinked { user_id: it.user, id: it.id, provider: it.provider.to_owned() };
    tx.announce(&fact, version).await?;
    tx.audit("identity.unlinked", Some(it.user), json!({ "id": it.id, "provider": it.provider })).await?;
    let language = account::language(tx, it.user).await?;
    mail::queue(tx, app, &Letter::identity_unlinked(it.email, language, it.name)).await
}
