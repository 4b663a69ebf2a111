//! The fold: the stream's events become the event log and what was watched, in one transaction per playback session.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lectern_core::{Drained, Error, Tx, Unhandled, Verdict};
use lectern_subjects::id::{CourseId, CourseSessionId, PlaybackSessionId, UserId};
use lectern_subjects::playback::{BeatKind, PlaybackState};
use lectern_subjects::subject;
use metrics::{counter, histogram};
use sqlx::{query, query_as};
use tokio::task::JoinSet;

use crate::App;
use crate::credit::{Event, Frame, Viewing};
use crate::message::{Beats, kind_name};
use crate::watched;

/// Playback sessions folded at the same time: requests must find a connection in the pool of five, too.
const AT_ONCE: usize = 2;

/// The messages of one playback session in a batch: their places in it, and what they say in the order of the stream.
#[derive(Default)]
struct Group {
    places: Vec<usize>,
    beats: Vec<Beats>,
}

/// Folds a batch of the stream. Each playback session is folded for itself; when one fails, core hands the messages in
/// again one by one, which changes nothing for those that were folded.
pub(crate) async fn fold(app: App, batch: Vec<Drained>) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts = vec![Verdict::Done; batch.len()];
    let mut groups: BTreeMap<(UserId, PlaybackSessionId), Group> = BTreeMap::new();
    for (place, message) in batch.iter().enumerate() {
        match read(message) {
            Ok((viewer, session, beats)) => {
                let group = groups.entry((viewer, session)).or_default();
                group.places.push(place);
                group.beats.push(beats);
            }
            Err(reason) => verdicts[place] = Verdict::Never(reason),
        }
    }
    let (mut running, mut failed) = (JoinSet::new(), None);
    for ((viewer, session), group) in groups {
        if running.len() >= AT_ONCE {
            settle(running.join_next().await, &mut verdicts, &mut failed)?;
        }
        let app = app.clone();
        running.spawn(async move {
            let folded = fold_one(&app, viewer, session, &group.beats).await;
            (group.places, folded)
        });
    }
    while let Some(joined) = running.join_next().await {
        settle(Some(joined), &mut verdicts, &mut failed)?;
    }
    failed.map_or(Ok(verdicts), Err)
}

type Joined = Result<(Vec<usize>, Result<(), Unhandled>), tokio::task::JoinError>;

fn settle(
    joined: Option<Joined>,
    verdicts: &mut [Verdict],
    failed: &mut Option<anyhow::Error>,
) -> anyhow::Result<()> {
    let Some(joined) = joined else { return Ok(()) };
    match joined? {
        (_, Ok(())) => {}
        // the error itself goes to core, which knows a database that is away from a message that can't be handled
        (_, Err(Unhandled::Again(error))) => *failed = Some(error),
        (places, Err(Unhandled::Never(error))) => {
            for place in places {
                verdicts[place] = Verdict::Never(format!("{error:#}"));
            }
        }
    }
    Ok(())
}

fn read(message: &Drained) -> Result<(UserId, PlaybackSessionId, Beats), String> {
    let (viewer, session) =
        subject::stored_beat(&message.subject).ok_or_else(|| format!("{} is no beat", message.subject))?;
    let beats: Beats = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    Ok((viewer, session, beats))
}

async fn fold_one(
    app: &App,
    viewer: UserId,
    session: PlaybackSessionId,
    batches: &[Beats],
) -> Result<(), Unhandled> {
    let mut tx = app.begin_internal().await?;
    tx.set_actor(Some(viewer));
    let Some(locked) = lock(&mut tx, session).await?.filter(|locked| locked.user_id == viewer) else {
        return Err(Unhandled::Never(anyhow::anyhow!("no playback session {session} of user {viewer}")));
    };
    for beats in batches {
        log(&mut tx, session, beats).await?;
    }
    advance(&mut tx, locked).await?;
    tx.commit_followed().await?;
    for beats in batches {
        let lag = (app.now() - beats.server_at).to_std().unwrap_or_default();
        histogram!("playback_ingest_lag_seconds").record(lag.as_secs_f64());
    }
    Ok(())
}

