//! Enrolment: enrolments, access grants, plans, subscriptions (`spec/commerce.md`).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CourseId, EnrollmentId, PlanId, SubscriptionId, UserId};
use crate::interval::Interval;
use crate::money::{Currency, Decimal};
use crate::privacy::{ExportEnrollment, PersonalData};
use crate::{Access, Page, Reply, Role, facts, refusals, requests};

refusals! {
    /// How enrolment refuses (`spec/commerce.md`, bad input).
    EnrollmentRefusal {
        /// No such enrolment, or someone else's.
        NotFound = "ENROLL_2401" 404 NotFound "no such enrolment",
        /// The course must be bought, or subscribed to; details carry the quote.
        PaymentRequired = "ENROLL_2402" 402 PaymentRequired "access to this course must be bought",
        /// No such course, or not published.
        CourseNotFound = "COURSE_2001" 404 NotFound "no such course",
        /// The user has a live subscription to this plan.
        AlreadySubscribed = "SUB_2501" 409 Conflict "there is a live subscription to this plan",
        /// The subscription has ended.
        SubscriptionEnded = "SUB_2502" 409 Conflict "the subscription has ended",
        /// No such plan.
        PlanNotFound = "SUB_2505" 404 NotFound "no such plan",
        /// No such subscription, or someone else's.
        SubscriptionNotFound = "SUB_2506" 404 NotFound "no such subscription",
        /// The plan must be paid from the first day; details carry the quote.
        PlanPaymentRequired = "SUB_2507" 402 PaymentRequired "this plan must be paid",
    }
}

/// Where an enrolment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum EnrollmentStatus {
    /// The user learns.
    Active,
    /// The course is completed.
    Completed,
    /// No grant gives access at the moment.
    Suspended,
    /// Left by the user.
    Cancelled,
}

/// Enrol the caller in a course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The course.
    #[garde(skip)]
    #[serde(alias = "courseId")]
    pub course_id: CourseId,
}

/// An enrolment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enrollment {
    /// The enrolment's id.
    pub id: EnrollmentId,
    /// Who is enrolled.
    pub user_id: UserId,
    /// In which course.
    pub course_id: CourseId,
    /// Where it is in its life.
    pub status: EnrollmentStatus,
    /// When the user enrolled; kept when they come back.
    pub enrolled_at: DateTime<Utc>,
    /// Grows by one with each change; the `ETag`.
    pub version: i64,
}

impl Reply for Enrollment {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// One enrolment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetEnrollment {
    /// The enrolment.
    #[garde(skip)]
    pub id: EnrollmentId,
}

/// The caller's enrolments, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListEnrollments {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// May the caller use this course right now?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CheckAccess {
    /// The course.
    #[garde(skip)]
    #[serde(alias = "courseId")]
    pub course_id: CourseId,
}

/// The answer of an access check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccessDecision {
    /// Whether any grant in force covers the course.
    pub allowed: bool,
    /// Where access comes from: `free`, `subscription`, `order_line`, `reward_grant`, `admin`.
    pub source: Option<String>,
    /// Until when, at least; null for ever.
    pub until: Option<DateTime<Utc>>,
    /// Whether a subscription that covered the course has ended.
    pub subscription_expired: bool,
}

impl Reply for AccessDecision {}

/// What a plan opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every course, those to come included.
    Catalog,
    /// These courses, 1 to 500.
    Courses(#[schemars(length(min = 1, max = 500))] Vec<CourseId>),
}

/// A new plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// 1 to 100 characters.
    #[garde(length(chars, min = 1, max = 100))]
    pub name: String,
    /// Price per interval in major units; `0` is free.
    #[garde(skip)]
    pub price: Decimal,
    /// The price's currency.
    #[garde(skip)]
    pub currency: Currency,
    /// Length of a period.
    #[garde(skip)]
    pub interval: Interval,
    /// A free period at the start.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Interval>,
    /// How long access lasts after a failed renewal.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Interval>,
    /// What it opens.
    #[garde(custom(scope_size))]
    pub scope: Scope,
}

