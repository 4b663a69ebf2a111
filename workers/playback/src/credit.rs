//! The crediting rule (`spec/learning.md`, crediting rule): what of a video counts as watched, judged by the server from
//! events alone. Pure: the same events with the same arrival times give the same result, however often, in whatever order
//! and in whatever batches they were delivered.

use chrono::{DateTime, TimeDelta, Utc};
use lectern_subjects::playback::{BeatKind, PlaybackState};

/// The server's clock may be this much short of the device's between two events, milliseconds.
const CLOCK_SLACK_MS: i64 = 2_000;
/// The playhead may run ahead of the time that passed by a tenth …
const PACE: f64 = 1.1;
/// … and by this much between two events, milliseconds.
const POSITION_SLACK_MS: f64 = 1_500.0;
/// A missing event is waited for this long, then skipped.
pub const GAP_PATIENCE: TimeDelta = TimeDelta::minutes(5);

/// One event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// From 1.
    pub seq: i64,
    /// What happened.
    pub kind: BeatKind,
    /// The playhead, milliseconds.
    pub position_ms: i64,
    /// Where a seek went, milliseconds.
    pub position_to_ms: Option<i64>,
    /// The playing rate from here on.
    pub rate: f64,
    /// The device's clock.
    pub client_at: DateTime<Utc>,
    /// Our clock when it came.
    pub server_at: DateTime<Utc>,
    /// Our clock when it happened: as long before it came as the device says; never after `server_at`.
    pub occurred_at: DateTime<Utc>,
}

/// What does not change during a viewing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// When it was started, by our clock.
    pub started_at: DateTime<Utc>,
    /// The video's length, milliseconds.
    pub duration_ms: i64,
}

/// How far a viewing is folded.
#[derive(Debug, Clone, PartialEq)]
pub struct Viewing {
    /// The last event folded; 0 for none.
    pub last_seq: i64,
    /// The player after it: `Initialized`, `Playing`, `Paused`, `Stalled` or `Ended`.
    pub player: PlaybackState,
    /// The playhead after it, milliseconds.
    pub position_ms: i64,
    /// The playing rate after it.
    pub rate: f64,
    /// Its device time; none before the first event and behind a skipped gap.
    pub client_at: Option<DateTime<Utc>>,
    /// The latest arrival so far, by our clock.
    pub server_at: DateTime<Utc>,
    /// How much of our clock since the start the events so far have used, milliseconds.
    pub spent_ms: i64,
    /// Media time credited, milliseconds.
    pub media_ms: i64,
    /// Since when events wait behind a missing one.
    pub gap_since: Option<DateTime<Utc>>,
}

/// What events earned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Credit {
    /// Watched parts of the video, `[from, to)` milliseconds.
    pub segments: Vec<(i64, i64)>,
    /// When they were watched, by our clock, `[from, to)`.
    pub walls: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// Missing events that are no longer waited for, `from..=through`.
    pub skipped: Vec<(i64, i64)>,
    /// When the last event counted here came.
    pub until: Option<DateTime<Utc>>,
}

impl Viewing {
    /// A viewing without events.
    pub fn new(frame: &Frame) -> Viewing {
        Viewing {
            last_seq: 0,
            player: PlaybackState::Initialized,
            position_ms: 0,
            rate: 1.0,
            client_at: None,
            server_at: frame.started_at,
            spent_ms: 0,
            media_ms: 0,
            gap_since: None,
        }
    }

    /// Goes on over `pending`, the events behind `last_seq` in order of seq, as far as there is no gap. A gap is held for
    /// [`GAP_PATIENCE`] after it was noticed, then skipped: nothing is credited across it.
    pub fn advance(&mut self, frame: &Frame, pending: &[Event], now: DateTime<Utc>) -> Credit {
        let mut credit = Credit::default();
        for event in pending {
            if event.seq <= self.last_seq {
                continue;
            }
            if event.seq > self.last_seq + 1 {
                let since = *self.gap_since.get_or_insert(now);
                if now - since < GAP_PATIENCE {
                    return credit;
                }
                credit.skipped.push((self.last_seq + 1, event.seq - 1));
                self.client_at = None;
            }
            self.gap_since = None;
            self.step(frame, event, &mut credit);
        }
        self.gap_since = None;
        credit
    }

    fn step(&mut self, frame: &Frame, event: &Event, credit: &mut Credit) {
        let arrived = event.server_at.max(self.server_at);
        let elapsed = millis(arrived - frame.started_at);
        let position = event.position_ms.clamp(0, frame.duration_ms);
        match self.client_at {
            None => {
                let before = millis(event.occurred_at - frame.started_at).clamp(0, elapsed);
                self.spent_ms = self.spent_ms.max(before);
            }
            Some(client_at) => {
                // Events that come together share what our clock moved on before: a batch that waited for the network is
                // credited in full, one that was made up has nothing to share.
                let server = millis(arrived - self.server_at).max(elapsed - self.spent_ms);
                let wall = millis(event.client_at - client_at).min(server + CLOCK_SLACK_MS).max(0);
                self.spent_ms += wall;
                if self.player == PlaybackState::Playing {
                    self.play(frame, event, position, wall, credit);
                }
            }
        }
        let target = if event.kind == BeatKind::Seek { event.position_to_ms } else { None };
        self.position_ms = target.unwrap_or(position).clamp(0, frame.duration_ms);
        self.player = after(self.player, event.kind);
        self.rate = event.rate.clamp(0.25, 4.0);
        self.client_at = Some(event.client_at);
        self.server_at = arrived;
        self.last_seq = event.seq;
        credit.until = credit.until.max(Some(event.server_at));
    }

    /// Between two events while playing: the part in between is watched if there was time to; else it was a seek.
    fn play(&mut self, frame: &Frame, event: &Event, position: i64, wall_ms: i64, credit: &mut Credit) {
        let distance = position - self.position_ms;
        let reach = wall_ms as f64 * self.rate * PACE + POSITION_SLACK_MS;
        if distance < 0 || distance as f64 > reach {
            return;
        }
        if distance > 0 {
            credit.segments.push((self.position_ms, position));
            self.media_ms += distance;
        }
        let to = event.occurred_at.clamp(frame.started_at, event.server_at.max(frame.started_at));
        let from = (to - TimeDelta::milliseconds(wall_ms)).max(frame.started_at);
        if from < to {
            credit.walls.push((from, to));
        }
    }
}

/// The player's state machine: initialized → playing ⇄ paused/stalled → ended, and playing again.
fn after(player: PlaybackState, kind: BeatKind) -> PlaybackState {
    match kind {
        BeatKind::Play | BeatKind::Resume => PlaybackState::Playing,
        BeatKind::Pause | BeatKind::Stop => PlaybackState::Paused,
        BeatKind::Buffer if player == PlaybackState::Playing => PlaybackState::Stalled,
        BeatKind::Error => PlaybackState::Stalled,
        BeatKind::Ended => PlaybackState::Ended,
        BeatKind::Buffer
        | BeatKind::Seek
        | BeatKind::Rate
        | BeatKind::Caption
        | BeatKind::Fullscreen
        | BeatKind::Heartbeat => player,
    }
}

fn millis(time: TimeDelta) -> i64 {
    time.num_milliseconds()
}

#[cfg(test)]
mod tests;
