use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const START_S: i64 = 1_800_000_000;
const MINUTE: Frame = Frame { started_at: at(0), duration_ms: 60_000 };

/// Milliseconds after the start.
const fn at(ms: i64) -> DateTime<Utc> {
    match DateTime::from_timestamp_millis(START_S * 1000 + ms) {
        Some(at) => at,
        None => DateTime::UNIX_EPOCH,
    }
}

/// An event that came as it happened, by the same clock.
fn event(seq: i64, kind: BeatKind, position_ms: i64, ms: i64) -> Event {
    let now = at(ms);
    Event {
        seq,
        kind,
        position_ms,
        position_to_ms: None,
        rate: 1.0,
        client_at: now,
        server_at: now,
        occurred_at: now,
    }
}

fn fold(events: &[Event]) -> (Viewing, Credit) {
    let mut viewing = Viewing::new(&MINUTE);
    let credit = viewing.advance(&MINUTE, events, at(0));
    (viewing, credit)
}

use BeatKind::{Buffer, Ended, Heartbeat, Pause, Play, Rate, Resume, Seek};

#[test]
fn what_is_played_is_credited() {
    let (viewing, credit) =
        fold(&[event(1, Play, 0, 0), event(2, Heartbeat, 10_000, 10_000), event(3, Pause, 15_000, 15_000)]);
    assert_eq!(credit.segments, [(0, 10_000), (10_000, 15_000)]);
    assert_eq!(credit.walls, [(at(0), at(10_000)), (at(10_000), at(15_000))]);
    assert_eq!((viewing.media_ms, viewing.position_ms, viewing.last_seq), (15_000, 15_000, 3));
    assert_eq!(viewing.player, PlaybackState::Paused);
}

#[test]
fn learning_e3_seek_to_the_end_earns_the_watched_part_only() {
    let mut jump = event(3, Seek, 10_000, 10_000);
    jump.position_to_ms = Some(59_000);
    let events =
        [event(1, Play, 0, 0), event(2, Heartbeat, 5_000, 5_000), jump, event(4, Ended, 60_000, 11_000)];
    let (viewing, credit) = fold(&events);
    assert_eq!(credit.segments, [(0, 5_000), (5_000, 10_000), (59_000, 60_000)]);
    assert_eq!((viewing.media_ms, viewing.player), (11_000, PlaybackState::Ended));
}

#[test]
fn learning_e3_a_jump_without_a_seek_is_one_all_the_same() {
    let (viewing, credit) = fold(&[
        event(1, Play, 0, 0),
        event(2, Heartbeat, 59_000, 1_000),
        event(3, Heartbeat, 60_000, 2_000),
        event(4, Heartbeat, 1_000, 3_000),
    ]);
    assert_eq!(credit.segments, [(59_000, 60_000)]);
    assert_eq!((viewing.media_ms, viewing.position_ms), (1_000, 1_000));
}

#[test]
fn learning_e3_the_playhead_may_run_ahead_by_a_tenth_and_a_half_second_more_than_one() {
    let reach = |position| fold(&[event(1, Play, 0, 0), event(2, Heartbeat, position, 10_000)]).0.media_ms;
    assert_eq!(reach(12_500), 12_500);
    assert_eq!(reach(12_501), 0);
}

#[test]
fn learning_e3_four_times_the_rate_is_credited_per_media_time() {
    let with = |rate: f64, position: i64| {
        let mut play = event(1, Play, 0, 0);
        play.rate = rate;
        fold(&[play, event(2, Heartbeat, position, 10_000)]).0.media_ms
    };
    assert_eq!(with(4.0, 45_500), 45_500);
    assert_eq!(with(4.0, 45_501), 0);
    assert_eq!(with(16.0, 45_501), 0, "a rate is clamped to 4");
}

#[test]
fn the_rate_holds_from_the_event_that_names_it() {
    let mut faster = event(2, Rate, 5_000, 5_000);
    faster.rate = 2.0;
    let mut beat = event(3, Heartbeat, 25_000, 15_000);
    beat.rate = 2.0;
    let (viewing, _) = fold(&[event(1, Play, 0, 0), faster, beat]);
    assert_eq!(viewing.media_ms, 25_000);
}

#[test]
fn a_device_cannot_claim_more_time_than_passed_here() {
    let claim = |position| {
        let mut beat = event(2, Heartbeat, position, 10_000);
        beat.client_at = at(60_000);
        fold(&[event(1, Play, 0, 0), beat])
    };
    // 10 s here and 2 s of slack: 12 s × 1.1 + 1.5 s
    assert_eq!(claim(14_700).0.media_ms, 14_700);
    assert_eq!(claim(14_701).0.media_ms, 0);
    assert_eq!(claim(14_700).1.walls, [(at(0), at(10_000))], "time here is never more than passed");
}

