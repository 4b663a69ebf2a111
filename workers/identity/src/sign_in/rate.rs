//! How many of something in how long: the moments of the last ones stand in one row per bucket (`address_attempts`).

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, query, query_scalar};

/// So many within so long: `5/m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// 1 to 1000.
    pub most: i32,
    /// A second, a minute, an hour or a day.
    pub within: TimeDelta,
}

/// A limit, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub Option<Rate>);

impl std::str::FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Limit, Self::Err> {
        const EXPECTED: &str = "expected N/s, N/m, N/h or N/d with N from 1 to 1000, or off";
        if text == "off" {
            return Ok(Limit(None));
        }
        let (most, unit) = text.split_once('/').ok_or(EXPECTED)?;
        let digits = (1..=4).contains(&most.len()) && most.bytes().all(|b| b.is_ascii_digit());
        let most = most.parse().ok().filter(|most| digits && (1..=1000).contains(most)).ok_or(EXPECTED)?;
        let within = match unit {
            "s" => TimeDelta::seconds(1),
            "m" => TimeDelta::minutes(1),
            "h" => TimeDelta::hours(1),
            "d" => TimeDelta::days(1),
            _ => return Err(EXPECTED),
        };
        Ok(Limit(Some(Rate { most, within })))
    }
}

/// Counts one more in a bucket, unless the last `rate.within` has as many as it may: then answers when there is a place
/// again. One conditional statement decides, on any number of processes.
pub(crate) async fn take(
    connection: &mut PgConnection,
    bucket: &[u8; 32],
    rate: Rate,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    if counts(connection, bucket, rate, now).await? {
        return Ok(None);
    }
    let free_at = free_at(connection, bucket, rate, now).await?;
    // one that came meanwhile may be a little later than our own moment
    Ok(Some(free_at.unwrap_or(now).min(now + rate.within)))
}

/// Empties a bucket.
pub(crate) async fn empty(connection: &mut PgConnection, bucket: &[u8; 32]) -> Result<(), sqlx::Error> {
    query!("DELETE FROM identity.address_attempts WHERE bucket = $1", bucket)
        .execute(connection)
        .await
        .map(drop)
}

/// The one statement: adds this moment unless the last `rate.within` has as many as it may.
async fn counts(
    connection: &mut PgConnection,
    bucket: &[u8; 32],
    rate: Rate,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let counted = query_scalar!(
        r#"INSERT INTO identity.address_attempts AS a (bucket, taken_at, idle_at)
           VALUES ($1, ARRAY[$2::timestamptz], $4)
           ON CONFLICT (bucket) DO UPDATE SET
               taken_at = ARRAY(SELECT t FROM unnest(a.taken_at) t WHERE t > $3) || $2::timestamptz,
               idle_at = $4
           WHERE (SELECT count(*) FROM unnest(a.taken_at) t WHERE t > $3) < $5
           RETURNING true AS "counted!""#,
        bucket,
        now,
        now - rate.within,
        now + rate.within,
        i64::from(rate.most),
    );
    Ok(counted.fetch_optional(connection).await?.is_some())
}

/// When there is a place again: when the last one too many is no longer within `rate.within`.
async fn free_at(
    connection: &mut PgConnection,
    bucket: &[u8; 32],
    rate: Rate,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let decisive = query_scalar!(
        r#"SELECT t AS "t!" FROM identity.address_attempts a, unnest(a.taken_at) t
           WHERE a.bucket = $1 AND t > $2 ORDER BY t DESC OFFSET $3 LIMIT 1"#,
        bucket,
        now - rate.within,
        i64::from(rate.most) - 1,
    );
    Ok(decisive.fetch_optional(connection).await?.map(|at: DateTime<Utc>| at + rate.within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i082_i083_rates_are_written_as_count_and_unit() {
        let minutes = Rate { most: 5, within: TimeDelta::minutes(1) };
        assert_eq!("5/m".parse(), Ok(Limit(Some(minutes))));
        assert_eq!("3/h".parse(), Ok(Limit(Some(Rate { most: 3, within: TimeDelta::hours(1) }))));
        assert_eq!("1000/d".parse(), Ok(Limit(Some(Rate { most: 1000, within: TimeDelta::days(1) }))));
        assert_eq!("off".parse(), Ok(Limit(None)));
        for bad in ["", "5", "0/m", "-1/m", "+5/m", "5/min", "5/w", "1001/s", "5 /m", "OFF", "/m", "00005/m"]
        {
            assert!(bad.parse::<Limit>().is_err(), "{bad:?}");
        }
    }
}
