//! Courses: the catalogue and its course sessions (`spec/learning.md`).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AssetId, CourseId, CourseSessionId, UserId};
use crate::money::{Currency, Decimal};
use crate::privacy::{ExportCourses, PersonalData};
use crate::{Access, Page, Reply, Role, facts, refusals, requests};

refusals! {
    /// How courses refuses (`spec/learning.md`, codes).
    CoursesRefusal {
        /// No such course, or a draft that the caller may not see.
        NotFound = "COURSE_2001" 404 NotFound "no such course",
        /// An archived course takes no changes.
        Archived = "COURSE_2002" 409 Conflict "the course is archived",
        /// Both or neither of `video_url` and `asset_id`, no https URL, or a private host.
        VideoSourceInvalid = "COURSE_2003" 400 Invalid "the video source is not valid",
        /// No course sessions yet.
        NotPublishable = "COURSE_2004" 409 Conflict "the course can't be published yet",
        /// No such course session in this course.
        SessionNotFound = "COURSE_2006" 404 NotFound "no such course session",
    }
}

/// Where a course is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum CourseStatus {
    /// Seen by staff only.
    Draft,
    /// Seen by everyone.
    Published,
    /// Kept for those who have it; takes no changes.
    Archived,
}

/// Who teaches, as shown to learners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Instructor {
    /// The name shown, 1 to 100 characters.
    #[garde(length(chars, min = 1, max = 100))]
    pub name: String,
    /// About the instructor, at most 5,000 characters.
    #[garde(length(chars, max = 5000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
}

/// A new course; a draft at first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CreateCourse {
    /// 1 to 200 characters.
    #[garde(custom(title_text))]
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// At most 20,000 characters; text, never markup.
    #[garde(length(chars, max = 20_000))]
    pub description: String,
    /// Who teaches.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructor: Option<Instructor>,
    /// What it costs, in major units; free when absent.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Decimal>,
    /// The price's currency; required with a price.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The course's language, a BCP 47 tag such as `ko`; `en` when absent.
    #[garde(custom(language_tag))]
    #[schemars(length(max = 35), extend("pattern" = "^[A-Za-z0-9]{2,8}(-[A-Za-z0-9]{2,8})*$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// Changes to a course; absent means unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct UpdateCourse {
    /// The course.
    #[garde(skip)]
    pub id: CourseId,
    /// 1 to 200 characters.
    #[garde(inner(custom(title_text)))]
    #[schemars(length(min = 1, max = 200))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// At most 20,000 characters.
    #[garde(length(chars, max = 20_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who teaches.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructor: Option<Instructor>,
}

/// A course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Course {
    /// The course's id.
    pub id: CourseId,
    /// The title.
    pub title: String,
    /// The description, as text.
    pub description: String,
    /// Where it is in its life.
    pub status: CourseStatus,
    /// BCP 47 tag.
    pub language: String,
    /// Who teaches, as shown.
    pub instructor: Option<Instructor>,
    /// Users who may edit it as its instructors.
    pub instructor_ids: Vec<UserId>,
    /// The price in major units; null when free.
    pub price: Option<String>,
    /// The price in minor units; null when free.
    pub price_minor: Option<i64>,
    /// The price's currency; null when free.
    pub currency: Option<String>,
    /// How many course sessions it has.
    pub session_count: i64,
    /// Their length together, milliseconds.
    pub duration_ms: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was published.
    pub published_at: Option<DateTime<Utc>>,
    /// Grows by one with each change; the `ETag`.
    pub version: i64,
}

impl Reply for Course {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// Make a course visible to everyone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct PublishCourse {
    /// The course.
    #[garde(skip)]
    pub id: CourseId,
}

/// One course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetCourse {
    /// The course.
    #[garde(skip)]
    pub id: CourseId,
}

