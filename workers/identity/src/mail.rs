//! Identity's own security mail: queued in the transaction that causes it, sealed, because it names an address and may
//! hold a code; delivered by a sweep, at least once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lectern_core::Tx;
use serde::{Deserialize, Serialize};
use sqlx::query;

use crate::app::{App, Fault};

/// How often the queue is looked at.
pub(crate) const PACE: Duration = Duration::from_millis(250);
/// A letter that could not be delivered waits 2 s, 4 s, 8 s and so on, at most this long.
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// One letter.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
}

impl Letter {
    /// The code that verifies an address.
    pub fn verification(to: &str, code: &str, minutes: i64) -> Letter {
        Letter {
            to: to.to_owned(),
            subject: "Verify your e-mail address".to_owned(),
            text: format!(
                "Your verification code is {code}. It is good for {minutes} minutes.\n\n\
                 If you did not sign up, ignore this letter."
            ),
        }
    }

    /// What proves that the account is its owner's has changed.
    pub fn credential_changed(to: &str, kind: &str, action: &str) -> Letter {
        let (one, many) = match kind {
            "totp" => ("An authenticator app", "authenticator app"),
            "recovery" => ("A recovery code", "recovery codes"),
            _ => ("A passkey", "passkeys"),
        };
        let what = match (kind, action) {
            ("recovery", "added" | "replaced") => "New recovery codes were made for your account".to_owned(),
            ("recovery", "removed") => "The recovery codes of your account were removed".to_owned(),
            ("recovery", _) => "A recovery code of yours was used to sign in".to_owned(),
            (_, "added") => format!("{one} was added to your account"),
            (_, "replaced") => format!("The {many} of your account was replaced"),
            (_, _) => format!("{one} was removed from your account"),
        };
        Letter {
            to: to.to_owned(),
            subject: what.clone(),
            text: format!(
                "{what}.\n\nIf that was not you, somebody else may have signed in: change your password, and end the \
                 sessions that you don't know."
            ),
        }
    }

    /// Somebody used a refresh token that was used before.
    pub fn reuse_detected(to: &str) -> Letter {
        Letter {
            to: to.to_owned(),
            subject: "We ended one of your sessions".to_owned(),
            text: "A sign-in token of yours was used a second time. That happens when somebody copied it, so the \
                   session was ended.\n\nSign in again. If you did not expect this, change your password."
                .to_owned(),
        }
    }
}

/// Queues a letter.
pub(crate) async fn queue(tx: &mut Tx, app: &App, letter: &Letter) -> Result<(), Fault> {
    let id = app.clock().new_id();
    let sealed = app.vault().seal(&place(id), &serde_json::to_vec(letter)?).map_err(Fault::Broken)?;
    let now = tx.now();
    query!(
        "INSERT INTO identity.mail_queue (id, sealed, created_at, due_at) VALUES ($1, $2, $3, $3)",
        id,
        sealed,
        now
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Delivers what is due to the development mailbox. Without one the letters wait.
pub async fn deliver(app: App) -> anyhow::Result<()> {
    let Some(mailbox) = app.settings().mailbox.clone() else { return Ok(()) };
    while deliver_one(&app, &mailbox).await? {}
    Ok(())
}

/// One letter, in a transaction that holds its row: nobody else delivers it meanwhile, and a crash in between delivers
/// it again rather than never. False when none is due.
async fn deliver_one(app: &App, mailbox: &Path) -> anyhow::Result<bool> {
    let mut tx = app.begin_internal().await?;
    let now = tx.now();
    let due = query!(
        "SELECT id, sealed, attempts, created_at FROM identity.mail_queue WHERE due_at <= $1
         ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED",
        now
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = due else { return Ok(false) };
    let delivered = match app.vault().open(&place(row.id), &row.sealed) {
        Ok(plain) => append(mailbox.to_owned(), plain, row.created_at).await,
        Err(error) => Err(error),
    };
    match delivered {
        Ok(()) => {
            query!("DELETE FROM identity.mail_queue WHERE id = $1", row.id).execute(&mut *tx).await?;
            metrics::counter!("user_mail_total", "status" => "delivered").increment(1);
        }
        Err(error) => {
            tracing::warn!(letter = %row.id, error = format!("{error:#}"), "a letter is not delivered yet");
            metrics::counter!("user_mail_total", "status" => "failed").increment(1);
            query!(
                "UPDATE identity.mail_queue SET attempts = attempts + 1, due_at = $2 WHERE id = $1",
                row.id,
                now + pause(row.attempts)
            )
            .execute(&mut *tx)
            .await?;
        }
    }
    tx.commit_followed().await?;
    Ok(true)
}

fn pause(attempts: i32) -> TimeDelta {
    TimeDelta::seconds(2_i64.pow(attempts.clamp(0, 16).unsigned_abs() + 1)).min(LONGEST_PAUSE)
}

#[derive(Serialize)]
struct Line<'a> {
    to: &'a str,
    subject: &'a str,
    text: &'a str,
    at: String,
}

/// One line in one write at the end of the file: processes that share it never mix their lines.
async fn append(mailbox: PathBuf, plain: Vec<u8>, at: DateTime<Utc>) -> anyhow::Result<()> {
    let letter: Letter = serde_json::from_slice(&plain)?;
    let Letter { to, subject, text } = &letter;
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

fn place(id: uuid::Uuid) -> String {
    format!("mail_queue/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    #[test]
    fn a_queued_letter_shows_neither_address_nor_code() {
        let letter = Letter::verification("alice@example.org", "482913", 10);
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
        assert_eq!(pause(0), TimeDelta::seconds(2));
        assert_eq!(pause(3), TimeDelta::seconds(16));
        assert_eq!(pause(1000), LONGEST_PAUSE);
    }
}
