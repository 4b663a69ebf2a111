//! The provider's answer: signs in, signs up, or links. Each start takes one answer, right or wrong, and from the browser
//! that began only.

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, OidcAnswer, OidcCallback, Register, TokenPair};
use lectern_subjects::{Refusal, Role};
use serde_json::json;
use sqlx::query_scalar;

use crate::account::{self, NewAccount, Profile};
use crate::app::{App, Fault};
use crate::federation::discovery::Party;
use crate::federation::id_token::Claims;
use crate::federation::identities;
use crate::federation::start::Pending;
use crate::federation::web::Web;
use crate::federation::{AMR, count, exchange, failed, key_of, party, unavailable};
use crate::mfa::challenges::{self, Kind, sha256};
use crate::mfa::{self, invalid};
use crate::sign_in::address_limit::{self, Action};
use crate::sign_in::known_device;
use crate::sign_in::{self, Account, Proved};

/// An identity that the provider has vouched for.
pub(super) struct Vouched<'a> {
    pub party: &'a Party,
    pub claims: &'a Claims,
    pub key: [u8; 32],
}

/// Takes the answer.
pub async fn callback(app: App, call: Call, req: OidcCallback) -> Outcome<OidcCallback> {
    let (web, party) = party(&app, &req.provider)?;
    if let Err(fault) = address_limit::take(&app, &call, Action::SignIn).await {
        return counted(Err(fault));
    }
    let (pending, user) = pending(&app, &call, &req).await?;
    let claims = claims(&app, &call, web, party, &pending, &req).await;
    if let (Some(user), Some(session)) = (user, pending.session) {
        return link(&app, &call, user, session, &vouched(&app, party, &claims?)).await;
    }
    counted(match claims {
        Ok(claims) => sign_in(&app, &call, &vouched(&app, party, &claims), &req).await,
        Err(fault) => Err(fault),
    })
}

fn counted(signed_in: Result<TokenPair, Fault>) -> Result<OidcAnswer, Fault> {
    sign_in::count(&signed_in);
    signed_in.map(OidcAnswer::SignedIn)
}

fn vouched<'a>(app: &App, party: &'a Party, claims: &'a Claims) -> Vouched<'a> {
    let key = key_of(app, &party.provider.issuer, &claims.sub);
    Vouched { party, claims, key }
}

/// What waits for this answer, and who links with it. It waits no longer, whatever becomes of the answer.
///
/// # Errors
/// COMMON_0001 when nothing does: unknown, used, too late, of another provider, or from another browser.
async fn pending(app: &App, call: &Call, req: &OidcCallback) -> Result<(Pending, Option<UserId>), Fault> {
    let mut connection = app.connect_patiently(call).await?;
    let taken = challenges::take(&mut connection, app, Kind::Oidc, &req.state).await?;
    let again = || invalid("/state", "not waited for: used, too late, or begun elsewhere; begin again");
    let taken = taken.ok_or_else(again)?;
    let pending: Pending = serde_json::from_slice(&taken.state)?;
    if pending.provider != req.provider || pending.binding != sha256(&req.binding) {
        return Err(again().into());
    }
    Ok((pending, taken.user))
}

/// Who has signed in there.
async fn claims(
    app: &App,
    call: &Call,
    web: &Web,
    party: &Party,
    pending: &Pending,
    req: &OidcCallback,
) -> Result<Claims, Fault> {
    let provider = &party.provider;
    let metadata = party.metadata(web).await.map_err(|away| unavailable(provider, &away))?;
    // before anything in the answer is believed (RFC 9207, 2.4)
    let from_it = match &req.iss {
        Some(iss) => *iss == provider.issuer,
        None => !metadata.authorization_response_iss_parameter_supported,
    };
    if !from_it {
        return Err(invalid("/iss", "the answer of another provider").into());
    }
    match (&req.error, &req.code) {
        // its words are not ours to repeat, they came through the browser
        (Some(error), _) if error == "access_denied" => Err(failed(provider, "access_denied")),
        (Some(_), _) => Err(failed(provider, "the provider refused")),
        (None, Some(code)) => exchange::claims(app, call, web, party, pending, code).await,
        (None, None) => Err(invalid("/code", "neither code nor error").into()),
    }
}

async fn sign_in(
    app: &App,
    call: &Call,
    vouched: &Vouched<'_>,
    req: &OidcCallback,
) -> Result<TokenPair, Fault> {
    let (mut again, mut may_sign_up) = (true, false);
    loop {
        let mut tx = app.begin_patiently(call).await?;
        let known = match identities::owner(&mut tx, &vouched.key).await? {
            // unlinked, or forgotten, since: the next look finds nobody
            Some(user) => match identities::used(&mut tx, user, &vouched.key).await? {
                Some(account) => Ok(account),
                None if again => {
                    again = false;
                    continue;
                }
                None => return Err(failed(&vouched.party.provider, "the identity is linked no longer")),
            },
            None if may_sign_up => sign_up(&mut tx, app, vouched).await,
            // counted outside of what may come to nothing, and without a second connection in hand
            None => {
                drop(tx);
                count_sign_up(app, call).await?;
                may_sign_up = true;
                continue;
            }
        };
        let account = match known {
            Ok(account) => account,
            // the same person may have come a moment before, by the other of two windows
            Err(Fault::Refused(refused))
                if again && refused.refusal == IdentityRefusal::EmailAlreadyExists =>
            {
                again = false;
                continue;
            }
            Err(fault) => return Err(fault),
        };
        count(&vouched.party.provider, "success");
        return go_on(tx, app, call, account, req).await;
    }
}

