//! The development mailbox: a file of JSON lines where mail lands instead of being sent.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A mailbox file (`MAILBOX_FILE`).
#[derive(Debug, Clone)]
pub struct Mailbox {
    file: PathBuf,
}

/// One message, as the file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// When it was sent, RFC 3339.
    pub at: String,
}

impl Letter {
    /// The first run of exactly `digits` digits in the text, for example a code of six.
    pub fn code(&self, digits: usize) -> Option<&str> {
        self.text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == digits)
    }
}

impl Mailbox {
    /// The mailbox in `file`, which may not exist yet.
    pub fn at(file: impl Into<PathBuf>) -> Mailbox {
        Mailbox { file: file.into() }
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All messages to `address` (in any case), newest last, though several are delivered at once. A line that is being
    /// written is left for the next look.
    pub fn to(&self, address: &str) -> Vec<Letter> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let mut letters: Vec<Letter> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Letter>(line).ok())
            .filter(|letter| letter.to.eq_ignore_ascii_case(address))
            .collect();
        letters.sort_by(|a, b| a.at.cmp(&b.at));
        letters
    }

    /// Waits for message number `count` (from 1) to `address`, at most 30 s.
    ///
    /// # Errors
    /// When it doesn't come: the message lists what did.
    pub async fn nth(&self, address: &str, count: usize) -> anyhow::Result<Letter> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let letters = self.to(address);
            if let Some(letter) = letters.get(count.saturating_sub(1)) {
                return Ok(letter.clone());
            }
            if Instant::now() > until {
                let subjects: Vec<&str> = letters.iter().map(|letter| letter.subject.as_str()).collect();
                anyhow::bail!(
                    "message {count} to {address} did not come within 30 s; there are {subjects:?}"
                );
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_by_address_newest_last_and_a_half_written_line_waits() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let line = |to: &str, text: &str| {
            format!(
                "{{\"to\":\"{to}\",\"subject\":\"s\",\"text\":\"{text}\",\"at\":\"2026-11-20T00:00:00Z\"}}\n"
            )
        };
        let text =
            [line("a@x.org", "code 123456 until 2026"), line("b@x.org", "no"), line("A@x.org", "later")]
                .concat();
        std::fs::write(file.path(), text + "{\"to\":\"a@x.org\",\"subj").expect("written");
        let letters = Mailbox::at(file.path()).to("a@x.org");
        assert_eq!(
            letters.iter().map(|letter| letter.text.as_str()).collect::<Vec<_>>(),
            ["code 123456 until 2026", "later"]
        );
        assert_eq!(letters[0].code(6), Some("123456"));
        assert_eq!(letters[1].code(6), None);
    }
}
