//! What a user has watched: segments of a video, time by our clock, completions.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use lectern_core::{Error, Tx};
use lectern_subjects::id::{CourseId, UserId};
use lectern_subjects::playback::{CourseCompleted, SessionCompleted};
use sqlx::query;

use crate::credit::Credit;
use crate::fold::Locked;

/// Adds what a viewing earned until a moment of our clock.
///
/// Locks rows in this order: watched, user_wall, viewers.
pub(crate) async fn add(
    tx: &mut Tx,
    session: &Locked,
    credit: &Credit,
    until: DateTime<Utc>,
) -> Result<(), Error> {
    let (from, to): (Vec<i64>, Vec<i64>) = credit.segments.iter().copied().unzip();
    // the last to be seen, by our clock, says where to resume, whatever device it was
    let row = query!(
        "WITH fresh AS (
             SELECT COALESCE(range_agg(int8range(s.lo, s.hi)), '{}') AS segments
             FROM unnest($4::bigint[], $5::bigint[]) AS s (lo, hi)
         )
         INSERT INTO playback.watched AS w
             (user_id, course_session_id, course_id, segments, unique_ms, duration_ms, resume_ms, resume_at)
         SELECT $1, $2, $3, segments, (SELECT COALESCE(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(segments) AS r),
                $6, $7, $8
         FROM fresh
         ON CONFLICT (user_id, course_session_id) DO UPDATE
         SET segments = w.segments + excluded.segments,
             unique_ms = (SELECT COALESCE(sum(upper(r) - lower(r)), 0)::bigint
                          FROM unnest(w.segments + excluded.segments) AS r),
             duration_ms = GREATEST(w.duration_ms, excluded.duration_ms),
             resume_ms = CASE WHEN excluded.resume_at >= w.resume_at THEN excluded.resume_ms ELSE w.resume_ms END,
             resume_at = GREATEST(w.resume_at, excluded.resume_at)
         RETURNING unique_ms, completed_at",
        session.user_id.0,
        session.course_session_id.0,
        session.course_id.0,
        &from,
        &to,
        session.frame.duration_ms,
        session.viewing.position_ms,
        until
    )
    .fetch_one(&mut **tx)
    .await?;
    for (day, from, to) in days(&credit.walls) {
        add_wall(tx, session.user_id, day, &from, &to).await?;
    }
    let enough = row.unique_ms as f64 >= session.threshold * session.frame.duration_ms as f64;
    if enough && row.completed_at.is_none() {
        complete(tx, session, until).await?;
    }
    Ok(())
}

type Day = (chrono::NaiveDate, Vec<DateTime<Utc>>, Vec<DateTime<Utc>>);

/// Intervals by UTC day, cut at midnight; days in order.
fn days(walls: &[(DateTime<Utc>, DateTime<Utc>)]) -> Vec<Day> {
    let mut days = std::collections::BTreeMap::<_, (Vec<_>, Vec<_>)>::new();
    for &(mut from, to) in walls {
        while from < to {
            let midnight = (from.date_naive() + TimeDelta::days(1)).and_time(NaiveTime::MIN).and_utc();
            let end = to.min(midnight);
            let (starts, ends) = days.entry(from.date_naive()).or_default();
            starts.push(from);
            ends.push(end);
            from = end;
        }
    }
    days.into_iter().map(|(day, (starts, ends))| (day, starts, ends)).collect()
}

/// A union: what several tabs watched at the same time is one time.
async fn add_wall(
    tx: &mut Tx,
    user: UserId,
    day: chrono::NaiveDate,
    from: &[DateTime<Utc>],
    to: &[DateTime<Utc>],
) -> Result<(), Error> {
    query!(
        "WITH fresh AS (
             SELECT COALESCE(range_agg(tstzrange(i.lo, i.hi)), '{}') AS intervals
             FROM unnest($3::timestamptz[], $4::timestamptz[]) AS i (lo, hi)
         )
         INSERT INTO playback.user_wall AS w (user_id, day, intervals, wall_ms)
         SELECT $1, $2, intervals,
                (SELECT floor(COALESCE(sum(extract(epoch FROM upper(r) - lower(r))), 0) * 1000)::bigint
                 FROM unnest(intervals) AS r)
         FROM fresh
         ON CONFLICT (user_id, day) DO UPDATE
         SET intervals = w.intervals + excluded.intervals,
             wall_ms = (SELECT floor(COALESCE(sum(extract(epoch FROM upper(r) - lower(r))), 0) * 1000)::bigint
                        FROM unnest(w.intervals + excluded.intervals) AS r)",
        user.0,
        day,
        from,
        to
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn complete(tx: &mut Tx, session: &Locked, at: DateTime<Utc>) -> Result<(), Error> {
    let first = query!(
        "UPDATE playback.watched SET completed_at = $3
         WHERE user_id = $1 AND course_session_id = $2 AND completed_at IS NULL",
        session.user_id.0,
        session.course_session_id.0,
        at
    )
    .execute(&mut **tx)
    .await?;
    if first.rows_affected() == 0 {
        return Ok(());
    }
    let completed = SessionCompleted {
        user_id: session.user_id,
        course_id: session.course_id,
        session_id: session.course_session_id,
        completed_at: at,
    };
    tx.announce(&completed, 1).await?;
    complete_course(tx, session.user_id, session.course_id, at).await
}

/// The course is complete when each of its required sessions is. Two sessions that are completed at the same time wait
/// for each other at the viewer's row, so that the second one sees both.
async fn complete_course(
    tx: &mut Tx,
    user: UserId,
    course: CourseId,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    query!("SELECT user_id FROM playback.viewers WHERE user_id = $1 FOR UPDATE", user.0)
        .fetch_one(&mut **tx)
        .await?;
    let first = query!(
        "INSERT INTO playback.course_completions (user_id, course_id, completed_at)
         SELECT $1, $2, $3
         WHERE EXISTS (SELECT FROM playback.lessons l WHERE l.course_id = $2 AND l.required)
           AND NOT EXISTS (SELECT FROM playback.lessons l
                           LEFT JOIN playback.watched w ON w.user_id = $1 AND w.course_session_id = l.course_session_id
                           WHERE l.course_id = $2 AND l.required AND w.completed_at IS NULL)
         ON CONFLICT DO NOTHING",
        user.0,
        course.0,
        at
    )
    .execute(&mut **tx)
    .await?;
    if first.rows_affected() == 1 {
        let completed = CourseCompleted { user_id: user, course_id: course, completed_at: at };
        tx.announce(&completed, 1).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_cut_at_midnight() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let days = days(&[
            (at("2026-11-20T23:59:50Z"), at("2026-11-21T00:00:05Z")),
            (at("2026-11-20T10:00:00Z"), at("2026-11-20T10:00:10Z")),
        ]);
        let spans: Vec<_> = days.iter().map(|(day, from, _)| (day.to_string(), from.len())).collect();
        assert_eq!(spans, [("2026-11-20".to_owned(), 2), ("2026-11-21".to_owned(), 1)]);
        assert_eq!(days[1].2, [at("2026-11-21T00:00:05Z")]);
    }
}