/// Counts a sign-up of the caller's address with those by password.
async fn count_sign_up(app: &App, call: &Call) -> Result<(), Fault> {
    address_limit::take(app, call, Action::SignUp).await.inspect_err(|fault| {
        if address_limit::is_refusal(fault) {
            metrics::counter!("user_signup_total", "status" => "rate_limited").increment(1);
        }
    })
}

/// An account for somebody who is new here, if the provider knows their address to be theirs.
///
/// # Errors
/// USER_1102, with what to do: an address is no proof of who somebody is here, and one that the provider has not verified
/// says nothing at all, not even whether it has an account.
async fn sign_up(tx: &mut Tx, app: &App, vouched: &Vouched<'_>) -> Result<Account, Fault> {
    let refusal = |reason: &str| {
        let details = json!({ "provider": vouched.party.provider.id, "reason": reason });
        Fault::from(IdentityRefusal::EmailAlreadyExists.because(details))
    };
    let unverified = || {
        refusal(
            "the provider has not verified an e-mail address of yours; sign up here, then link the provider in your account",
        )
    };
    let email = vouched.claims.verified_email().ok_or_else(unverified)?;
    let email = Register::address(email).ok_or_else(unverified)?;
    let local = email.split('@').next().unwrap_or_default();
    let name = vouched.claims.name().and_then(Register::person).or_else(|| Register::person(local));
    let new = NewAccount {
        id: app.new_id(),
        email,
        name: name.unwrap_or("New user"),
        password_hash: None,
        role: Role::User,
        is_verified: true,
        profile: Profile::default(),
    };
    let now = tx.now();
    let user = account::insert(tx, app.vault(), &new, now).await.map_err(|fault| match fault {
        Fault::Refused(refused) if refused.refusal == IdentityRefusal::EmailAlreadyExists => {
            refusal("sign in to that account as you do otherwise, then link the provider in it")
        }
        other => other,
    })?;
    tx.set_actor(Some(user.id));
    let created = account::created(&user);
    tx.announce(&created, user.version).await?;
    tx.audit("user.created", Some(user.id), json!({ "by": "oidc", "role": user.role })).await?;
    let account = sign_in::account(tx, user.id).await?.ok_or(IdentityRefusal::UserNotFound)?;
    identities::add(tx, app, &account, vouched).await?;
    metrics::counter!("user_signup_total", "status" => "success").increment(1);
    Ok(account)
}

/// The provider vouches for one factor; the account's second is asked for as after a password.
async fn go_on(
    mut tx: Tx,
    app: &App,
    call: &Call,
    account: Account,
    req: &OidcCallback,
) -> Result<TokenPair, Fault> {
    if let Some(refused) = account.refusal(app) {
        return Err(sign_in::refuse(tx, app, call, &account, refused).await?);
    }
    if let Some(kinds) = mfa::asked_of(&mut tx, app, account.id).await? {
        return Err(mfa::ask(tx, app, &account, AMR, kinds).await?);
    }
    let device = known_device::recognise_of(&mut tx, app, account.id, req.device_token.as_deref()).await?;
    let proved = Proved { by: "oidc", amr: vec![AMR.to_owned()], device };
    sign_in::open(tx, app, call, account, proved).await
}

/// Links the identity to the account whose session asked for it.
async fn link(
    app: &App,
    call: &Call,
    user: UserId,
    session: AuthSessionId,
    vouched: &Vouched<'_>,
) -> Result<OidcAnswer, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    tx.set_actor(Some(user));
    let now = tx.now();
    let account = sign_in::account(&mut tx, user).await?.ok_or(IdentityRefusal::UserNotFound)?;
    if let Some((refusal, _)) = account.refusal(app) {
        return Err(refusal.into());
    }
    let live = query_scalar!(
        r#"SELECT true AS "yes!" FROM identity.auth_sessions
           WHERE sid = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at_abs > $3"#,
        session.0,
        user.0,
        now
    );
    live.fetch_optional(&mut *tx).await?.ok_or(IdentityRefusal::TokenRevoked)?;
    match identities::owner(&mut tx, &vouched.key).await? {
        Some(owner) if owner != user => Err(IdentityRefusal::IdentityTaken.into()),
        // once more does not hurt
        Some(_) => Ok(OidcAnswer::Linked(identities::one(&mut tx, &vouched.key).await?)),
        None => {
            let identity = identities::add(&mut tx, app, &account, vouched).await?;
            count(&vouched.party.provider, "linked");
            Ok(tx.commit(OidcAnswer::Linked(identity)).await?)
        }
    }
}
