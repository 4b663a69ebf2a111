//! What users are told, in plain English: a title of one line, and a sentence or two.

use chrono::{DateTime, Utc};
use lectern_subjects::Fact;
use lectern_subjects::enrollment::{
    EnrollmentCreated, RenewalUpcoming, SubscriptionActivated, SubscriptionCanceled, SubscriptionExpired,
    SubscriptionRenewed, SubscriptionStatus,
};
use lectern_subjects::id::UserId;
use lectern_subjects::playback::{CourseCompleted, SessionCompleted};

/// The words of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// One line, at most 200 characters.
    pub title: String,
    /// The text.
    pub body: String,
}

impl Text {
    fn new(title: impl Into<String>, body: impl Into<String>) -> Text {
        Text { title: title.into(), body: body.into() }
    }
}

/// A fact that a user is told.
pub trait Tells: Fact {
    /// Who is told.
    fn user(&self) -> UserId;
    /// What is said.
    fn text(&self) -> Text;
}

impl Tells for EnrollmentCreated {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        Text::new(
            "Welcome to your course",
            "You are enrolled. Start with the first session whenever you like.",
        )
    }
}

impl Tells for SubscriptionActivated {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        let (plan, end) = (&self.plan_name, moment(self.period_end));
        match self.status {
            SubscriptionStatus::Trialing => Text::new(
                format!("Your trial of {plan} has begun"),
                format!("Everything in it is open to you until {end}."),
            ),
            _ => Text::new(
                format!("Your subscription to {plan} has begun"),
                format!("Everything in it is open to you. This period ends on {end}."),
            ),
        }
    }
}

impl Tells for RenewalUpcoming {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        let (plan, end) = (&self.plan_name, moment(self.period_end));
        if self.auto_renew {
            let body =
                format!("A new period begins on {end}. Switch off automatic renewal if you don't want it.");
            Text::new(format!("{plan} renews soon"), body)
        } else {
            let body =
                format!("It ends on {end} and does not renew. Switch on automatic renewal to keep it.");
            Text::new(format!("{plan} ends soon"), body)
        }
    }
}

impl Tells for SubscriptionRenewed {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        let body = format!("A new period has begun. It ends on {}.", moment(self.period_end));
        Text::new(format!("{} has renewed", self.plan_name), body)
    }
}

impl Tells for SubscriptionExpired {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        let body =
            format!("It ended on {}. Subscribe again to go on where you left off.", moment(self.ended_at));
        Text::new(format!("{} has expired", self.plan_name), body)
    }
}

impl Tells for SubscriptionCanceled {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        let (plan, end) = (&self.plan_name, moment(self.ended_at));
        match self.reason.as_str() {
            "not_paid" => Text::new(
                format!("Your trial of {plan} has ended"),
                format!(
                    "It ended on {end}, and you were not charged. Subscribe to go on where you left off."
                ),
            ),
            _ => Text::new(format!("{plan} is canceled"), format!("As you asked, it ended on {end}.")),
        }
    }
}

impl Tells for SessionCompleted {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        Text::new("Session completed", "Well done: you have completed another session of your course.")
    }
}

impl Tells for CourseCompleted {
    fn user(&self) -> UserId {
        self.user_id
    }

    fn text(&self) -> Text {
        Text::new("Course completed", "Congratulations: you have completed the whole course.")
    }
}

/// A moment as people read it; the second counts where a period is that short.
fn moment(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y, %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upcoming(auto_renew: bool) -> Text {
        let fact = RenewalUpcoming {
            user_id: UserId(uuid::Uuid::from_u128(1)),
            subscription_id: uuid::Uuid::from_u128(2).into(),
            plan_name: "Everything, monthly".to_owned(),
            period_end: "2027-03-05T09:05:07Z".parse().expect("a time"),
            auto_renew,
        };
        fact.text()
    }

    #[test]
    fn a_reminder_says_whether_it_renews_or_ends_and_when() {
        let (renews, ends) = (upcoming(true), upcoming(false));
        assert_eq!(renews.title, "Everything, monthly renews soon");
        assert_eq!(ends.title, "Everything, monthly ends soon");
        for text in [renews, ends] {
            assert!(text.body.contains("5 March 2027, 09:05:07 UTC"), "{text:?}");
        }
    }

    #[test]
    fn a_title_is_short_even_for_the_longest_plan_name() {
        let fact = SubscriptionActivated {
            user_id: UserId(uuid::Uuid::from_u128(1)),
            subscription_id: uuid::Uuid::from_u128(2).into(),
            plan_id: uuid::Uuid::from_u128(3).into(),
            plan_name: "x".repeat(100),
            status: SubscriptionStatus::Trialing,
            period_end: "2027-03-05T09:05:07Z".parse().expect("a time"),
        };
        assert!(fact.text().title.chars().count() <= 200);
    }
}
