//! The list of accounts, for staff. Who may not change accounts sees no e-mail, name or phone, and can't search by them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{ListUsers, ListedUser};
use lectern_subjects::page::{self, Moment};
use lectern_subjects::{CommonRefusal, Page, Permission, Refusal, Role};
use serde_json::json;
use sqlx::{PgPool, query_as, query_scalar};

use crate::account;
use crate::app::{App, Fault};
use crate::vault::Vault;

/// Accounts that one request reads at most: what a statement does in some tens of milliseconds.
const MOST: i64 = 5000;
/// The last character there is: between a text and it with this one stand all texts that begin with it.
const LAST: &str = "\u{10ffff}";

/// A row as it is stored: the phone number is sealed.
struct Row {
    id: UserId,
    email: String,
    name: String,
    phone_sealed: Option<Vec<u8>>,
    role: Role,
    roles: Vec<Role>,
    is_active: bool,
    is_verified: bool,
    created_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
    version: i64,
}

/// What is asked for, as the statements take it.
struct Filter {
    roles: Vec<String>,
    active: Vec<bool>,
    below: Moment,
    fetch: i64,
}

/// Lists accounts, newest first.
pub async fn users_list(app: App, call: Call, req: ListUsers) -> Outcome<ListUsers> {
    let sees_persons = call.user()?.has_any(Permission::UserUpdate.holders());
    if req.q.is_some() && !sees_persons {
        let details = json!({ "needs_permission": Permission::UserUpdate.name(), "pointer": "/q" });
        return Err(CommonRefusal::Forbidden.because(details).into());
    }
    let limit = page::limit(req.limit);
    let filter = Filter {
        roles: req.role.map_or(Role::ALL.to_vec(), |role| vec![role]).iter().map(Role::to_string).collect(),
        active: req.active.map_or(vec![true, false], |active| vec![active]),
        below: page::key(req.cursor.as_deref())?.unwrap_or(Moment::LATEST),
        fetch: i64::from(limit) + 1,
    };
    let rows = match req.q.as_deref() {
        None => newest(app.pool(), &filter).await?,
        Some(start) if is_rare(app.pool(), start).await? => {
            beginning_with(app.pool(), &filter, start).await?
        }
        Some(start) => {
            let page = looked_through(app.pool(), filter, start, limit as usize).await?;
            return finish(&app, page, sees_persons);
        }
    };
    finish(&app, Page::from_rows(rows, limit as usize, place), sees_persons)
}

/// Where a list goes on after a row.
fn place(row: &Row) -> String {
    Moment { at: row.created_at, id: row.id.0 }.to_string()
}

fn finish(app: &App, page: Page<Row>, sees_persons: bool) -> Outcome<ListUsers> {
    let items = page.items.into_iter().map(|row| listed(app.vault(), row, sees_persons));
    Ok(Page { items: items.collect::<Result<_, Fault>>()?, next_cursor: page.next_cursor })
}

fn listed(vault: &Vault, row: Row, with_person: bool) -> Result<ListedUser, Fault> {
    let phone = if with_person { account::phone(vault, row.id, row.phone_sealed.as_deref())? } else { None };
    Ok(ListedUser {
        id: row.id,
        email: with_person.then_some(row.email),
        name: with_person.then_some(row.name),
        phone,
        role: row.role,
        roles: row.roles,
        is_active: row.is_active,
        is_verified: row.is_verified,
        created_at: row.created_at,
        last_login_at: row.last_login_at,
        version: row.version,
    })
}

/// The rows after a place: of each role and state the newest few, straight from the index, and of those the newest.
async fn newest(db: &PgPool, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    query_as!(
        Row,
        r#"SELECT u.id AS "id: UserId", u.email, u.name, u.phone_sealed, u.role AS "role: Role",
                  u.roles AS "roles: Vec<Role>", u.is_active, u.is_verified, u.created_at, u.last_login_at, u.version
           FROM unnest($1::text[]) AS wanted (role) CROSS JOIN unnest($2::boolean[]) AS state (is_active)
           CROSS JOIN LATERAL (
               SELECT * FROM identity.users
               WHERE role = wanted.role AND is_active = state.is_active AND status <> 'deleted'
                 AND (created_at, id) < ($3, $4)
               ORDER BY created_at DESC, id DESC LIMIT $5) AS u
           ORDER BY u.created_at DESC, u.id DESC LIMIT $5"#,
        &filter.roles,
        &filter.active,
        filter.below.at,
        filter.below.id,
        filter.fetch,
    )
    .fetch_all(db)
    .await
}

