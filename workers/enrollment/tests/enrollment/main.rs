//! The worker `enrollment` on a real bus, with real timers and a real database, asked as any caller asks.

mod enrolling;
mod exporting;
mod periods;
mod plans;
mod subscribing;

use std::collections::HashMap;
use std::sync::Arc;

use lectern_core::{App, Call, Outcome, Service};
use lectern_harness::Answer;
use lectern_subjects::Role;
use lectern_subjects::courses::{Course, CourseStatus, CoursesRefusal, GetCourse};
use lectern_subjects::id::CourseId;
use lectern_workbench::{Person, World};
use serde_json::{Value, json};

const ENROL: &str = "svc.enrollment.v1.enrollments.create";
const ENROLMENT: &str = "svc.enrollment.v1.enrollments.get";
const ENROLMENTS: &str = "svc.enrollment.v1.enrollments.list";
const CHECK: &str = "svc.enrollment.v1.access.check";
const PLAN: &str = "svc.enrollment.v1.plans.create";
const SUBSCRIBE: &str = "svc.enrollment.v1.subscriptions.create";
const SUBSCRIPTION: &str = "svc.enrollment.v1.subscriptions.get";
const SUBSCRIPTIONS: &str = "svc.enrollment.v1.subscriptions.list";
const UPDATE: &str = "svc.enrollment.v1.subscriptions.update";
const CANCEL: &str = "svc.enrollment.v1.subscriptions.cancel";

/// The worker runs; courses does not.
async fn world() -> World {
    let world = World::with_schema_of("enrollment").await;
    world.run(lectern_enrollment::service(), |core| core).await;
    world
}

/// The worker runs, and a courses service that has these courses, by status and price in cents.
async fn world_with(courses: impl IntoIterator<Item = (CourseId, CourseStatus, Option<i64>)>) -> World {
    let world = world().await;
    let known = courses.into_iter().map(|(id, status, price)| (id, (status, price))).collect();
    let known = Arc::new(known);
    world.run(Service::new("courses").on(course), |core| Courses { core, known }).await;
    world
}

fn course_id(number: u128) -> CourseId {
    CourseId(uuid::Uuid::from_u128(number))
}

/// A free plan that opens everything.
async fn free_plan(world: &World, interval: &str) -> String {
    plan(world, json!({ "price": 0, "interval": interval, "scope": "catalog" })).await
}

/// A plan with these terms.
async fn plan(world: &World, terms: Value) -> String {
    let mut body = json!({ "name": "Everything", "currency": "USD" });
    body.as_object_mut().expect("an object").extend(terms.as_object().expect("an object").clone());
    world.someone(Role::Operator).asks(PLAN, body).await.ok().id()
}

async fn subscribes(who: &Person, plan: &str, auto_renew: bool) -> Answer {
    who.asks(SUBSCRIBE, json!({ "plan_id": plan, "auto_renew": auto_renew })).await
}

async fn access(who: &Person, course: CourseId) -> Value {
    who.asks(CHECK, json!({ "course_id": course })).await.ok().json
}

async fn may_use(who: &Person, course: CourseId) -> bool {
    access(who, course).await["allowed"] == true
}

/// A courses service with these courses.
#[derive(Clone)]
struct Courses {
    core: App,
    known: Arc<HashMap<CourseId, (CourseStatus, Option<i64>)>>,
}

impl AsRef<App> for Courses {
    fn as_ref(&self) -> &App {
        &self.core
    }
}

async fn course(app: Courses, call: Call, req: GetCourse) -> Outcome<GetCourse> {
    let (status, price_minor) = *app.known.get(&req.id).ok_or(CoursesRefusal::NotFound)?;
    Ok(Course {
        id: req.id,
        title: "Rust".to_owned(),
        description: String::new(),
        status,
        language: "en".to_owned(),
        instructor: None,
        instructor_ids: Vec::new(),
        price: price_minor.map(|minor| format!("{}.{:02}", minor / 100, minor % 100)),
        price_minor,
        currency: price_minor.map(|_| "USD".to_owned()),
        session_count: 1,
        duration_ms: 60_000,
        created_at: call.now,
        updated_at: call.now,
        published_at: (status == CourseStatus::Published).then_some(call.now),
        version: 2,
    })
}
