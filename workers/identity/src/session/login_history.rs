//! Sign-ins and sign-outs: what was tried, when, from where (I-051…I-053).

use lectern_core::call::ClientInfo;
use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::Page;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{ListLoginHistory, LoginAction, LoginRecord};
use lectern_subjects::page::{self, Moment};
use sqlx::query;
use uuid::Uuid;

use crate::app::App;

/// Writes down a sign-in or sign-out, and why it failed if it did. `user` is none for a guess at an address that nobody has.
pub(crate) async fn record(
    tx: &mut Tx,
    app: &App,
    client: &ClientInfo,
    action: LoginAction,
    user: Option<UserId>,
    failure_reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    let (id, now): (Uuid, _) = (app.new_id(), tx.now());
    query!(
        "INSERT INTO identity.login_history (id, user_id, action, ip, user_agent, success, failure_reason, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        user.map(|user| user.0),
        action as LoginAction,
        client.address.map(|address| address.to_string()),
        client.agent.as_deref(),
        failure_reason.is_none(),
        failure_reason,
        now
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A row of the list. Not [`LoginRecord`] itself: a cursor needs the row's id.
struct Row {
    id: Uuid,
    record: LoginRecord,
}

/// Shows the caller their sign-ins and sign-outs.
pub async fn login_history(app: App, call: Call, req: ListLoginHistory) -> Outcome<ListLoginHistory> {
    let caller = call.user()?;
    let (limit, below) =
        (page::limit(req.limit), page::key(req.cursor.as_deref())?.unwrap_or(Moment::LATEST));
    let mut connection = app.connect_patiently(&call).await?;
    let rows = query!(
        r#"SELECT id, created_at, action AS "action: LoginAction", success, failure_reason, ip, user_agent
           FROM identity.login_history
           WHERE user_id = $1 AND (created_at, id) < ($2, $3)
           ORDER BY created_at DESC, id DESC LIMIT $4"#,
        caller.user.0,
        below.at,
        below.id,
        i64::from(limit) + 1
    )
    .fetch_all(&mut *connection)
    .await?;
    let rows = rows
        .into_iter()
        .map(|row| Row {
            id: row.id,
            record: LoginRecord {
                timestamp: row.created_at,
                action: row.action,
                success: row.success,
                failure_reason: row.failure_reason,
                ip_address: row.ip,
                user_agent: row.user_agent,
            },
        })
        .collect();
    let place = |row: &Row| Moment { at: row.record.timestamp, id: row.id }.to_string();
    let page = Page::from_rows(rows, limit as usize, place);
    let items = page.items.into_iter().map(|row| row.record).collect();
    Ok(Page { items, next_cursor: page.next_cursor })
}
