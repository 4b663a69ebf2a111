//! How many of something in how long.

use chrono::TimeDelta;

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
