//! Dead letters: what could not be handled, with the reason. The payload is copied, so that it outlives its stream.

use async_nats::HeaderMap;
use bytes::Bytes;
use lectern_subjects::subject;

use crate::app::App;
use crate::error::Error;
use crate::reply::header_text;

/// The stream of dead letters.
pub const STREAM: &str = "DEAD";
/// Header of the subject that the message had.
pub const SUBJECT: &str = "Lectern-Dead-Subject";
/// Header of its place in its stream; 0 when the message itself was lost.
pub const SEQUENCE: &str = "Lectern-Dead-Sequence";
/// Header of the fact's id; absent when it could not be read.
pub const FACT: &str = "Lectern-Dead-Fact";
/// Header of why it could not be handled.
pub const ERROR: &str = "Lectern-Dead-Error";
/// Header of how often it was tried.
pub const ATTEMPTS: &str = "Lectern-Dead-Attempts";
/// Before the name of each header that the message had.
pub const ORIGINAL: &str = "Lectern-Original-";
/// Longest error text, characters.
const MAX_ERROR: usize = 1000;

/// A message that will not be tried again.
pub(crate) struct Letter<'a> {
    /// Where it came from.
    pub stream: &'a str,
    /// Who could not handle it.
    pub consumer: &'a str,
    pub subject: &'a str,
    pub sequence: u64,
    /// The fact's, the timer's or the outbox row's id.
    pub id: Option<String>,
    pub error: &'a str,
    pub attempts: i64,
    pub headers: Option<&'a HeaderMap>,
    pub payload: Bytes,
}

/// Stores a dead letter; returns when it is stored.
///
/// # Errors
/// [`Error::Broker`] when the stream does not take it: then the message must not be given up yet.
pub(crate) async fn bury(core: &App, letter: Letter<'_>) -> Result<(), Error> {
    let mut headers = HeaderMap::new();
    for (name, values) in letter.headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        for value in values {
            headers.append(format!("{ORIGINAL}{name}"), header_text(value.as_str()).as_str());
        }
    }
    headers.insert(SUBJECT, letter.subject);
    headers.insert(SEQUENCE, letter.sequence.to_string().as_str());
    if let Some(id) = &letter.id {
        headers.insert(FACT, header_text(id).as_str());
    }
    let error: String = letter.error.chars().take(MAX_ERROR).collect();
    headers.insert(ERROR, header_text(&error).as_str());
    headers.insert(ATTEMPTS, letter.attempts.to_string().as_str());
    headers.insert("Nats-Expected-Stream", STREAM);
    let once = match letter.sequence {
        0 => format!("{}.{}.{}", letter.stream, letter.consumer, letter.id.unwrap_or_default()),
        sequence => format!("{}.{}.{sequence}", letter.stream, letter.consumer),
    };
    let subject = subject::dead(letter.stream, letter.consumer);
    core.bus().publish(subject, &once, headers, letter.payload).await?;
    tracing::error!(
        stream = letter.stream,
        consumer = letter.consumer,
        subject = letter.subject,
        sequence = letter.sequence,
        attempts = letter.attempts,
        error = letter.error,
        "given up: it lies in the dead letters"
    );
    let labels = [("stream", letter.stream.to_owned()), ("consumer", letter.consumer.to_owned())];
    metrics::counter!("dead_letters_total", &labels).increment(1);
    Ok(())
}
