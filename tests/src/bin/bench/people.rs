//! Many accounts, as cheap as they come: copies of one, which have its password and so its hash.

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt};
use lectern_harness::Stack;
use serde_json::{Value, json};
use uuid::Uuid;

pub const LOGIN: &str = "/api/v1/auth/login";
/// Sign-ins at once.
const AT_ONCE: usize = 8;

/// A copy, signed in.
pub struct Person {
    pub id: Uuid,
    pub token: String,
}

/// The address of the copy with this number, from 0.
pub fn email(number: usize) -> String {
    format!("{number}@many.example.org")
}

/// Copies the account of `email` so many times, less those that there are; answers the hash that they have.
pub async fn copy(stack: &Stack, email: &str, count: usize) -> anyhow::Result<String> {
    let pool = stack.database().pool("identity", 1).await?;
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM identity.users WHERE email_norm = $1")
        .bind(email)
        .fetch_one(&pool)
        .await?;
    sqlx::query(
        "INSERT INTO identity.users (id, email, email_norm, password_hash, name, is_verified, created_at, updated_at)
         SELECT gen_random_uuid(), n || '@many.example.org', n || '@many.example.org', $1, 'Somebody', true, now(), now()
         FROM generate_series(0, $2 - 1) AS n
         ON CONFLICT DO NOTHING",
    )
    .bind(&hash)
    .bind(i32::try_from(count)?)
    .execute(&pool)
    .await?;
    sqlx::query("ANALYZE identity.users").execute(&pool).await?;
    Ok(hash)
}

/// Signs the first `count` copies in.
pub async fn sign_in(stack: &Stack, password: &str, count: usize) -> anyhow::Result<Vec<Person>> {
    let pool = stack.database().pool("identity", 1).await?;
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM identity.users WHERE email_norm LIKE '%@many.example.org'
         ORDER BY split_part(email_norm, '@', 1)::int LIMIT $1",
    )
    .bind(i64::try_from(count)?)
    .fetch_all(&pool)
    .await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = stack.http_url() + LOGIN;
    futures_util::stream::iter(ids.into_iter().enumerate())
        .map(|(number, id)| {
            let request = http.post(&url).json(&json!({ "email": email(number), "password": password }));
            async move {
                let answer = request.send().await?;
                ensure!(answer.status() == 200, "signing in: {}", answer.status());
                let pair: Value = answer.json().await?;
                let token = pair["access_token"].as_str().context("no token")?.to_owned();
                Ok(Person { id, token })
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}
