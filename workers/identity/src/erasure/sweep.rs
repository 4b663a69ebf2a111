//! Brings erasures to their end: asks again for what is missing, then deletes what the streams hold.

use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use lectern_core::bus::{Bus, BusConfig};
use lectern_core::privacy::delete_messages;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::UserDeleted;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::{others, tell};
use crate::app::App;

/// How often open erasures are looked at.
pub(crate) const PACE: Duration = Duration::from_secs(2);
/// A service that has not answered is told again after this long, then after twice as long, up to a day.
const PATIENCE: TimeDelta = TimeDelta::minutes(1);
const LONGEST: TimeDelta = TimeDelta::days(1);

struct Open {
    id: Uuid,
    user: UserId,
    told: i32,
    due: bool,
    answered: Vec<String>,
}

/// Looks at every open erasure. Several processes may: a command that comes twice erases nothing twice.
pub async fn sweep(app: App) -> anyhow::Result<()> {
    let now = app.now();
    let open = query!(
        r#"SELECT e.id, e.user_id AS "user: UserId", e.told,
                  e.told_at + least(power(2, least(e.told - 1, 20)) * $2::interval, $3) <= $1 AS "due!",
                  ARRAY(SELECT service FROM identity.erasure_receipts r WHERE r.erasure_id = e.id) AS "answered!"
           FROM identity.erasures e WHERE e.done_at IS NULL ORDER BY e.told_at LIMIT 100"#,
        now,
        interval(PATIENCE),
        interval(LONGEST)
    )
    .fetch_all(app.pool())
    .await?;
    let waiting =
        query_scalar!(r#"SELECT count(*) AS "count!" FROM identity.erasures WHERE done_at IS NULL"#)
            .fetch_one(app.pool())
            .await?;
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("user_erasures_open").set(waiting as f64);
    for row in open {
        let open = Open { id: row.id, user: row.user, told: row.told, due: row.due, answered: row.answered };
        let missing: Vec<&'static str> =
            others().filter(|service| open.answered.iter().all(|name| name != service)).collect();
        let went_on = if missing.is_empty() {
            finish(&app, &open).await
        } else if open.due {
            ask_again(&app, &open, &missing).await
        } else {
            Ok(())
        };
        // one that can't go on holds up no other
        if let Err(error) = went_on {
            tracing::warn!(erasure = %open.id, error = format!("{error:#}"), "an erasure can't go on yet");
        }
    }
    Ok(())
}

fn interval(length: TimeDelta) -> sqlx::postgres::types::PgInterval {
    sqlx::postgres::types::PgInterval {
        months: 0,
        days: 0,
        microseconds: length.num_microseconds().unwrap_or(i64::MAX),
    }
}

async fn ask_again(app: &App, open: &Open, missing: &[&'static str]) -> anyhow::Result<()> {
    let mut tx = app.begin_internal().await?;
    let now = tx.now();
    let mine = query!(
        "UPDATE identity.erasures SET told_at = $2, told = told + 1 WHERE id = $1 AND told = $3 AND done_at IS NULL",
        open.id,
        now,
        open.told
    )
    .execute(&mut *tx)
    .await?;
    if mine.rows_affected() == 0 {
        return Ok(()); // another process has
    }
    tell(&mut tx, open.id, open.user, missing.iter().copied()).await?;
    tx.commit_followed().await?;
    tracing::warn!(erasure = %open.id, ?missing, told = open.told + 1, "services have not confirmed an erasure yet");
    Ok(())
}

/// Every service has answered: what the streams hold of the person goes, then the erasure is done.
async fn finish(app: &App, open: &Open) -> anyhow::Result<()> {
    let id = open.user.to_string();
    let waiting =
        query_scalar!(r#"SELECT EXISTS (SELECT FROM identity.outbox WHERE key = $1) AS "there!""#, id);
    if waiting.fetch_one(app.pool()).await? {
        return Ok(()); // published after the streams were looked through, a fact would stay there
    }
    // facts of before the erasure that were published after it
    let archived = query!(
        "DELETE FROM identity.outbox_archive WHERE key = $1 AND subject NOT LIKE $2 || '.%'",
        id,
        <UserDeleted as lectern_subjects::Fact>::SUBJECT
    );
    archived.execute(app.pool()).await?;
    let bus = eraser(app).await?;
    let deleted = delete_everywhere(&bus, open.user).await;
    bus.close().await;
    let [facts, beats, dead] = deleted?;
    let now = app.now();
    query!("UPDATE identity.erasures SET done_at = $2 WHERE id = $1 AND done_at IS NULL", open.id, now)
        .execute(app.pool())
        .await?;
    tracing::info!(erasure = %open.id, facts, beats, dead, "a person is forgotten");
    Ok(())
}

/// Deletes facts, beats and dead letters, and counts them. That the account is deleted stays said: who was away has to
/// learn it, and it holds the id and a made-up address.
async fn delete_everywhere(bus: &Bus, user: UserId) -> Result<[u64; 3], lectern_core::Error> {
    let id = user.to_string();
    let deletion = format!("{}.{id}", <UserDeleted as lectern_subjects::Fact>::SUBJECT);
    let other = |text: &str| !text.starts_with(&deletion);
    Ok([
        delete_messages(bus, "EVENTS", &format!("evt.*.*.*.*.{id}"), other).await?,
        delete_messages(bus, "PLAYBACK", &format!("play.v1.*.{id}.>"), |_| true).await?,
        delete_messages(bus, "DEAD", "dead.>", |text| text.contains(&id)).await?,
    ])
}

/// A connection of its own: nobody else may delete messages.
async fn eraser(app: &App) -> anyhow::Result<Bus> {
    let eraser = &app.settings().eraser;
    let config = BusConfig {
        url: eraser.nats_url.clone(),
        role: "eraser".to_owned(),
        instance: app.clock().new_id().to_string(),
        nkey: eraser.nkey.clone(),
    };
    let bus = Bus::connect(&config, app.clock().clone()).await?;
    for _ in 0..100 {
        if bus.is_connected() {
            return Ok(bus);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bus.close().await;
    Err(anyhow::anyhow!("the broker does not let the eraser in")).context("IDENTITY_ERASER_NKEY")
}