/// Adds events to the log. One that is there already stays as it is: the first with a number counts.
async fn log(tx: &mut Tx, session: PlaybackSessionId, beats: &Beats) -> Result<(), Error> {
    let (events, data): (Vec<Event>, Vec<Option<String>>) = beats.placed().unzip();
    let column = |of: fn(&Event) -> i64| events.iter().map(of).collect::<Vec<i64>>();
    let kinds: Vec<String> = events.iter().map(|event| kind_name(event.kind).to_owned()).collect();
    let targets: Vec<Option<i64>> = events.iter().map(|event| event.position_to_ms).collect();
    let rates: Vec<f64> = events.iter().map(|event| event.rate).collect();
    let client_at: Vec<DateTime<Utc>> = events.iter().map(|event| event.client_at).collect();
    let occurred_at: Vec<DateTime<Utc>> = events.iter().map(|event| event.occurred_at).collect();
    let added = query!(
        "INSERT INTO playback.playback_events
             (playback_session_id, seq, kind, position_ms, position_to_ms, rate, client_at, server_at, occurred_at, data)
         SELECT $1, e.seq, e.kind, e.position_ms, e.position_to_ms, e.rate, e.client_at, $2, e.occurred_at, e.data::jsonb
         FROM unnest($3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::float8[], $8::timestamptz[],
                     $9::timestamptz[], $10::text[])
              AS e (seq, kind, position_ms, position_to_ms, rate, client_at, occurred_at, data)
         ON CONFLICT DO NOTHING",
        session.0,
        beats.server_at,
        &column(|event| event.seq),
        &kinds,
        &column(|event| event.position_ms),
        &targets as &[Option<i64>],
        &rates,
        &client_at,
        &occurred_at,
        &data as &[Option<String>]
    )
    .execute(&mut **tx)
    .await?;
    let known = (events.len() as u64).saturating_sub(added.rows_affected());
    if known > 0 {
        counter!("playback_events_rejected_total", "reason" => "known").increment(known);
    }
    Ok(())
}

/// A playback session whose row is locked.
pub(crate) struct Locked {
    pub id: PlaybackSessionId,
    pub user_id: UserId,
    pub course_id: CourseId,
    pub course_session_id: CourseSessionId,
    pub threshold: f64,
    pub frame: Frame,
    pub viewing: Viewing,
}

/// Locks a playback session; none when there is no such one.
pub(crate) async fn lock(tx: &mut Tx, session: PlaybackSessionId) -> Result<Option<Locked>, Error> {
    let row = query!(
        "SELECT user_id, course_id, course_session_id, threshold, started_at, duration_ms, last_seq,
                player AS \"player: PlaybackState\", position_ms, rate, last_client_at, last_server_at, spent_ms, media_ms,
                gap_since
         FROM playback.playback_sessions WHERE id = $1 FOR UPDATE",
        session.0
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Locked {
        id: session,
        user_id: row.user_id.into(),
        course_id: row.course_id.into(),
        course_session_id: row.course_session_id.into(),
        threshold: row.threshold,
        frame: Frame { started_at: row.started_at, duration_ms: row.duration_ms },
        viewing: Viewing {
            last_seq: row.last_seq,
            player: row.player,
            position_ms: row.position_ms,
            rate: row.rate,
            client_at: row.last_client_at,
            server_at: row.last_server_at,
            spent_ms: row.spent_ms,
            media_ms: row.media_ms,
            gap_since: row.gap_since,
        },
    }))
}

/// Credits what the log holds beyond the last folded event, as far as there is no gap, and announces what it completes.
pub(crate) async fn advance(tx: &mut Tx, mut session: Locked) -> Result<(), Error> {
    let pending = query_as!(
        Event,
        "SELECT seq, kind AS \"kind: BeatKind\", position_ms, position_to_ms, rate, client_at, server_at, occurred_at
         FROM playback.playback_events WHERE playback_session_id = $1 AND seq > $2 ORDER BY seq",
        session.id.0,
        session.viewing.last_seq
    )
    .fetch_all(&mut **tx)
    .await?;
    let now = tx.now();
    let credit = session.viewing.advance(&session.frame, &pending, now);
    let viewing = &session.viewing;
    query!(
        "UPDATE playback.playback_sessions
         SET last_seq = $2, player = $3::text, position_ms = $4, rate = $5, last_client_at = $6, last_server_at = $7,
             spent_ms = $8, media_ms = $9, gap_since = $10
         WHERE id = $1",
        session.id.0,
        viewing.last_seq,
        viewing.player as PlaybackState,
        viewing.position_ms,
        viewing.rate,
        viewing.client_at,
        viewing.server_at,
        viewing.spent_ms,
        viewing.media_ms,
        viewing.gap_since
    )
    .execute(&mut **tx)
    .await?;
    for (from_seq, through_seq) in &credit.skipped {
        tracing::warn!(session = %session.id, from_seq, through_seq, "events never came; going on without them");
        query!(
            "INSERT INTO playback.playback_gaps (playback_session_id, from_seq, through_seq, skipped_at)
             VALUES ($1, $2, $3, $4)",
            session.id.0,
            from_seq,
            through_seq,
            now
        )
        .execute(&mut **tx)
        .await?;
    }
    if let Some(until) = credit.until {
        watched::add(tx, &session, &credit, until).await?;
    }
    Ok(())
}