/// Whether few enough accounts begin like this to read them all, by one index or the other.
async fn is_rare(db: &PgPool, start: &str) -> Result<bool, sqlx::Error> {
    query_scalar!(
        r#"SELECT (SELECT count(*) FROM (SELECT FROM identity.users WHERE status <> 'deleted'
                       AND email_norm ~>=~ lower($1) AND email_norm ~<~ (lower($1) || $2) LIMIT $3) AS by_email) < $3
              AND (SELECT count(*) FROM (SELECT FROM identity.users WHERE status <> 'deleted'
                       AND lower(name) ~>=~ lower($1) AND lower(name) ~<~ (lower($1) || $2) LIMIT $3) AS by_name) < $3
                  AS "rare!""#,
        start,
        LAST,
        MOST
    )
    .fetch_one(db)
    .await
}

/// A page of those who begin so where very many do: the newest accounts are looked through, so many of them at most. The
/// next page goes on where this one stopped looking.
async fn looked_through(db: &PgPool, filter: Filter, start: &str, limit: usize) -> Result<Page<Row>, Fault> {
    let seen = newest(db, &Filter { fetch: MOST, ..filter }).await?;
    let ids: Vec<uuid::Uuid> = seen.iter().map(|row| row.id.0).collect();
    let begin_so = query_scalar!(
        r#"SELECT id AS "id: UserId" FROM identity.users
           WHERE id = ANY ($1) AND (starts_with(email_norm, lower($2)) OR starts_with(lower(name), lower($2)))"#,
        &ids,
        start
    )
    .fetch_all(db)
    .await?;
    let begin_so: HashSet<UserId> = begin_so.into_iter().collect();
    let stopped_at = seen.last().filter(|_| i64::try_from(seen.len()) == Ok(MOST)).map(place);
    let found: Vec<Row> = seen.into_iter().filter(|row| begin_so.contains(&row.id)).take(limit + 1).collect();
    let mut page = Page::from_rows(found, limit, place);
    page.next_cursor = page.next_cursor.or(stopped_at);
    Ok(page)
}

/// The same as [`newest`], of those whose address or name begins with `start`. Between it and it with the last character there is stand
/// all texts that begin with it; nothing in it has a meaning of its own, as it would for LIKE. Each half is read from its own
/// index whatever else is asked for (OFFSET 0): a plan along the times would read the whole table for a rare start.
async fn beginning_with(db: &PgPool, filter: &Filter, start: &str) -> Result<Vec<Row>, sqlx::Error> {
    query_as!(
        Row,
        r#"SELECT id AS "id!: UserId", email AS "email!", name AS "name!", phone_sealed, role AS "role!: Role",
                  roles AS "roles!: Vec<Role>", is_active AS "is_active!", is_verified AS "is_verified!",
                  created_at AS "created_at!", last_login_at, version AS "version!"
           FROM (
               (SELECT * FROM (SELECT * FROM identity.users WHERE status <> 'deleted'
                    AND email_norm ~>=~ lower($6) AND email_norm ~<~ (lower($6) || $7) OFFSET 0) AS by_email
                WHERE role = ANY ($1) AND is_active = ANY ($2) AND (created_at, id) < ($3, $4)
                ORDER BY created_at DESC, id DESC LIMIT $5)
               UNION
               (SELECT * FROM (SELECT * FROM identity.users WHERE status <> 'deleted'
                    AND lower(name) ~>=~ lower($6) AND lower(name) ~<~ (lower($6) || $7) OFFSET 0) AS by_name
                WHERE role = ANY ($1) AND is_active = ANY ($2) AND (created_at, id) < ($3, $4)
                ORDER BY created_at DESC, id DESC LIMIT $5)) AS found
           ORDER BY created_at DESC, id DESC LIMIT $5"#,
        &filter.roles,
        &filter.active,
        filter.below.at,
        filter.below.id,
        filter.fetch,
        start,
        LAST,
    )
    .fetch_all(db)
    .await
}
