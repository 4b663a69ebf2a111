//! The catalogue: keyset pages, newest first. A cursor names the last row shown, so that rows added meanwhile neither
//! push others out of a page nor show them twice.

use chrono::{DateTime, Utc};
use lectern_core::{App, Call, Outcome};
use lectern_subjects::courses::{CourseCard, CourseStatus, ListCourses};
use lectern_subjects::id::CourseId;
use lectern_subjects::page::{self, Moment};
use lectern_subjects::{CommonRefusal, Page, Refusal};
use serde_json::json;
use sqlx::{PgPool, query_as};

use crate::course::major;

/// A row of the list. Not [`CourseCard`] itself: the price in major units is made of two columns, and a cursor needs
/// the row's place.
struct Row {
    id: CourseId,
    title: String,
    status: CourseStatus,
    language: String,
    instructor_name: Option<String>,
    price_minor: Option<i64>,
    currency: Option<String>,
    session_count: i64,
    duration_ms: i64,
    published_at: Option<DateTime<Utc>>,
    listed_at: DateTime<Utc>,
}

impl From<Row> for CourseCard {
    fn from(row: Row) -> CourseCard {
        CourseCard {
            id: row.id,
            title: row.title,
            status: row.status,
            language: row.language,
            instructor_name: row.instructor_name,
            price: major(row.price_minor, row.currency.as_deref()),
            price_minor: row.price_minor,
            currency: row.currency,
            session_count: row.session_count,
            duration_ms: row.duration_ms,
            published_at: row.published_at,
        }
    }
}

pub(crate) async fn list(app: App, call: Call, req: ListCourses) -> Outcome<ListCourses> {
    let status = req.status.unwrap_or(CourseStatus::Published);
    if status != CourseStatus::Published && !call.caller.as_deref().is_some_and(|caller| caller.is_staff()) {
        let details = json!({ "needs_role": ["operator", "admin"], "pointer": "/status" });
        return Err(CommonRefusal::Forbidden.because(details).into());
    }
    let after = page::key(req.cursor.as_deref())?.unwrap_or(Moment::LATEST);
    let limit = page::limit(req.limit);
    let fetch = i64::from(limit) + 1;
    let rows = match patterns(req.q.as_deref().unwrap_or_default()) {
        words if words.is_empty() => newest(app.pool(), status, &after, fetch).await?,
        words => search(app.pool(), status, &after, &words, fetch).await?,
    };
    let page =
        Page::from_rows(rows, limit as usize, |row| Moment { at: row.listed_at, id: row.id.0 }.to_string());
    let items = page.items.into_iter().map(CourseCard::from).collect();
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// The rows after a place, straight from the index.
async fn newest(
    db: &PgPool,
    status: CourseStatus,
    after: &Moment,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    query_as!(
        Row,
        r#"SELECT id AS "id: CourseId", title, status AS "status: CourseStatus", language, instructor_name,
                  price_minor, currency, session_count, duration_ms, published_at,
                  coalesce(published_at, created_at) AS "listed_at!"
           FROM courses.courses
           WHERE status = $1 AND (coalesce(published_at, created_at), id) < ($2, $3)
           ORDER BY coalesce(published_at, created_at) DESC, id DESC
           LIMIT $4"#,
        status as CourseStatus,
        after.at,
        after.id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// The same with words. A statement of its own: a plan that must serve both reads the whole catalogue for either.
async fn search(
    db: &PgPool,
    status: CourseStatus,
    after: &Moment,
    words: &[String],
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    query_as!(
        Row,
        r#"SELECT id AS "id: CourseId", title, status AS "status: CourseStatus", language, instructor_name,
                  price_minor, currency, session_count, duration_ms, published_at,
                  coalesce(published_at, created_at) AS "listed_at!"
           FROM courses.courses
           WHERE status = $1 AND (coalesce(published_at, created_at), id) < ($2, $3)
             AND (title || E'\n' || description) ILIKE ALL ($4::text[])
           ORDER BY coalesce(published_at, created_at) DESC, id DESC
           LIMIT $5"#,
        status as CourseStatus,
        after.at,
        after.id,
        words,
        limit,
    )
    .fetch_all(db)
    .await
}

/// One pattern per word; each must be found. What means something to LIKE is taken literally.
fn patterns(words: &str) -> Vec<String> {
    words
        .split_whitespace()
        .map(|word| {
            let literal = word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            format!("%{literal}%")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_searched_literally() {
        assert_eq!(patterns("  100% a_b c\\d "), ["%100\\%%", "%a\\_b%", "%c\\\\d%"]);
        assert_eq!(patterns(" "), Vec::<String>::new());
    }
}
