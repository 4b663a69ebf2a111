//! A part of a stream as it grows, for somebody who looks on: nothing is acknowledged, nothing is kept for them, and they can
//! go on where they were (architecture §13: a sequence means something only with its stream's epoch).

use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::bus::Bus;
use crate::error::Error;

/// A message is looked for this often, should the ping that it came be lost.
const LOOK: Duration = Duration::from_secs(1);
/// The ping may be faster than the stream.
const SETTLES: Duration = Duration::from_millis(20);

/// A place in a stream: `<epoch>-<sequence>`, the epoch being when the stream was made, unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    epoch: i64,
    sequence: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, Self::Err> {
        let parsed = text.split_once('-').and_then(|(epoch, sequence)| {
            Some(Place { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? })
        });
        parsed.ok_or("expected <epoch>-<sequence>, as an earlier event had it")
    }
}

/// One message.
#[derive(Debug, Clone)]
pub struct Fed {
    /// Where it stands.
    pub place: Place,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub payload: Bytes,
}

/// The messages of a stream under one filter, from a place on.
pub struct Feed {
    stream: Stream,
    filter: String,
    pings: Subscriber,
    epoch: i64,
    next: u64,
}

impl Bus {
    /// Follows a stream from after a place on, or from now on: so does a place in a stream that is gone. The role needs the
    /// rights `$JS.API.STREAM.INFO.<stream>` and `$JS.API.DIRECT.GET.<stream>`, and to subscribe to the filter.
    ///
    /// # Errors
    /// [`Error::Broker`] when the stream is not there or not permitted.
    pub async fn feed(&self, stream: &str, filter: &str, after: Option<Place>) -> Result<Feed, Error> {
        let broker = |error: &dyn std::fmt::Display| Error::Broker(format!("{stream}: {error}"));
        let pings = self.client().subscribe(filter.to_owned()).await.map_err(|e| broker(&e))?;
        let stream = self.jetstream().get_stream(stream).await.map_err(|e| broker(&e))?;
        let info = stream.cached_info();
        let epoch = i64::try_from(info.created.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        let next = match after {
            Some(place) if place.epoch == epoch => place.sequence + 1,
            _ => info.state.last_sequence + 1,
        };
        Ok(Feed { stream, filter: filter.to_owned(), pings, epoch, next })
    }
}

impl Feed {
    /// The next message; waits until there is one. Safe to cancel.
    ///
    /// # Errors
    /// [`Error::Broker`] when nobody answers: follow anew from the last place.
    pub async fn next(&mut self) -> Result<Fed, Error> {
        loop {
            if let Some(fed) = self.look().await? {
                return Ok(fed);
            }
            tokio::select! {
                ping = self.pings.next() => {
                    ping.ok_or_else(|| Error::Broker("the connection is closed".to_owned()))?;
                    tokio::time::sleep(SETTLES).await;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Fed>, Error> {
        let found = self.stream.direct_get_next_for_subject(&self.filter, Some(self.next)).await;
        match found {
            Ok(message) => {
                self.next = message.sequence + 1;
                Ok(Some(Fed {
                    place: Place { epoch: self.epoch, sequence: message.sequence },
                    subject: message.subject.to_string(),
                    payload: message.payload,
                }))
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Broker(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_nothing_else_is_one() {
        let place = Place { epoch: 1_795_000_000_123, sequence: 42 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "42", "1-", "-1", "1-2-3", "a-1", "1--2"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
