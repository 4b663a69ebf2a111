//! Publishing to a stream: nothing counts until the stream has acknowledged it. Answers come to the bus's own inbox,
//! because the client's map keeps an entry for ever when an acknowledgement never comes (nats.rs #1617).

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use bytes::Bytes;

use crate::bus::Bus;
use crate::error::{CallError, Error};

/// How long a stream may take to acknowledge (`spec/reliability.md` N5).
const ACK_PATIENCE: Duration = Duration::from_millis(1500);
/// Refusals that are about one message, not about its stream: too large (10054), a bad time to live (10165), a schedule's
/// pattern (10189), target (10190) or time to live (10191).
const ABOUT_THE_MESSAGE: [u64; 5] = [10054, 10165, 10189, 10190, 10191];

/// Why a message was not stored, as far as we know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStored {
    /// Certainly not stored: no stream takes this subject, or we are not connected.
    #[error("{0}")]
    NoStream(String),
    /// Certainly not stored: the stream refused, and would refuse others too.
    #[error("{0}")]
    StreamRefused(String),
    /// Certainly not stored: the stream refused this message.
    #[error("{0}")]
    MessageRefused(String),
    /// No acknowledgement came: it may be stored. Publish again with the same id.
    #[error("no acknowledgement in time")]
    Unknown,
}

impl Bus {
    /// Publishes to a stream and waits until it is stored; a duplicate within the stream's window counts as stored.
    ///
    /// # Errors
    /// [`Error::Broker`] when the stream did not acknowledge: it may or may not be stored, publish again with the same id.
    pub async fn publish(
        &self,
        subject: String,
        id: &str,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PublishAck, Error> {
        headers.insert("Nats-Msg-Id", id);
        crate::telemetry::inject(&mut headers);
        self.store(&subject, headers, payload).await.map_err(|e| Error::Broker(format!("{subject}: {e}")))
    }

    /// The same with all headers made by the caller, `Nats-Msg-Id` among them, and a reason that can be acted on.
    pub(crate) async fn store(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PublishAck, NotStored> {
        let size = payload.len() + header_bytes(&headers);
        let most = self.client().server_info().max_payload;
        if most > 0 && size > most {
            return Err(NotStored::MessageRefused(format!("{size} bytes, of at most {most}")));
        }
        let message =
            self.exchange(subject, headers, payload, ACK_PATIENCE).await.map_err(|error| match error {
                CallError::Timeout => NotStored::Unknown,
                other => NotStored::NoStream(other.to_string()),
            })?;
        match serde_json::from_slice::<Response<PublishAck>>(&message.payload) {
            Ok(Response::Ok(ack)) => Ok(ack),
            Ok(Response::Err { error }) if ABOUT_THE_MESSAGE.contains(&error.error_code().0) => {
                Err(NotStored::MessageRefused(error.to_string()))
            }
            Ok(Response::Err { error }) => Err(NotStored::StreamRefused(error.to_string())),
            Err(_) => Err(NotStored::StreamRefused("the answer is no acknowledgement".to_owned())),
        }
    }
}

/// What headers take on the wire: a first line, `name: value` lines, an empty line.
fn header_bytes(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| name.len() + value.as_str().len() + 4)
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}
