use lectern_subjects::Role;
use lectern_subjects::enrollment::PlanCreated;
use serde_json::{Value, json};

use super::*;
use lectern_workbench::refused;

const GET: &str = "svc.enrollment.v1.plans.get";
const LIST: &str = "svc.enrollment.v1.plans.list";

fn terms(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({ "name": "Everything, monthly", "price": "9.99", "currency": "USD", "interval": "P1M",
                           "trial": "P7D", "grace": "PT36H", "scope": { "courses": [course_id(2), course_id(1), course_id(2)] } });
    change(&mut body);
    body
}

#[tokio::test]
async fn a_plan_is_read_as_it_was_made() {
    let world = world().await;
    let made = world.someone(Role::Operator).asks(PLAN, terms(|_| {})).await.ok();
    for (pointer, expected) in [
        ("/version", json!(1)),
        ("/name", json!("Everything, monthly")),
        ("/price", json!("9.99")),
        ("/price_minor", json!(999)),
        ("/currency", json!("USD")),
        ("/interval", json!("P1M")),
        ("/trial", json!("P7D")),
        ("/grace", json!("PT129600S")),
        ("/scope", json!({ "courses": [course_id(2), course_id(1)] })),
    ] {
        assert_eq!(made.at(pointer), &expected, "{pointer}");
    }
    let second =
        world.someone(Role::Admin).asks(PLAN, terms(|body| body["scope"] = json!("catalog"))).await.ok();

    let alice = world.someone(Role::User);
    let read = alice.asks(GET, json!({ "id": made.id() })).await.ok();
    assert_eq!(read.json, made.json);
    let first_page = alice.asks(LIST, json!({ "limit": 1 })).await.ok();
    assert_eq!(first_page.items(), [second.json]);
    let rest = alice.asks(LIST, json!({ "limit": 1, "cursor": first_page.at("/next_cursor") })).await.ok();
    assert_eq!((rest.items(), rest.at("/next_cursor")), (&[made.json.clone()][..], &json!(null)));
    let told = world.announced::<PlanCreated>("enrollment").await;
    assert_eq!(told.first().map(|fact| json!(fact.plan_id)), Some(made.json["id"].clone()));
}

#[tokio::test]
async fn what_is_no_plan_is_refused_and_names_the_field() {
    let world = world().await;
    let operator = world.someone(Role::Operator);
    for (pointer, body) in [
        ("/price", terms(|body| body["price"] = json!("9.999"))),
        ("/price", terms(|body| body["price"] = json!(-1))),
        ("/currency", terms(|body| body["currency"] = json!("usd"))),
        ("/interval", terms(|body| body["interval"] = json!("a month"))),
        ("/trial", terms(|body| body["trial"] = json!("P0D"))),
        ("/scope", terms(|body| body["scope"] = json!({ "courses": [] }))),
        ("/name", terms(|body| body["name"] = json!(""))),
    ] {
        let details = refused(&operator.asks(PLAN, body).await, 400, "COMMON_0001");
        assert_eq!(details[0]["pointer"], pointer);
    }
    refused(&operator.asks(GET, json!({ "id": course_id(7) })).await, 404, "SUB_2505");
}

#[tokio::test]
async fn only_operators_and_admins_make_plans_and_nobody_changes_one() {
    let world = world().await;
    for role in [Role::User, Role::Moderator, Role::Auditor] {
        refused(&world.someone(role).asks(PLAN, terms(|_| {})).await, 403, "COMMON_0013");
    }
    assert_eq!(world.count("SELECT count(*) FROM enrollment.plans").await, 0);
    free_plan(&world, "P1M").await;
    for sql in ["UPDATE enrollment.plans SET price_minor = 1", "DELETE FROM enrollment.plans"] {
        let error = world.database.execute(sql).await.expect_err("rows of plans are immutable");
        assert!(format!("{error:#}").contains("immutable"), "{error:#}");
    }
}
