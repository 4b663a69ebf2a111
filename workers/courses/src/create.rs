//! Make a course, as a draft.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::courses::{Course, CourseCreated, CourseStatus, CreateCourse};
use lectern_subjects::money::{Currency, Decimal};
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;

use crate::course;

/// The language of a course that does not say.
const DEFAULT_LANGUAGE: &str = "en";

pub(crate) async fn create(app: App, call: Call, req: CreateCourse) -> Outcome<CreateCourse> {
    let actor = call.user()?.user;
    let price = price(req.price.as_ref(), req.currency.as_ref())?;
    let mut tx = app.begin(&call).await?;
    let now = tx.now();
    let course = Course {
        id: app.new_id(),
        title: req.title,
        description: req.description,
        status: CourseStatus::Draft,
        language: req.language.unwrap_or_else(|| DEFAULT_LANGUAGE.to_owned()),
        instructor: req.instructor,
        instructor_ids: Vec::new(),
        price: price.map(|(minor, currency)| currency.major(minor)),
        price_minor: price.map(|(minor, _)| minor),
        currency: price.map(|(_, currency)| currency.code().to_owned()),
        session_count: 0,
        duration_ms: 0,
        created_at: now,
        updated_at: now,
        published_at: None,
        version: 1,
    };
    course::insert(&mut tx, &course, actor).await?;
    let fact = CourseCreated { course_id: course.id, title: course.title.clone() };
    tx.announce(&fact, course.version).await?;
    tx.audit("course.created", None, json!({ "course_id": course.id })).await?;
    Ok(tx.commit(course).await?)
}

/// The price in minor units; none for a free course. A price of zero is no price.
fn price<'c>(
    price: Option<&Decimal>,
    currency: Option<&'c Currency>,
) -> Result<Option<(i64, &'c Currency)>, Refused<CommonRefusal>> {
    match (price, currency) {
        (None, None) => Ok(None),
        (Some(price), Some(currency)) => match price.minor(currency) {
            Ok(0) => Ok(None),
            Ok(minor) => Ok(Some((minor, currency))),
            Err(reason) => Err(invalid("/price", &reason)),
        },
        (Some(_), None) => Err(invalid("/currency", "required with a price")),
        (None, Some(_)) => Err(invalid("/price", "required with a currency")),
    }
}

/// COMMON_0001 for one field.
pub(crate) fn invalid(pointer: &str, reason: &str) -> Refused<CommonRefusal> {
    CommonRefusal::ValidationFailed.because(json!([{ "pointer": pointer, "reason": reason }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(amount: Option<&str>, code: Option<&str>) -> Result<Option<i64>, String> {
        let amount: Option<Decimal> =
            amount.map(|amount| serde_json::from_value(json!(amount)).expect("a decimal"));
        let currency = code.map(|code| Currency::try_from(code.to_owned()).expect("a currency"));
        price(amount.as_ref(), currency.as_ref())
            .map(|price| price.map(|(minor, _)| minor))
            .map_err(|refused| refused.details.unwrap_or_default()[0]["pointer"].to_string())
    }

    #[test]
    fn a_price_is_exact_in_the_digits_of_its_currency() {
        assert_eq!(asked(Some("29.99"), Some("USD")), Ok(Some(2999)));
        assert_eq!(asked(Some("1500"), Some("KRW")), Ok(Some(1500)));
        assert_eq!(asked(Some("1.005"), Some("KWD")), Ok(Some(1005)));
        assert_eq!(asked(Some("999999999999.99"), Some("USD")), Ok(Some(99_999_999_999_999)));
    }

    #[test]
    fn no_price_and_a_price_of_zero_are_free() {
        assert_eq!(asked(None, None), Ok(None));
        assert_eq!(asked(Some("0.00"), Some("USD")), Ok(None));
    }

    #[test]
    fn half_a_price_and_too_many_digits_are_refused_at_their_field() {
        assert_eq!(asked(Some("29.99"), None), Err("\"/currency\"".to_owned()));
        assert_eq!(asked(None, Some("USD")), Err("\"/price\"".to_owned()));
        assert_eq!(asked(Some("29.999"), Some("USD")), Err("\"/price\"".to_owned()));
        assert_eq!(asked(Some("0.5"), Some("KRW")), Err("\"/price\"".to_owned()));
    }
}
