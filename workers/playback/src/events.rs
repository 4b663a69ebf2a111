//! Events of a player: checked, stored in the stream, then answered. What was answered is never lost.

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::{Call, Error, Fault, Outcome};
use lectern_subjects::id::PlaybackSessionId;
use lectern_subjects::playback::{Beat, BeatKind, BeatsAccepted, PlaybackRefusal, SendBeats};
use lectern_subjects::{CommonRefusal, Refusal, Refused, subject};
use metrics::counter;
use serde_json::{Value, json};
use sqlx::query;

use crate::message::{self, Beats, kind_name};
use crate::viewing::{self, Open};
use crate::{App, media};

/// A position may stand this much behind the video's end, milliseconds.
const END_SLACK_MS: i64 = 2_000;

pub(crate) async fn events(app: App, call: Call, req: SendBeats) -> Outcome<SendBeats> {
    let accepted = accept(&app, &call, req).await;
    if let Err(Fault::Refused(refused)) = &accepted {
        let reason = match refused.refusal {
            PlaybackRefusal::EventInvalid => "invalid",
            PlaybackRefusal::SeqConflict => "seq_conflict",
            PlaybackRefusal::Closed => "closed",
            _ => "not_found",
        };
        counter!("playback_events_rejected_total", "reason" => reason).increment(1);
    }
    accepted
}

async fn accept(app: &App, call: &Call, req: SendBeats) -> Outcome<SendBeats> {
    let viewer = call.user()?;
    let open = viewing::find_open(app.pool(), req.id, viewer.user).await?.ok_or(PlaybackRefusal::NotFound)?;
    if open.ended_at.is_some() {
        return Err(PlaybackRefusal::Closed.into());
    }
    check(&req.events, open.duration_ms, call.now)?;
    let (first, last) = bounds(&req.events);
    if first <= open.accepted_seq {
        refuse_changed(app, req.id, &req.events).await?;
    }
    let media_url =
        fresh_url(app, &open, call.now).map(|path| media::url(app, path, req.id, viewer, call.now));
    note_life(app, req.id, last, call.now, media_url.is_some()).await?;

    let id = message::id(req.id, &req.events)?;
    let counts: Vec<BeatKind> = req.events.iter().map(|event| event.kind).collect();
    let body = serde_json::to_vec(&Beats { server_at: call.now, events: req.events })?;
    let stored =
        app.bus().publish(subject::beat(viewer.user, req.id), &id, Default::default(), body.into()).await;
    if let Err(error) = stored {
        tracing::warn!(session = %req.id, %error, "events were not stored; the client keeps them");
        return Err(CommonRefusal::Unavailable.retry_after(1).into());
    }
    for kind in counts {
        counter!("playback_events_total", "kind" => kind_name(kind)).increment(1);
    }
    Ok(BeatsAccepted { accepted_through_seq: last, media_url })
}

/// The first and last number of a checked batch, which is never empty.
fn bounds(events: &[Beat]) -> (i64, i64) {
    (events.first().map_or(0, |event| event.seq), events.last().map_or(0, |event| event.seq))
}