/// A plan. A change makes a new version; subscriptions keep theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The plan's id.
    pub id: PlanId,
    /// From 1.
    pub version: i64,
    /// The name.
    pub name: String,
    /// Price per interval, major units.
    pub price: String,
    /// Price per interval, minor units.
    pub price_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Length of a period.
    pub interval: Interval,
    /// The free period at the start.
    pub trial: Option<Interval>,
    /// How long access lasts after a failed renewal.
    pub grace: Option<Interval>,
    /// What it opens.
    pub scope: Scope,
    /// When this version was made.
    pub created_at: DateTime<Utc>,
}

impl Reply for Plan {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// One plan, newest version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetPlan {
    /// The plan.
    #[garde(skip)]
    pub id: PlanId,
}

/// All plans, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListPlans {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Where a subscription is in its life. Payments bring the other states of the machine with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum SubscriptionStatus {
    /// In its free period at the start.
    Trialing,
    /// In a period.
    Active,
    /// Ended by the user, or a trial that nobody paid for.
    Canceled,
    /// Ended at the end of a period because it does not renew.
    Expired,
}

/// Subscribe the caller to a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The plan.
    #[garde(skip)]
    #[serde(alias = "planId")]
    pub plan_id: PlanId,
    /// Whether it renews at the end of a period.
    #[garde(skip)]
    #[serde(alias = "autoRenew")]
    pub auto_renew: bool,
    /// A stored payment method; not needed for free plans and trials.
    #[garde(length(chars, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subscription {
    /// The subscription's id.
    pub id: SubscriptionId,
    /// Who subscribed.
    pub user_id: UserId,
    /// To which plan.
    pub plan_id: PlanId,
    /// Which version of it.
    pub plan_version: i64,
    /// Where it is in its life.
    pub status: SubscriptionStatus,
    /// Which period, from 0.
    pub period_index: i32,
    /// When this period began.
    pub period_start: DateTime<Utc>,
    /// When this period ends.
    pub period_end: DateTime<Utc>,
    /// Whether it renews at the end of this period.
    pub auto_renew: bool,
    /// When the first period began.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Grows by one with each change; the `ETag`.
    pub version: i64,
}

impl Reply for Subscription {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetSubscription {
    /// The subscription.
    #[garde(skip)]
    pub id: SubscriptionId,
}

/// The caller's subscriptions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListSubscriptions {
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Change whether a subscription renews.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct UpdateSubscription {
    /// The subscription.
    #[garde(skip)]
    pub id: SubscriptionId,
    /// Whether it renews at the end of this period.
    #[garde(skip)]
    #[serde(alias = "autoRenew")]
    pub auto_renew: bool,
}

/// End a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CancelSubscription {
    /// The subscription.
    #[garde(skip)]
    pub id: SubscriptionId,
    /// At the end of the period (true, the default) or now.
    #[garde(skip)]
    #[serde(default = "yes", alias = "atPeriodEnd")]
    pub at_period_end: bool,
}

requests! { EnrollmentRefusal;
    /// Enrol in a course.
    "svc.enrollment.v1.enrollments.create" Access::User, Write Enroll => Enrollment;
    /// One enrolment.
    "svc.enrollment.v1.enrollments.get" Access::Owner, Read GetEnrollment => Enrollment;
    /// The caller's enrolments.
    "svc.enrollment.v1.enrollments.list" Access::User, Read ListEnrollments => Page<Enrollment>;
    /// Whether the caller may use a course right now.
    "svc.enrollment.v1.access.check" Access::User, Read CheckAccess => AccessDecision;
    /// Make a plan.
    "svc.enrollment.v1.plans.create" Access::Roles(&[Role::Admin, Role::Operator]), Write CreatePlan => Plan;
    /// One plan.
    "svc.enrollment.v1.plans.get" Access::Public, Read GetPlan => Plan;
    /// All plans.
    "svc.enrollment.v1.plans.list" Access::Public, Read ListPlans => Page<Plan>;
    /// Subscribe to a plan.
    "svc.enrollment.v1.subscriptions.create" Access::User, Write Subscribe => Subscription;
    /// One subscription.
    "svc.enrollment.v1.subscriptions.get" Access::Owner, Read GetSubscription => Subscription;
    /// The caller's subscriptions.
    "svc.enrollment.v1.subscriptions.list" Access::User, Read ListSubscriptions => Page<Subscription>;
    /// Change whether a subscription renews.
    "svc.enrollment.v1.subscriptions.update" Access::Owner, Write UpdateSubscription => Subscription;
    /// End a subscription, now or at the end of its period.
    "svc.enrollment.v1.subscriptions.cancel" Access::Owner, Write CancelSubscription => Subscription;
    /// What enrollment holds about the caller (GDPR Art. 20).
    "svc.enrollment.v1.privacy.export" Access::User, Read ExportEnrollment => PersonalData;
}

