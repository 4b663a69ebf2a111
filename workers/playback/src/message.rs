//! What stands in the stream PLAYBACK: one message per accepted batch.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use lectern_subjects::id::PlaybackSessionId;
use lectern_subjects::playback::{Beat, BeatKind};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::credit::Event;

/// The events of one batch, as they came.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beats {
    /// Our clock on arrival.
    pub server_at: DateTime<Utc>,
    /// In order of seq, at least one.
    pub events: Vec<Beat>,
}

/// The id by which the stream knows a batch that was sent again (`spec/protocols.md` P7).
pub(crate) fn id(session: PlaybackSessionId, events: &[Beat]) -> Result<String, serde_json::Error> {
    let hash = digest(&SHA256, &serde_json::to_vec(events)?);
    let mut id = format!("{session}.{}.", events.first().map_or(0, |event| event.seq));
    for byte in &hash.as_ref()[..4] {
        // writing to a String can't fail
        let _written = write!(id, "{byte:02x}");
    }
    Ok(id)
}

impl Beats {
    /// When each event happened by our clock: the newest came at once, the others were kept as long as the device says.
    pub fn placed(&self) -> impl Iterator<Item = (Event, Option<String>)> {
        let newest = self.events.iter().map(|beat| beat.client_at).max().unwrap_or_default();
        self.events.iter().map(move |beat| {
            let kept = (newest - beat.client_at).max(TimeDelta::zero());
            let occurred_at = self.server_at.checked_sub_signed(kept).unwrap_or(DateTime::UNIX_EPOCH);
            let event = Event {
                seq: beat.seq,
                kind: beat.kind,
                position_ms: beat.position_ms,
                position_to_ms: beat.position_to_ms,
                rate: beat.rate,
                client_at: beat.client_at,
                server_at: self.server_at,
                occurred_at: occurred_at.max(DateTime::UNIX_EPOCH),
            };
            (event, beat.data.as_ref().map(ToString::to_string))
        })
    }
}

/// The kind's name on the wire, in the log and in metrics.
pub(crate) fn kind_name(kind: BeatKind) -> &'static str {
    match kind {
        BeatKind::Play => "play",
        BeatKind::Pause => "pause",
        BeatKind::Seek => "seek",
        BeatKind::Rate => "rate",
        BeatKind::Buffer => "buffer",
        BeatKind::Resume => "resume",
        BeatKind::Error => "error",
        BeatKind::Caption => "caption",
        BeatKind::Fullscreen => "fullscreen",
        BeatKind::Heartbeat => "heartbeat",
        BeatKind::Ended => "ended",
        BeatKind::Stop => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(seq: i64, client_ms: i64) -> Beat {
        Beat {
            seq,
            kind: BeatKind::Heartbeat,
            position_ms: 0,
            position_to_ms: None,
            rate: 1.0,
            client_at: DateTime::from_timestamp_millis(client_ms).unwrap(),
            data: None,
        }
    }

    #[test]
    fn events_are_placed_as_long_before_the_newest_as_the_device_says() {
        let server_at = DateTime::from_timestamp_millis(100_000).unwrap();
        let beats = Beats { server_at, events: vec![beat(1, 5_000), beat(2, 15_000), beat(3, 12_000)] };
        let placed: Vec<i64> = beats.placed().map(|(e, _)| e.occurred_at.timestamp_millis()).collect();
        assert_eq!(placed, [90_000, 100_000, 97_000]);
    }

    #[test]
    fn the_id_names_session_first_event_and_content() {
        let session = PlaybackSessionId(uuid::Uuid::from_u128(7));
        let one = id(session, &[beat(3, 0)]).unwrap();
        assert!(one.starts_with(&format!("{session}.3.")) && one.len() == 36 + 3 + 8);
        assert_eq!(one, id(session, &[beat(3, 0)]).unwrap());
        assert_ne!(one, id(session, &[beat(3, 1)]).unwrap());
    }

    #[test]
    fn kinds_are_named_as_on_the_wire() {
        for kind in [BeatKind::Play, BeatKind::Fullscreen, BeatKind::Heartbeat, BeatKind::Stop] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind_name(kind));
        }
    }
}
