//! Identity's own security mail: queued in the transaction that causes it, sealed, because it names an address and may
//! hold a code; delivered by a sweep, at least once.

pub(crate) mod letters;
pub(crate) mod smtp;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lectern_core::Tx;
use lectern_subjects::id::UserId;
use serde::Serialize;
use sqlx::query;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::app::{App, Fault};
pub(crate) use crate::mail::letters::Letter;
use crate::mail::smtp::{NotSent, Smtp};
use crate::settings::Settings;

/// Letters that a process hands over at once: one that the mail server takes its time for holds up no other.
const AT_ONCE: usize = 8;
/// How often the queue is looked at.
pub(crate) const PACE: Duration = Duration::from_millis(250);
/// A letter that could not be delivered waits 2 s, 4 s, 8 s and so on, at most this long.
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(5);
/// A letter is handed over within this time, or not.
const HAND_OVER: Duration = Duration::from_secs(20);
/// Nobody else takes a letter that is being handed over: well longer than that takes. Should its process die, it is
/// delivered again afterwards rather than never, with the same Message-ID.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// A letter that the server refused this often, whatever it refused at first, is given up.
const REFUSALS: i32 = 5;
/// So is one that was not taken for this long (RFC 5321 §4.5.4.1).
const PATIENCE: TimeDelta = TimeDelta::days(4);

/// Where letters go.
pub(crate) enum Post {
    /// To a mail server.
    Server(Box<Smtp>),
    /// To the development mailbox.
    File(PathBuf),
}

impl Post {
    /// As the settings say: a mail server before a file; none when there is neither.
    pub fn of(settings: &Settings) -> Option<Post> {
        match (&settings.smtp, &settings.mailbox) {
            (Some(smtp), _) => Some(Post::Server(Box::new(Smtp::new(smtp.clone())))),
            (None, Some(path)) => Some(Post::File(path.clone())),
            (None, None) => None,
        }
    }
}

/// A letter out of the queue.
struct Due {
    id: Uuid,
    sealed: Vec<u8>,
    /// This one included.
    attempts: i32,
    created_at: DateTime<Utc>,
}

