//! The identities of an account: credentials of kind `oidc`.

use lectern_core::{Call, Error, Outcome, Tx};
use lectern_subjects::id::{CredentialId, UserId};
use lectern_subjects::identity::{Identity, IdentityRefusal, ListIdentities, Message, UnlinkIdentity};
use lectern_subjects::page;
use lectern_subjects::{CommonRefusal, Page, Refusal};
use serde_json::json;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::federation::callback::Vouched;
use crate::federation::{Changed, federation, linked, unlinked};
use crate::mfa::step_up;
use crate::sign_in::{self, Account};

/// Most identities of one user.
const MOST: i64 = 20;

/// Whose an identity is.
pub(super) async fn owner(tx: &mut Tx, key: &[u8; 32]) -> Result<Option<UserId>, sqlx::Error> {
    query_scalar!(
        r#"SELECT user_id AS "user: UserId" FROM identity.credentials WHERE kind = 'oidc' AND external_key = $1"#,
        key
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Locks the account of an identity and notes that it was used; none when it is that account's no longer.
pub(super) async fn used(tx: &mut Tx, user: UserId, key: &[u8; 32]) -> Result<Option<Account>, Fault> {
    let Some(account) = sign_in::account(tx, user).await? else { return Ok(None) };
    let now = tx.now();
    let used = query_scalar!(
        "UPDATE identity.credentials SET last_used_at = $3
         WHERE kind = 'oidc' AND external_key = $1 AND user_id = $2 RETURNING id",
        key,
        user.0,
        now
    );
    Ok(used.fetch_optional(&mut **tx).await?.map(|_| account))
}

/// One identity.
pub(super) async fn one(tx: &mut Tx, key: &[u8; 32]) -> Result<Identity, sqlx::Error> {
    query_as!(
        Identity,
        r#"SELECT id AS "id: CredentialId", public->>'provider' AS "provider!", name AS "name!", created_at, last_used_at
           FROM identity.credentials WHERE kind = 'oidc' AND external_key = $1"#,
        key
    )
    .fetch_one(&mut **tx)
    .await
}

/// Links an identity to an account whose row is locked.
///
/// # Errors
/// USER_1110 when it is somebody's meanwhile; COMMON_0013 when the account has as many as it may.
pub(super) async fn add(
    tx: &mut Tx,
    app: &App,
    account: &Account,
    vouched: &Vouched<'_>,
) -> Result<Identity, Fault> {
    let (now, provider) = (tx.now(), &vouched.party.provider);
    let count = query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.credentials WHERE user_id = $1 AND kind = 'oidc'"#,
        account.id.0
    )
    .fetch_one(&mut **tx)
    .await?;
    if count >= MOST {
        let details = json!({ "reason": "too many identities; remove one first", "limit": MOST });
        return Err(CommonRefusal::Forbidden.because(details).into());
    }
    let id: CredentialId = app.new_id();
    let added = query!(
        "INSERT INTO identity.credentials (id, user_id, kind, external_key, public, name, created_at, confirmed_at)
         VALUES ($1, $2, 'oidc', $3, $4, $5, $6, $6)",
        id.0,
        account.id.0,
        &vouched.key,
        json!({ "provider": provider.id, "issuer": provider.issuer }),
        provider.name,
        now
    )
    .execute(&mut **tx)
    .await;
    match added {
        Err(error) if Error::constraint(&error) == Some("credentials_external_key_key") => {
            return Err(IdentityRefusal::IdentityTaken.into());
        }
        other => other?,
    };
    let changed =
        Changed { user: account.id, email: &account.email, id, provider: &provider.id, name: &provider.name };
    linked(tx, app, &changed).await?;
    Ok(Identity {
        id,
        provider: provider.id.clone(),
        name: provider.name.clone(),
        created_at: now,
        last_used_at: None,
    })
}

/// The caller's identities, oldest first.
pub async fn list(app: App, call: Call, req: ListIdentities) -> Outcome<ListIdentities> {
    federation(&app)?;
    let caller = call.user()?;
    let after = page::key(req.cursor.as_deref())?.unwrap_or(Uuid::nil());
    let limit = page::limit(req.limit);
    let rows = query_as!(
        Identity,
        r#"SELECT id AS "id: CredentialId", public->>'provider' AS "provider!", name AS "name!", created_at, last_used_at
           FROM identity.credentials
           WHERE user_id = $1 AND kind = 'oidc' AND id > $2 ORDER BY id LIMIT $3"#,
        caller.user.0,
        after,
        i64::from(limit) + 1
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |identity| identity.id.to_string()))
}

/// Removes an identity, unless the account would have nothing left to sign in with.
pub async fn unlink(app: App, call: Call, req: UnlinkIdentity) -> Outcome<UnlinkIdentity> {
    federation(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let mut tx = app.begin_patiently(&call).await?;
    // the row's lock: of two that are removed at once, one stays where one has to
    let account = sign_in::account(&mut tx, caller.user).await?.ok_or(IdentityRefusal::UserNotFound)?;
    let removed = query!(
        r#"DELETE FROM identity.credentials WHERE id = $1 AND user_id = $2 AND kind = 'oidc'
           RETURNING public->>'provider' AS "provider!", name AS "name!""#,
        req.id.0,
        caller.user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(IdentityRefusal::CredentialNotFound)?;
    if !sign_in::has_a_way(&mut tx, &app, &account).await? {
        return Err(IdentityRefusal::LastCredential.into());
    }
    let changed = Changed {
        user: caller.user,
        email: &account.email,
        id: req.id,
        provider: &removed.provider,
        name: &removed.name,
    };
    unlinked(&mut tx, &app, &changed).await?;
    Ok(tx.commit(Message { message: "The identity is no longer linked".to_owned() }).await?)
}
