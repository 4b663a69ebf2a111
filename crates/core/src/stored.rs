//! What a stream holds, message by message: for checks that compare it with what was made of it.

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};

use crate::bus::Bus;
use crate::error::Error;

/// A stream as it is now.
pub struct Stored {
    stream: Stream,
    /// When the stream was made: sequences of an earlier one mean nothing here.
    pub created: DateTime<Utc>,
    /// Its first message.
    pub first_sequence: u64,
}

impl Bus {
    /// Looks into a stream. The role needs the rights `$JS.API.STREAM.INFO.<stream>` and `$JS.API.STREAM.MSG.GET.<stream>`.
    ///
    /// # Errors
    /// [`Error::Broker`] when it is not there or not permitted.
    pub async fn stored(&self, stream: &str) -> Result<Stored, Error> {
        let stream = self.jetstream().get_stream(stream).await.map_err(|e| Error::Broker(e.to_string()))?;
        let info = stream.cached_info();
        let nanos = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default();
        let created = DateTime::from_timestamp_nanos(nanos).trunc_subsecs(6);
        let first_sequence = info.state.first_sequence;
        Ok(Stored { stream, created, first_sequence })
    }
}

impl Stored {
    /// The subject and body of one message, as the stream's leader has it; none when there is none.
    ///
    /// # Errors
    /// [`Error::Broker`] when nobody answered.
    pub async fn message(&self, sequence: u64) -> Result<Option<(String, Bytes)>, Error> {
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some((message.subject.to_string(), message.payload))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::Broker(error.to_string())),
        }
    }

    /// The sequence up to which a durable consumer has dealt with every message.
    ///
    /// # Errors
    /// [`Error::Broker`] when it is not there or not permitted.
    pub async fn settled(&self, consumer: &str) -> Result<u64, Error> {
        let info = self.stream.consumer_info(consumer).await.map_err(|e| Error::Broker(e.to_string()))?;
        Ok(info.ack_floor.stream_sequence)
    }
}