#[test]
fn a_batch_that_waited_for_the_network_is_credited_in_full_and_a_made_up_one_is_not() {
    let batch = |arrived: i64| {
        let beats = (0..4).map(|i| {
            let mut beat = event(i + 1, if i == 0 { Play } else { Heartbeat }, i * 10_000, i * 10_000);
            beat.server_at = at(arrived);
            beat.occurred_at = at((arrived - 30_000 + i * 10_000).max(0)).min(beat.server_at);
            beat
        });
        fold(&beats.collect::<Vec<_>>()).0.media_ms
    };
    assert_eq!(batch(30_000), 30_000);
    assert_eq!(batch(100), 0);
}

#[test]
fn nothing_is_credited_while_paused_stalled_or_before_play() {
    let (viewing, credit) = fold(&[
        event(1, Heartbeat, 0, 0),
        event(2, Heartbeat, 1_000, 1_000),
        event(3, Play, 1_000, 2_000),
        event(4, Buffer, 2_000, 3_000),
        event(5, Resume, 2_500, 5_000),
        event(6, Pause, 3_500, 6_000),
        event(7, Heartbeat, 4_000, 7_000),
    ]);
    assert_eq!(credit.segments, [(1_000, 2_000), (2_500, 3_500)]);
    assert_eq!(viewing.position_ms, 4_000);
}

#[test]
fn positions_are_clamped_to_the_video() {
    let (viewing, credit) = fold(&[event(1, Play, 58_000, 0), event(2, Ended, 61_900, 3_900)]);
    assert_eq!(credit.segments, [(58_000, 60_000)]);
    assert_eq!(viewing.position_ms, 60_000);
}

#[test]
fn a_gap_is_held_for_five_minutes_then_nothing_is_credited_across_it() {
    let events =
        [event(1, Play, 0, 0), event(3, Heartbeat, 10_000, 10_000), event(4, Heartbeat, 20_000, 20_000)];
    let mut viewing = Viewing::new(&MINUTE);
    let first = viewing.advance(&MINUTE, &events, at(20_000));
    assert_eq!((viewing.last_seq, first.segments.len(), viewing.gap_since), (1, 0, Some(at(20_000))));
    let held = viewing.advance(&MINUTE, &events[1..], at(319_999));
    assert_eq!((viewing.last_seq, held), (1, Credit::default()));
    let gone_on = viewing.advance(&MINUTE, &events[1..], at(320_000));
    assert_eq!((gone_on.skipped, gone_on.segments), (vec![(2, 2)], vec![(10_000, 20_000)]));
    assert_eq!((viewing.last_seq, viewing.gap_since), (4, None));
}

/// Kind, distance, target, rate, device time, batch: as drawn.
type Step = (BeatKind, i64, Option<i64>, f64, i64, Option<i64>);

/// What a player may do between two events.
#[derive(Debug, Clone)]
struct Move {
    kind: BeatKind,
    position_ms: i64,
    to_ms: Option<i64>,
    rate: f64,
    client_ms: i64,
    /// Before this event a batch is sent, this long after the one before.
    sent_after_ms: Option<i64>,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let kind = prop_oneof![
        4 => Just(Heartbeat), 4 => Just(Play), 1 => Just(Pause), 1 => Just(Seek), 1 => Just(Rate),
        1 => Just(Buffer), 1 => Just(Resume), 1 => Just(Ended), 1 => Just(BeatKind::Stop),
    ];
    let one = (
        kind,
        -3_000_i64..14_000,
        prop::option::of(0_i64..62_000),
        prop_oneof![3 => Just(1.0), 1 => 0.25_f64..4.0],
        -2_000_i64..15_000,
        prop::option::of(0_i64..20_000),
    );
    prop::collection::vec(one, 1..40).prop_map(|steps| {
        let (mut position_ms, mut client_ms) = (0_i64, 0_i64);
        let of = |(kind, ahead, to_ms, rate, later, sent_after_ms): Step| {
            position_ms = (position_ms + ahead).clamp(0, 62_000);
            client_ms += later;
            let told = Move { kind, position_ms, to_ms, rate, client_ms, sent_after_ms };
            if let (Seek, Some(to)) = (kind, to_ms) {
                position_ms = to;
            }
            told
        };
        steps.into_iter().map(of).collect()
    })
}