/// The catalogue: published courses, newest first; staff may ask for drafts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListCourses {
    /// Words of title or description; at most 100 characters.
    #[garde(length(chars, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Another status than `published`; operators and admins only.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CourseStatus>,
    /// Rows per page, 1 to 100; 20 when absent.
    #[garde(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A row of the catalogue: what a list shows, without the description, so that a page of 100 stays small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CourseCard {
    /// The course's id.
    pub id: CourseId,
    /// The title.
    pub title: String,
    /// Where it is in its life.
    pub status: CourseStatus,
    /// BCP 47 tag.
    pub language: String,
    /// The instructor's name.
    pub instructor_name: Option<String>,
    /// The price in major units; null when free.
    pub price: Option<String>,
    /// The price in minor units; null when free.
    pub price_minor: Option<i64>,
    /// The price's currency; null when free.
    pub currency: Option<String>,
    /// How many course sessions it has.
    pub session_count: i64,
    /// Their length together, milliseconds.
    pub duration_ms: i64,
    /// When it was published.
    pub published_at: Option<DateTime<Utc>>,
}

/// Name the users who teach a course: they may edit it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SetInstructors {
    /// The course.
    #[garde(skip)]
    pub id: CourseId,
    /// All instructors from now on; at most 50.
    #[garde(length(max = 50))]
    pub user_ids: Vec<UserId>,
}

/// A new course session, at the end of the course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AddSession {
    /// The course.
    #[garde(skip)]
    pub course_id: CourseId,
    /// 1 to 200 characters.
    #[garde(custom(title_text))]
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// The video's length in milliseconds, up to 24 h.
    #[garde(range(min = 1, max = 86_400_000))]
    pub duration_ms: i64,
    /// An https URL elsewhere; either this or `asset_id`.
    #[garde(length(bytes, max = 2000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_url: Option<String>,
    /// An uploaded video; either this or `video_url`.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<AssetId>,
    /// Whether it counts for completing the course; true when absent.
    #[garde(skip)]
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether anyone may watch it without access.
    #[garde(skip)]
    #[serde(default)]
    pub preview: bool,
    /// The part of the video that must be watched to complete it: 0.001 to 1; 0.95 when absent.
    #[garde(custom(threshold))]
    #[schemars(range(min = 0.001, max = 1.0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_threshold: Option<f64>,
}

/// A course session: one lesson with a video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CourseSession {
    /// The session's id.
    pub id: CourseSessionId,
    /// Its course.
    pub course_id: CourseId,
    /// Its place in the course, from 1 without gaps.
    pub position: i32,
    /// The title.
    pub title: String,
    /// The video's length, milliseconds.
    pub duration_ms: i64,
    /// The external video; null for an uploaded one, which is streamed from a signed URL of a playback session, and
    /// null to callers who may not watch it.
    pub video_url: Option<String>,
    /// The uploaded video.
    pub asset_id: Option<AssetId>,
    /// Whether it counts for completing the course.
    pub required: bool,
    /// Whether anyone may watch it.
    pub preview: bool,
    /// The part that must be watched, 0 to 1.
    pub completion_threshold: f64,
    /// Grows by one with each change; the `ETag`.
    pub version: i64,
}

impl Reply for CourseSession {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// The course sessions of a course, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ListSessions {
    /// The course.
    #[garde(skip)]
    pub course_id: CourseId,
}

/// One course session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetSession {
    /// The course.
    #[garde(skip)]
    pub course_id: CourseId,
    /// The session.
    #[garde(skip)]
    pub session_id: CourseSessionId,
}

/// Who may write courses (seed 000 "admin", seed 002 operator; identity spec C27).
const AUTHORS: Access = Access::Roles(&[Role::Operator, Role::Admin]);

