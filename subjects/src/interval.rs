//! Intervals: ISO 8601 durations, so that a month is a month.

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time in calendar terms: `P1M`, `P7D`, `PT4S`. Positive; at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "duration", "pattern" = "^P[0-9YMWDTHS]+$", "examples" = ["P1M"]))]
pub struct Interval {
    months: u32,
    days: u32,
    seconds: u32,
}

impl Interval {
    /// The moment `count` intervals after `anchor`. Counting from the anchor keeps the day of the month: the 31st, then
    /// the 28th of February, then the 31st again. The end of chrono's calendar when it lies beyond that.
    pub fn after(self, anchor: DateTime<Utc>, count: u32) -> DateTime<Utc> {
        let months = Months::new(self.months.saturating_mul(count));
        let days = Days::new(u64::from(self.days) * u64::from(count));
        let seconds = TimeDelta::try_seconds(i64::from(self.seconds) * i64::from(count));
        anchor
            .checked_add_months(months)
            .and_then(|at| at.checked_add_days(days))
            .and_then(|at| at.checked_add_signed(seconds?))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl std::str::FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected an ISO 8601 duration such as P1M, P7D or PT4S".to_owned();
        let rest = text.strip_prefix('P').ok_or_else(wrong)?;
        let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
        if rest.ends_with('T') || rest.is_empty() {
            return Err(wrong());
        }
        let mut interval = Interval { months: 0, days: 0, seconds: 0 };
        for (part, units) in [(date, "YMWD"), (time, "HMS")] {
            let mut rest = part;
            let mut allowed = units;
            while !rest.is_empty() {
                let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
                let number: u32 = rest[..end].parse().map_err(|_| wrong())?;
                let unit = rest[end..].chars().next().ok_or_else(wrong)?;
                let place = allowed.find(unit).ok_or_else(wrong)?;
                allowed = &allowed[place + 1..];
                rest = &rest[end + unit.len_utf8()..];
                let (field, factor) = match (units, unit) {
                    ("YMWD", 'Y') => (&mut interval.months, 12),
                    ("YMWD", 'M') => (&mut interval.months, 1),
                    ("YMWD", 'W') => (&mut interval.days, 7),
                    ("YMWD", _) => (&mut interval.days, 1),
                    (_, 'H') => (&mut interval.seconds, 3600),
                    (_, 'M') => (&mut interval.seconds, 60),
                    _ => (&mut interval.seconds, 1),
                };
                *field = number.checked_mul(factor).and_then(|n| n.checked_add(*field)).ok_or_else(wrong)?;
            }
        }
        let total = u64::from(interval.months) * 31 * 86_400
            + u64::from(interval.days) * 86_400
            + u64::from(interval.seconds);
        match total {
            0 => Err("a duration must be longer than nothing".to_owned()),
            1..=321_408_000 => Ok(interval),
            _ => Err("a duration is at most ten years".to_owned()),
        }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P")?;
        if self.months > 0 {
            write!(f, "{}M", self.months)?;
        }
        if self.days > 0 {
            write!(f, "{}D", self.days)?;
        }
        if self.seconds > 0 {
            write!(f, "T{}S", self.seconds)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> String {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_after_the_31st_is_the_last_day_and_two_months_the_31st_again() {
        let month: Interval = "P1M".parse().expect("an interval");
        let anchor: DateTime<Utc> = "2027-01-31T12:00:00Z".parse().expect("a time");
        assert_eq!(month.after(anchor, 1).to_rfc3339(), "2027-02-28T12:00:00+00:00");
        assert_eq!(month.after(anchor, 2).to_rfc3339(), "2027-03-31T12:00:00+00:00");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "1M",
            "P1",
            "P-1D",
            "P1DT",
            "PT1D",
            "P1D1M",
            "P0D",
            "PT0S",
            "P11Y",
            "P1.5D",
            "P99999999999D",
        ] {
            assert!(text.parse::<Interval>().is_err(), "{text} was accepted");
        }
        for (text, written) in
            [("P1Y", "P12M"), ("P2W", "P14D"), ("PT1H30M", "PT5400S"), ("P1M2DT3S", "P1M2DT3S")]
        {
            assert_eq!(text.parse::<Interval>().expect(text).to_string(), written);
        }
    }
}
