//! When a subscriber is reminded that a period ends.

use chrono::{DateTime, TimeDelta, Utc};

/// A reminder; each is a timer of its own kind, because an entity has one live timer per kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reminder {
    /// 7 days before the end, in periods longer than 14 days.
    Week,
    /// 1 day before the end, in periods longer than 2 days.
    Day,
    /// A quarter of the period before the end, in all shorter periods.
    Short,
}

impl Reminder {
    /// All of them.
    pub const ALL: [Reminder; 3] = [Reminder::Week, Reminder::Day, Reminder::Short];

    /// The timer's kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Reminder::Week => "renewal_upcoming_7d",
            Reminder::Day => "renewal_upcoming_1d",
            Reminder::Short => "renewal_upcoming_short",
        }
    }
}

/// The reminders of a period, earliest first (`spec/commerce.md`, timers: 7 days and 1 day before; shorter periods get
/// one in proportion).
pub fn reminders(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<(Reminder, DateTime<Utc>)> {
    let length = end - start;
    let week = (Reminder::Week, end - TimeDelta::days(7));
    let day = (Reminder::Day, end - TimeDelta::days(1));
    if length > TimeDelta::days(14) {
        vec![week, day]
    } else if length > TimeDelta::days(2) {
        vec![day]
    } else {
        // whole milliseconds: a ring is compared with this moment, and the database keeps microseconds
        vec![(Reminder::Short, end - TimeDelta::milliseconds(length.num_milliseconds() / 4))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(start: &str, end: &str) -> Vec<(Reminder, String)> {
        let at = |text: &str| text.parse().expect("a time");
        reminders(at(start), at(end)).into_iter().map(|(which, at)| (which, at.to_rfc3339())).collect()
    }

    #[test]
    fn a_month_is_reminded_of_twice() {
        let due = of("2027-01-31T12:00:00Z", "2027-02-28T12:00:00Z");
        let expected = [
            (Reminder::Week, "2027-02-21T12:00:00+00:00".to_owned()),
            (Reminder::Day, "2027-02-27T12:00:00+00:00".to_owned()),
        ];
        assert_eq!(due, expected);
    }

    #[test]
    fn up_to_two_weeks_are_reminded_of_a_day_before() {
        for end in ["2027-01-15T00:00:00Z", "2027-01-03T00:00:01Z"] {
            let due = of("2027-01-01T00:00:00Z", end);
            assert!(matches!(&due[..], [(Reminder::Day, _)]), "{end}: {due:?}");
        }
        assert_eq!(of("2027-01-01T00:00:00Z", "2027-01-15T00:00:01Z").len(), 2);
    }

    #[test]
    fn up_to_two_days_are_reminded_of_a_quarter_before() {
        let due = of("2027-01-01T00:00:00.000001Z", "2027-01-01T00:00:04.000001Z");
        assert_eq!(due, [(Reminder::Short, "2027-01-01T00:00:03.000001+00:00".to_owned())]);
        assert_eq!(of("2027-01-01T00:00:00Z", "2027-01-03T00:00:00Z")[0].0, Reminder::Short);
    }

    #[test]
    fn a_reminder_comes_before_the_end_and_after_the_start() {
        for seconds in [1_u32, 2, 59, 86_400, 172_800, 172_801, 1_209_600, 1_209_601, 31_536_000] {
            let start: DateTime<Utc> = "2027-01-01T00:00:00Z".parse().expect("a time");
            let end = start + TimeDelta::seconds(seconds.into());
            let due = reminders(start, end);
            assert!(
                !due.is_empty() && due.iter().all(|(_, at)| start < *at && *at < end),
                "{seconds}: {due:?}"
            );
        }
    }
}