/// The batches as they were stored: each with one arrival time, its events placed before it as the device says.
fn batches(moves: &[Move]) -> Vec<Vec<Event>> {
    let mut batches: Vec<Vec<Event>> = vec![Vec::new()];
    let mut sent = 0;
    for (index, step) in moves.iter().enumerate() {
        if let Some(after) = step.sent_after_ms.filter(|_| index > 0) {
            sent += after;
            batches.push(Vec::new());
        }
        let batch = batches.last_mut().unwrap();
        batch.push(Event {
            seq: index as i64 + 1,
            kind: step.kind,
            position_ms: step.position_ms,
            position_to_ms: step.to_ms,
            rate: step.rate,
            client_at: at(step.client_ms),
            server_at: at(sent),
            occurred_at: at(sent),
        });
    }
    for batch in &mut batches {
        let newest = batch.iter().map(|event| event.client_at).max().unwrap();
        for event in batch {
            event.occurred_at = event.server_at - (newest - event.client_at);
        }
    }
    batches
}

/// The fold as the worker does it: a log that keeps the first event of a number, advanced after every message.
#[derive(Debug, PartialEq)]
struct Folded {
    viewing: Viewing,
    log: BTreeMap<i64, Event>,
    segments: Vec<(i64, i64)>,
    walls: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

fn deliver<'m>(messages: impl Iterator<Item = &'m Vec<Event>>) -> Folded {
    let mut folded =
        Folded { viewing: Viewing::new(&MINUTE), log: BTreeMap::new(), segments: vec![], walls: vec![] };
    for message in messages {
        for event in message {
            folded.log.entry(event.seq).or_insert_with(|| event.clone());
        }
        let pending: Vec<Event> =
            folded.log.range(folded.viewing.last_seq + 1..).map(|(_, event)| event.clone()).collect();
        let credit = folded.viewing.advance(&MINUTE, &pending, at(0));
        assert!(credit.skipped.is_empty());
        folded.segments.extend(credit.segments);
        folded.walls.extend(credit.walls);
    }
    folded.segments = union(folded.segments);
    folded.walls = union(folded.walls);
    folded
}

fn union<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort();
    let mut merged: Vec<(T, T)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

proptest! {
    #[test]
    fn learning_e1_repeats_reordering_and_other_batches_change_nothing(
        moves in moves(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        cut in 1_usize..7,
    ) {
        let sent = batches(&moves);
        let once = deliver(sent.iter());
        // the same events in other messages, as a client that got no answer sends them again
        let all: Vec<Event> = sent.iter().flatten().cloned().collect();
        let again: Vec<Vec<Event>> = all.chunks(cut).map(<[Event]>::to_vec).collect();
        let pool: Vec<&Vec<Event>> = sent.iter().chain(&again).collect();
        let shuffled = order.iter().map(|index| *index.get(&pool)).chain(sent.iter().rev());
        prop_assert_eq!(deliver(shuffled), once);
    }

    #[test]
    fn learning_e2_unique_time_is_never_more_than_the_video(moves in moves()) {
        let folded = deliver(batches(&moves).iter());
        let unique: i64 = folded.segments.iter().map(|(from, to)| to - from).sum();
        prop_assert!(folded.segments.iter().all(|(from, to)| 0 <= *from && from < to && *to <= 60_000));
        prop_assert!(unique <= 60_000 && unique <= folded.viewing.media_ms);
    }

    #[test]
    fn learning_e2_ten_tabs_do_not_multiply_time(tabs in prop::collection::vec(moves(), 10)) {
        let tabs: Vec<Vec<Vec<Event>>> = tabs.iter().map(|moves| batches(moves)).collect();
        let walls = union(tabs.iter().flat_map(|tab| deliver(tab.iter()).walls).collect());
        let watched: TimeDelta = walls.iter().map(|(from, to)| *to - *from).sum();
        let last = tabs.iter().flatten().flatten().map(|event| event.server_at).max().unwrap();
        prop_assert!(watched <= last - MINUTE.started_at, "{} of {}", watched, last - MINUTE.started_at);
    }

    #[test]
    fn learning_e3_credit_follows_the_rule_between_every_two_events(moves in moves()) {
        let sent = batches(&moves);
        let events: Vec<Event> = sent.into_iter().flatten().collect();
        let mut viewing = Viewing::new(&MINUTE);
        for pair in events.windows(2) {
            viewing.advance(&MINUTE, &pair[..1], at(0));
            let before = viewing.clone();
            let credit = viewing.advance(&MINUTE, &pair[1..], at(0));
            let client = (pair[1].client_at - pair[0].client_at).num_milliseconds().max(0);
            let earned: i64 = credit.segments.iter().map(|(from, to)| to - from).sum();
            prop_assert!(earned as f64 <= client as f64 * before.rate * 1.1 + 1500.0);
            prop_assert!(earned == 0 || before.player == PlaybackState::Playing);
        }
    }
}