/// Queues a letter to a user, or about them: it is deleted with the person.
pub(crate) async fn queue(tx: &mut Tx, app: &App, user: UserId, letter: &Letter) -> Result<(), Fault> {
    let id = app.clock().new_id();
    let sealed = app.vault().seal(&place(id), &serde_json::to_vec(letter)?).map_err(Fault::Broken)?;
    let now = tx.now();
    query!(
        "INSERT INTO identity.mail_queue (id, user_id, sealed, created_at, due_at) VALUES ($1, $2, $3, $4, $4)",
        id,
        user.0,
        sealed,
        now
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Delivers what is due. Where letters can't go anywhere they wait.
pub async fn deliver(app: App) -> anyhow::Result<()> {
    let Some(post) = app.post() else { return Ok(()) };
    let mut under_way = JoinSet::new();
    let mut pausing = false;
    // then no other is taken; what is half handed over is finished, or it would be handed over twice
    let mut failed = None;
    loop {
        while failed.is_none() && !pausing && under_way.len() < AT_ONCE {
            match take(&app).await {
                Ok(Some(due)) => drop(under_way.spawn(deliver_one(app.clone(), due))),
                Ok(None) => break,
                Err(error) => failed = Some(error.into()),
            }
        }
        // whoever is slow is waited for, and others are looked for meanwhile
        pausing = match tokio::time::timeout(PACE, under_way.join_next()).await {
            Ok(None) => break,
            // what keeps this one may keep the next
            Ok(Some(Ok(Ok(went_well)))) => !went_well,
            Ok(Some(Ok(Err(error)))) => {
                failed.get_or_insert(error);
                true
            }
            Ok(Some(Err(panicked))) => {
                failed.get_or_insert(panicked.into());
                true
            }
            Err(_) => false,
        };
    }
    if let Post::Server(smtp) = post {
        smtp.rest().await;
    }
    failed.map_or(Ok(()), Err)
}

/// Takes a letter that is due, for as long as it may take to deliver it: no transaction waits for a mail server.
async fn take(app: &App) -> Result<Option<Due>, sqlx::Error> {
    let now = app.now();
    sqlx::query_as!(
        Due,
        "UPDATE identity.mail_queue SET attempts = attempts + 1, due_at = $2
         WHERE id = (SELECT id FROM identity.mail_queue WHERE due_at <= $1
                     ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, sealed, attempts, created_at",
        now,
        now + LEASE
    )
    .fetch_optional(app.pool())
    .await
}

/// Whether it went well.
async fn deliver_one(app: App, due: Due) -> anyhow::Result<bool> {
    let handed_over = tokio::time::timeout(HAND_OVER, hand_over(&app, &due)).await;
    let handed_over = handed_over.unwrap_or_else(|_| Err(NotSent::Yet("it took too long".to_owned())));
    let now = app.now();
    let (status, reason, is_over) = match handed_over {
        Ok(()) => ("delivered", None, true),
        Err(NotSent::Refused(reason)) if due.attempts >= REFUSALS => ("given_up", Some(reason), true),
        Err(NotSent::Yet(reason)) if now - due.created_at > PATIENCE => ("given_up", Some(reason), true),
        Err(NotSent::Yet(reason) | NotSent::Refused(reason)) => ("failed", Some(reason), false),
    };
    metrics::counter!("user_mail_total", "status" => status).increment(1);
    let delivered = reason.is_none();
    if let Some(reason) = reason {
        let (letter, attempts) = (due.id, due.attempts);
        if is_over {
            tracing::error!(%letter, attempts, reason, "a letter is given up");
        } else {
            tracing::warn!(%letter, attempts, reason, "a letter is not delivered yet");
        }
    }
    if is_over {
        query!("DELETE FROM identity.mail_queue WHERE id = $1", due.id).execute(app.pool()).await?;
    } else {
        let again_at = now + pause(due.attempts);
        query!("UPDATE identity.mail_queue SET due_at = $2 WHERE id = $1", due.id, again_at)
            .execute(app.pool())
            .await?;
    }
    Ok(delivered)
}

async fn hand_over(app: &App, due: &Due) -> Result<(), NotSent> {
    let yet = |error: anyhow::Error| NotSent::Yet(format!("{error:#}"));
    let plain = app.vault().open(&place(due.id), &due.sealed).map_err(yet)?;
    let letter: Letter = serde_json::from_slice(&plain).map_err(|error| yet(error.into()))?;
    match app.post() {
        None => Err(NotSent::Yet("letters can't go anywhere".to_owned())),
        Some(Post::Server(smtp)) => smtp.send(&letter, due.id, due.created_at).await,
        Some(Post::File(path)) => append(path.clone(), &letter, due.created_at).await.map_err(yet),
    }
}

/// After so many attempts.
fn pause(attempts: i32) -> TimeDelta {
    TimeDelta::seconds(2_i64.pow(attempts.clamp(1, 16).unsigned_abs())).min(LONGEST_PAUSE)
}

#[derive(Serialize)]
struct Line<'a> {
    to: &'a str,
    subject: &'a str,
    text: &'a str,
    at: String,
}

/// One line in one write at the end of the file: processes that share it never mix their lines.
async fn append(mailbox: PathBuf, letter: &Letter, at: DateTime<Utc>) -> anyhow::Result<()> {
    let Letter { to, subject, text } = letter;
    let line = Line { to, subject, text, at: at.to_rfc3339_opts(SecondsFormat::Micros, true) };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    let written = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&mailbox)
            .with_context(|| format!("MAILBOX_FILE {}", mailbox.display()))?;
        anyhow::Ok(file.write_all(&line)?)
    });
    written.await?
}

fn place(id: Uuid) -> String {
    format!("mail_queue/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::letters::Language;
    use crate::vault::tests::vault;

    #[test]
    fn a_queued_letter_shows_neither_address_nor_code() {
        let letter = Letter::verification("alice@example.org", Language::English, "482913", 10);
        let id = uuid::Uuid::from_u128(7);
        let sealed = vault(1).seal(&place(id), &serde_json::to_vec(&letter).unwrap()).unwrap();
        let shows = |text: &str| sealed.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!shows("482913") && !shows("alice") && !shows("example.org"));
        let opened: Letter = serde_json::from_slice(&vault(1).open(&place(id), &sealed).unwrap()).unwrap();
        assert_eq!(opened, letter);
        assert!(vault(1).open(&place(uuid::Uuid::from_u128(8)), &sealed).is_err());
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        assert_eq!(pause(1), TimeDelta::seconds(2));
        assert_eq!(pause(4), TimeDelta::seconds(16));
        assert_eq!(pause(1000), LONGEST_PAUSE);
    }
}