requests! { CoursesRefusal;
    /// Make a course, as a draft.
    "svc.courses.v1.courses.create" AUTHORS, Write CreateCourse => Course;
    /// Change a course.
    "svc.courses.v1.courses.update" Access::CourseStaff, Write UpdateCourse => Course;
    /// Make a course visible to everyone.
    "svc.courses.v1.courses.publish" Access::CourseStaff, Write PublishCourse => Course;
    /// One course.
    "svc.courses.v1.courses.get" Access::Public, Read GetCourse => Course;
    /// The catalogue.
    "svc.courses.v1.courses.list" Access::Public, Read ListCourses => Page<CourseCard>;
    /// Name the users who teach a course.
    "svc.courses.v1.instructors.set" AUTHORS, Write SetInstructors => Course;
    /// Add a course session at the end of a course.
    "svc.courses.v1.sessions.add" Access::CourseStaff, Write AddSession => CourseSession, shape { "video_url" => VideoSourceInvalid };
    /// The course sessions of a course.
    "svc.courses.v1.sessions.list" Access::Public, Read ListSessions => Page<CourseSession>;
    /// One course session.
    "svc.courses.v1.sessions.get" Access::Public, Read GetSession => CourseSession;
    /// What courses holds about the caller (GDPR Art. 20).
    "svc.courses.v1.privacy.export" Access::User, Read ExportCourses => PersonalData;
}

facts! {
    /// Everything of a user was erased here.
    CoursesErased "evt.courses.v1.privacy.erased" by user_id {
        /// The user.
        user_id: UserId,
        /// The erasure that it belongs to.
        job_id: uuid::Uuid,
        /// What was erased: table or kind of thing, and how many.
        erased: crate::privacy::Erased,
    }
    /// A course was made.
    CourseCreated "evt.courses.v1.course.created" by course_id {
        /// The course.
        course_id: CourseId,
        /// Its title.
        title: String,
    }
    /// A course was changed.
    CourseUpdated "evt.courses.v1.course.updated" by course_id {
        /// The course.
        course_id: CourseId,
        /// Its title now.
        title: String,
    }
    /// A course became visible to everyone.
    CoursePublished "evt.courses.v1.course.published" by course_id {
        /// The course.
        course_id: CourseId,
        /// Its title.
        title: String,
        /// The price in minor units; null when free.
        price_minor: Option<i64>,
        /// The price's currency; null when free.
        currency: Option<String>,
    }
    /// A course session was added.
    SessionAdded "evt.courses.v1.session.added" by course_id {
        /// The course.
        course_id: CourseId,
        /// The new session.
        session_id: CourseSessionId,
        /// Its place, from 1.
        position: i32,
        /// The video's length, milliseconds.
        duration_ms: i64,
        /// The uploaded video; null for an external one.
        asset_id: Option<AssetId>,
        /// The external video; null for an uploaded one.
        video_url: Option<String>,
        /// Whether it counts for completing the course.
        required: bool,
        /// Whether anyone may watch it.
        preview: bool,
        /// The part that must be watched, 0 to 1.
        completion_threshold: f64,
    }
    /// The instructors of a course were named anew.
    InstructorsChanged "evt.courses.v1.course.instructors_changed" by course_id {
        /// The course.
        course_id: CourseId,
        /// All instructors from now on.
        user_ids: Vec<UserId>,
    }
}

fn yes() -> bool {
    true
}

fn title_text(title: &str, _: &()) -> garde::Result {
    if title.trim().is_empty() || title.chars().count() > 200 {
        return Err(garde::Error::new("1 to 200 characters"));
    }
    if title.chars().any(char::is_control) { Err(garde::Error::new("no control characters")) } else { Ok(()) }
}

fn language_tag(tag: &Option<String>, _: &()) -> garde::Result {
    match tag {
        Some(tag) if tag.len() > 35 || !tag.split('-').all(language_subtag) => {
            Err(garde::Error::new("a BCP 47 tag such as en or ko-KR"))
        }
        _ => Ok(()),
    }
}

fn language_subtag(part: &str) -> bool {
    (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn threshold(threshold: &Option<f64>, _: &()) -> garde::Result {
    match threshold {
        Some(part) if !(*part >= 0.001 && *part <= 1.0) => Err(garde::Error::new("0.001 to 1")),
        _ => Ok(()),
    }
}