facts! {
    /// Everything of a user was erased here.
    EnrollmentErased "evt.enrollment.v1.privacy.erased" by user_id {
        /// The user.
        user_id: UserId,
        /// The erasure that it belongs to.
        job_id: uuid::Uuid,
        /// What was erased: table or kind of thing, and how many.
        erased: crate::privacy::Erased,
    }
    /// A user enrolled in a course.
    EnrollmentCreated "evt.enrollment.v1.enrollment.created" by user_id {
        /// The user.
        user_id: UserId,
        /// The enrolment.
        enrollment_id: EnrollmentId,
        /// The course.
        course_id: CourseId,
        /// When.
        enrolled_at: DateTime<Utc>,
    }
    /// A plan was made.
    PlanCreated "evt.enrollment.v1.plan.created" by plan_id {
        /// The plan.
        plan_id: PlanId,
        /// Its name.
        name: String,
    }
    /// A subscription began.
    SubscriptionActivated "evt.enrollment.v1.subscription.activated" by user_id {
        /// The user.
        user_id: UserId,
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The plan.
        plan_id: PlanId,
        /// The plan's name.
        plan_name: String,
        /// `trialing` or `active`.
        status: SubscriptionStatus,
        /// When the first period ends.
        period_end: DateTime<Utc>,
    }
    /// The end of a period is near.
    RenewalUpcoming "evt.enrollment.v1.subscription.renewal_upcoming" by user_id {
        /// The user.
        user_id: UserId,
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The plan's name.
        plan_name: String,
        /// When the period ends.
        period_end: DateTime<Utc>,
        /// Whether it will renew.
        auto_renew: bool,
    }
    /// A new period began.
    SubscriptionRenewed "evt.enrollment.v1.subscription.renewed" by user_id {
        /// The user.
        user_id: UserId,
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The plan's name.
        plan_name: String,
        /// Which period, from 0.
        period_index: i32,
        /// When it ends.
        period_end: DateTime<Utc>,
    }
    /// A subscription ended at the end of a period because it does not renew.
    SubscriptionExpired "evt.enrollment.v1.subscription.expired" by user_id {
        /// The user.
        user_id: UserId,
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The plan's name.
        plan_name: String,
        /// When it ended.
        ended_at: DateTime<Utc>,
    }
    /// A subscription was ended by its user, or a trial was not paid for.
    SubscriptionCanceled "evt.enrollment.v1.subscription.canceled" by user_id {
        /// The user.
        user_id: UserId,
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The plan's name.
        plan_name: String,
        /// `user` or `not_paid`.
        reason: String,
        /// When it ended.
        ended_at: DateTime<Utc>,
    }
    /// The last grant that gave access ended.
    AccessExpired "evt.enrollment.v1.access.expired" by user_id {
        /// The user.
        user_id: UserId,
        /// What ended: a subscription's id.
        subscription_id: SubscriptionId,
        /// When.
        ended_at: DateTime<Utc>,
    }
}

fn yes() -> bool {
    true
}

fn scope_size(scope: &Scope, _: &()) -> garde::Result {
    match scope {
        Scope::Courses(courses) if courses.is_empty() || courses.len() > 500 => {
            Err(garde::Error::new("1 to 500 courses"))
        }
        _ => Ok(()),
    }
}
