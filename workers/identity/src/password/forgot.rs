//! "I forgot my password." The request only writes down which address was said, whoever has it or not: the same
//! statement, the same answer, the same time. A sweep looks at it afterwards, where nobody can measure.

use std::net::IpAddr;
use std::time::Duration;

use lectern_core::call::ClientInfo;
use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{ForgotPassword, Message};
use serde::{Deserialize, Serialize};
use sqlx::{query, query_as};
use uuid::Uuid;

use crate::account;
use crate::app::{App, Fault, into_error};
use crate::password::reset_links::{self, Addressee, Occasion, Sent};
use crate::sign_in::address_limit::{self, Action};

/// How often the sweep looks.
pub(crate) const PACE: Duration = Duration::from_millis(250);

/// What is written down, sealed.
#[derive(Serialize, Deserialize)]
struct Asked {
    email: String,
    address: Option<IpAddr>,
    agent: Option<String>,
}

/// Promises a link, should somebody have the address.
pub async fn password_forgot(app: App, call: Call, req: ForgotPassword) -> Outcome<ForgotPassword> {
    address_limit::take(&app, &call, Action::Forgot).await?;
    let id: Uuid = app.new_id();
    let asked = Asked {
        email: account::normal(&req.email),
        address: call.client.address,
        agent: call.client.agent.as_deref().map(str::to_owned),
    };
    let sealed = app.vault().seal(&place(id), &serde_json::to_vec(&asked)?).map_err(Fault::Broken)?;
    let mut tx = app.begin_patiently(&call).await?;
    let now = tx.now();
    query!(
        "INSERT INTO identity.password_reset_requests (id, sealed, created_at) VALUES ($1, $2, $3)",
        id,
        sealed,
        now
    )
    .execute(&mut *tx)
    .await?;
    metrics::counter!("user_password_reset_total", "status" => "requested").increment(1);
    let message = "If there is an account with this address, a link is on its way".to_owned();
    Ok(tx.commit(Message { message }).await?)
}

/// Mails the links that were promised.
pub async fn keep_promises(app: App) -> anyhow::Result<()> {
    while keep_one(&app).await.map_err(into_error)? {}
    Ok(())
}

/// False when there is none.
async fn keep_one(app: &App) -> Result<bool, Fault> {
    let mut tx = app.begin_internal().await?;
    let promised = query!(
        "DELETE FROM identity.password_reset_requests
         WHERE id = (SELECT id FROM identity.password_reset_requests
                     ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, sealed"
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(promised) = promised else { return Ok(false) };
    match app.vault().open(&place(promised.id), &promised.sealed) {
        Ok(plain) => {
            let asked: Asked = serde_json::from_slice(&plain)?;
            tx.set_client(ClientInfo::new(asked.address, asked.agent.as_deref()));
            let owner = query_as!(
                Addressee,
                r#"SELECT id AS "id: lectern_subjects::id::UserId", email, locale FROM identity.users
                   WHERE email_norm = $1 AND is_active FOR NO KEY UPDATE"#,
                asked.email
            )
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(owner) = owner
                && let Sent::NotBefore(_) =
                    reset_links::send(&mut tx, app, &owner, Occasion::Forgotten).await?
            {
                tracing::warn!(user_id = %owner.id, "no further password link this hour");
            }
        }
        // nobody can read it any more: they will ask again
        Err(error) => tracing::error!(error = format!("{error:#}"), "a promised link is given up"),
    }
    tx.commit_followed().await?;
    Ok(true)
}

fn place(id: Uuid) -> String {
    format!("password_reset_requests/{id}")
}
