//! The rules of periods, without a database: how a subscription begins, how its periods follow, how it ends
//! (`spec/commerce.md` 4.1, subscription machine and period arithmetic).

use chrono::{DateTime, Utc};
use lectern_subjects::enrollment::SubscriptionStatus;
use lectern_subjects::interval::Interval;

/// From where periods are counted, so that the day of the month does not drift: 31 January, 28 February, 31 March.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The beginning of period `index`.
    pub at: DateTime<Utc>,
    /// 0; after a trial 1.
    pub index: i32,
}

impl Anchor {
    /// When period `index` ends.
    pub fn period_end(self, interval: Interval, index: i32) -> DateTime<Utc> {
        let count = u32::try_from(i64::from(index) - i64::from(self.index) + 1).unwrap_or(0);
        interval.after(self.at, count)
    }
}

/// How a live subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was not to renew.
    Expired,
    /// Its user cancelled it.
    CanceledByUser,
    /// The trial is over and nobody has paid.
    NotPaid,
}

/// How a subscription begins: its status, the end of period 0, and the anchor of what follows. None when the plan must
/// be paid from the first day. A free plan needs no trial.
pub(crate) fn first_period(
    price_minor: i64,
    interval: Interval,
    trial: Option<Interval>,
    now: DateTime<Utc>,
) -> Option<(SubscriptionStatus, DateTime<Utc>, Anchor)> {
    match trial {
        _ if price_minor == 0 => {
            let anchor = Anchor { at: now, index: 0 };
            Some((SubscriptionStatus::Active, anchor.period_end(interval, 0), anchor))
        }
        Some(trial) => {
            let end = trial.after(now, 1);
            Some((SubscriptionStatus::Trialing, end, Anchor { at: end, index: 1 }))
        }
        None => None,
    }
}

/// What the end of the period means for a live subscription: an ending, or none when it renews. A period that costs
/// something can't begin before payments exist, so such a trial ends.
pub(crate) fn at_period_end(
    status: SubscriptionStatus,
    auto_renew: bool,
    cancel_at_period_end: bool,
    price_minor: i64,
) -> Option<Ending> {
    if cancel_at_period_end {
        Some(Ending::CanceledByUser)
    } else if !auto_renew {
        Some(Ending::Expired)
    } else if status == SubscriptionStatus::Trialing && price_minor > 0 {
        Some(Ending::NotPaid)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn interval(text: &str) -> Interval {
        text.parse().expect("an interval")
    }

    #[test]
    fn commerce_i14_monthly_periods_keep_the_31st_and_follow_without_gap_or_overlap() {
        let start = at("2027-12-31T23:30:00Z");
        let (_, first_end, anchor) = first_period(0, interval("P1M"), None, start).expect("free");
        let ends: Vec<String> =
            (0..15).map(|index| anchor.period_end(interval("P1M"), index).date_naive().to_string()).collect();
        assert_eq!(first_end, anchor.period_end(interval("P1M"), 0));
        let expected = [
            "2028-01-31",
            "2028-02-29",
            "2028-03-31",
            "2028-04-30",
            "2028-05-31",
            "2028-06-30",
            "2028-07-31",
            "2028-08-31",
            "2028-09-30",
            "2028-10-31",
            "2028-11-30",
            "2028-12-31",
            "2029-01-31",
            "2029-02-28",
            "2029-03-31",
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn each_period_is_longer_than_nothing_for_any_interval_and_day() {
        for text in ["PT1S", "PT4S", "P1D", "P1W", "P1M", "P1M1D", "P1Y", "P10Y"] {
            for day in 1..=31 {
                let anchor = Anchor { at: at(&format!("2027-01-{day:02}T12:00:00Z")), index: 0 };
                let mut before = anchor.at;
                for index in 0..60 {
                    let end = anchor.period_end(interval(text), index);
                    assert!(end > before, "{text} from {}: period {index}", anchor.at);
                    before = end;
                }
            }
        }
    }

    #[test]
    fn after_a_trial_periods_are_counted_from_its_end() {
        let begun = first_period(999, interval("P1M"), Some(interval("P7D")), at("2027-01-24T10:00:00Z"));
        let (status, end, anchor) = begun.expect("a trial");
        assert_eq!((status, end), (SubscriptionStatus::Trialing, at("2027-01-31T10:00:00Z")));
        assert_eq!(anchor.period_end(interval("P1M"), 1), at("2027-02-28T10:00:00Z"));
        assert_eq!(anchor.period_end(interval("P1M"), 2), at("2027-03-31T10:00:00Z"));
    }

    #[test]
    fn what_costs_from_the_first_day_does_not_begin_unpaid() {
        let now = at("2027-01-24T10:00:00Z");
        assert_eq!(first_period(999, interval("P1M"), None, now), None);
        let free = first_period(0, interval("P1M"), Some(interval("P7D")), now).expect("free");
        assert_eq!((free.0, free.1), (SubscriptionStatus::Active, at("2027-02-24T10:00:00Z")));
    }

    #[test]
    fn r7_the_end_of_a_period_renews_expires_or_cancels() {
        use SubscriptionStatus::{Active, Trialing};
        assert_eq!(at_period_end(Active, true, false, 0), None);
        assert_eq!(at_period_end(Active, false, false, 0), Some(Ending::Expired));
        assert_eq!(at_period_end(Active, false, true, 0), Some(Ending::CanceledByUser));
        assert_eq!(at_period_end(Trialing, true, false, 999), Some(Ending::NotPaid));
        assert_eq!(at_period_end(Trialing, false, false, 999), Some(Ending::Expired));
        assert_eq!(at_period_end(Trialing, false, true, 999), Some(Ending::CanceledByUser));
    }
}
