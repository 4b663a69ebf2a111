//! One key, one effect, one answer: on both roads, however often and however many at once.

use futures_util::future::join_all;
use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::road::Road;
use crate::shared::{House, house};

const AT_ONCE: usize = 30;

/// Sends the same thing thirty times at once; who was told that it is in progress asks again.
async fn storms(actor: &Actor, path: &str, key: &str, body: &Value) -> Vec<Answer> {
    let one = async || {
        loop {
            let answer = actor.asks(Method::POST, path).key(key).json(body.clone()).send().await;
            if answer.json["error_code"] != "COMMON_0016" {
                return answer;
            }
        }
    };
    join_all((0..AT_ONCE).map(|_| one())).await
}

fn are_one(answers: &[Answer]) -> &Answer {
    for answer in answers {
        assert_eq!(answer.status, 201, "{answer}");
        assert!(answer.body == answers[0].body, "not the same bytes: {answer}\n{}", answers[0]);
        assert_eq!(answer.headers.get("etag"), answers[0].headers.get("etag"));
    }
    &answers[0]
}

async fn count(house: &House, sql: &str) -> String {
    house.stack.database().value(sql).await.expect("read").expect("a count")
}

#[tokio::test]
async fn thirty_courses_with_one_key_are_one_course_and_one_fact() {
    let house = house().await;
    let operator = house.staff("operator");
    let body = json!({ "title": "Thirty at once", "description": "One." });
    let answers = storms(&operator, "/courses", "thirty", &body).await;
    let course = are_one(&answers).id();
    assert_eq!(
        count(house, "SELECT count(*) FROM courses.courses WHERE title = 'Thirty at once'").await,
        "1"
    );
    let facts = format!(
        "SELECT count(*) FROM (SELECT subject FROM courses.outbox UNION ALL SELECT subject FROM courses.outbox_archive) AS every
         WHERE subject = 'evt.courses.v1.course.created.{course}'"
    );
    assert_eq!(count(house, &facts).await, "1");
}

#[tokio::test]
async fn thirty_enrolments_with_one_key_are_one_enrolment() {
    let house = house().await;
    let (course, _) = house.stack.published_course(&house.staff("operator"), "Enrol once").await;
    let alice = house.stack.learner("Alice").await;
    let answers = storms(&alice, "/enrollments", "enrol", &json!({ "course_id": course })).await;
    are_one(&answers);
    assert_eq!(alice.lists_enrolments().await.ok().items().len(), 1);
}

#[tokio::test]
async fn a_key_answers_the_same_on_the_other_road() {
    let house = house().await;
    let doors = house.doors().await;
    let operator = house.staff("operator");
    let create = "svc.courses.v1.courses.create";
    let body = json!({ "title": "Two roads", "description": "" });
    for roads in [[Road::Http, Road::Bus], [Road::Bus, Road::Http]] {
        let key = format!("roads-{roads:?}");
        let first = doors.asks_keyed(roads[0], Some(&operator), create, &body, Some(&key)).await;
        let again = doors.asks_keyed(roads[1], Some(&operator), create, &body, Some(&key)).await;
        assert!(first.status < 300 && first.body == again.body, "{first}\n{again}");
    }
    assert_eq!(count(house, "SELECT count(*) FROM courses.courses WHERE title = 'Two roads'").await, "2");
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_and_with_another_actor_is_another_key() {
    let house = house().await;
    let (operator, admin) = (house.staff("operator"), house.staff("admin"));
    let asks = async |who: &Actor, title: &str| {
        let body = json!({ "title": title, "description": "" });
        who.asks(Method::POST, "/courses").key("a key").json(body).send().await
    };
    let first = asks(&operator, "First").await.created();
    asks(&operator, "Second").await.refused(422, "COMMON_0007");
    let hers = asks(&admin, "Second").await.created();
    assert_ne!(first.id(), hers.id());
    // the key stands for one request: under another it is new
    let plan = json!({ "name": "P", "price": 0, "currency": "USD", "interval": "P1M", "scope": "catalog" });
    operator.asks(Method::POST, "/plans").key("a key").json(plan).send().await.created();
    assert!(asks(&operator, "First").await.created().body == first.body, "the first answer is gone");
}

#[tokio::test]
async fn a_refusal_leaves_its_key_free() {
    let house = house().await;
    let operator = house.staff("operator");
    let course = operator.creates_course("Empty").await.created().id();
    let publish = async || {
        operator.asks(Method::POST, &format!("/courses/{course}/publish")).key("publish").send().await
    };
    publish().await.refused(409, "COURSE_2004");
    operator.adds_session(&course, "One", 1000, "https://videos.example.com/a.mp4").await.created();
    let published = publish().await.ok();
    assert!(publish().await.ok().body == published.body, "published twice");
}