/// What a single event may not say, each by its index.
fn check(events: &[Beat], duration_ms: i64, now: DateTime<Utc>) -> Result<(), Refused<PlaybackRefusal>> {
    let mut wrong = Vec::new();
    let mut before = 0;
    for (index, event) in events.iter().enumerate() {
        let mut say = |field: &str, reason: &str| {
            wrong.push(json!({ "pointer": format!("/events/{index}/{field}"), "reason": reason }));
        };
        if event.seq <= before {
            say("seq", "sequence numbers grow within a batch");
        }
        before = event.seq;
        if event.position_ms > duration_ms + END_SLACK_MS {
            say("position_ms", "behind the end of the video");
        }
        if event.position_to_ms.is_some_and(|to| to > duration_ms + END_SLACK_MS) {
            say("position_to_ms", "behind the end of the video");
        }
        if event.kind == BeatKind::Seek && event.position_to_ms.is_none() {
            say("position_to_ms", "a seek says where it went");
        }
        if event.client_at > now + TimeDelta::hours(1) {
            say("client_at", "more than an hour ahead of our clock");
        }
        if event.client_at < DateTime::UNIX_EPOCH {
            say("client_at", "before 1970");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(PlaybackRefusal::EventInvalid.because(Value::Array(wrong))) }
}

/// Numbers that came before must come with the same content: an event never changes.
async fn refuse_changed(
    app: &App,
    session: PlaybackSessionId,
    events: &[Beat],
) -> Result<(), Fault<PlaybackRefusal>> {
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let logged = query!(
        "SELECT seq, kind AS \"kind: BeatKind\", position_ms, position_to_ms, rate, client_at, data::text
         FROM playback.playback_events WHERE playback_session_id = $1 AND seq = ANY($2) ORDER BY seq",
        session.0,
        &seqs
    )
    .fetch_all(app.pool())
    .await?;
    let mut changed = Vec::new();
    for row in logged {
        let data: Option<Value> = row.data.as_deref().map(serde_json::from_str).transpose()?;
        let same = events.iter().find(|event| event.seq == row.seq).is_some_and(|event| {
            event.kind == row.kind
                && event.position_ms == row.position_ms
                && event.position_to_ms == row.position_to_ms
                && event.rate == row.rate
                // PostgreSQL keeps microseconds
                && event.client_at.timestamp_micros() == row.client_at.timestamp_micros()
                && event.data == data
        });
        if !same {
            changed.push(row.seq);
        }
    }
    if changed.is_empty() {
        Ok(())
    } else {
        Err(PlaybackRefusal::SeqConflict.because(json!({ "seq": changed })).into())
    }
}

/// The path to sign anew when the last URL is past half its life; none for an external video.
fn fresh_url<'o>(app: &App, open: &'o Open, now: DateTime<Utc>) -> Option<&'o str> {
    open.media_path.as_deref().filter(|_| now - open.media_issued_at >= app.url_ttl() / 2)
}

/// Before the events are stored: a viewer whose events can't be stored right now is there all the same.
async fn note_life(
    app: &App,
    session: PlaybackSessionId,
    last: i64,
    now: DateTime<Utc>,
    url_issued: bool,
) -> Result<(), Fault<PlaybackRefusal>> {
    let noted = query!(
        "UPDATE playback.playback_sessions
         SET last_seen_at = GREATEST(last_seen_at, $2), accepted_seq = GREATEST(accepted_seq, $3),
             media_issued_at = CASE WHEN $4 THEN $2 ELSE media_issued_at END
         WHERE id = $1 AND ended_at IS NULL",
        session.0,
        now,
        last,
        url_issued
    )
    .execute(app.pool())
    .await
    .map_err(Error::from)?;
    if noted.rows_affected() == 1 { Ok(()) } else { Err(PlaybackRefusal::Closed.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(seq: i64, kind: BeatKind, position_ms: i64, client_at: DateTime<Utc>) -> Beat {
        Beat { seq, kind, position_ms, position_to_ms: None, rate: 1.0, client_at, data: None }
    }

    fn pointers(events: &[Beat], now: DateTime<Utc>) -> Vec<String> {
        let Err(refused) = check(events, 60_000, now) else { return Vec::new() };
        let details = refused.details.unwrap();
        details.as_array().unwrap().iter().map(|d| d["pointer"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_wrong_event_is_named_by_its_index() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let events = [
            beat(1, BeatKind::Play, 62_000, now + TimeDelta::hours(1)),
            beat(2, BeatKind::Heartbeat, 62_001, now),
            beat(2, BeatKind::Pause, 0, now),
            beat(4, BeatKind::Seek, 0, now + TimeDelta::minutes(61)),
            beat(5, BeatKind::Stop, 0, DateTime::UNIX_EPOCH - TimeDelta::seconds(1)),
        ];
        assert_eq!(
            pointers(&events, now),
            [
                "/events/1/position_ms",
                "/events/2/seq",
                "/events/3/position_to_ms",
                "/events/3/client_at",
                "/events/4/client_at"
            ]
        );
        assert_eq!(pointers(&events[..1], now), Vec::<String>::new());
    }
}
