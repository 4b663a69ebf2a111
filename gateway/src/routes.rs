//! The route table: one line per request of the contract, and the reasons for those that have none.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, get, patch, post};
use lectern_subjects::content::{AdvanceUpload, CompleteUpload};
use lectern_subjects::content::{CreateUpload, GetAsset, GetUpload};
use lectern_subjects::courses::{
    AddSession, CreateCourse, GetCourse, GetSession, ListCourses, ListSessions, PublishCourse,
    SetInstructors, UpdateCourse,
};
use lectern_subjects::enrollment::{
    CancelSubscription, CheckAccess, CreatePlan, Enroll, GetEnrollment, GetPlan, GetSubscription,
    ListEnrollments, ListPlans, ListSubscriptions, Subscribe, UpdateSubscription,
};
use lectern_subjects::identity::{
    AddPasskey, AskForPasskey, CheckToken, ConfirmTotp, CreateUser, GetJwks, GetMe, ListPasskeys, Login,
    Logout, MakeRecoveryCodes, Reauthenticate, Refresh, Register, RemovePasskey, RemoveTotp,
    ResendVerification, SignInWithPasskey, StartPasskey, StartTotp, VerifyEmail, VerifyMfa,
};
use lectern_subjects::notifications::{ListNotices, ReadNotice};
use lectern_subjects::playback::{
    GetPlayback, GetProgress, ListBeats, ListMyPlayback, SendBeats, StartPlayback, StopPlayback,
};
use lectern_subjects::{Request, RequestInfo, decode};

use crate::input::Params;
use crate::{Gateway, docs, edge, health, media, uploads};

/// One route: a method and a path that stand for a request of the contract.
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, with `{name}` for each part that becomes a field of the request.
    pub path: &'static str,
    /// The request's subject.
    pub subject: &'static str,
    /// The status of a success.
    pub status: u16,
    /// Reads and validates a body.
    pub(crate) check: fn(&[u8]) -> Result<(), lectern_subjects::decode::BadShape>,
    /// Set on an alias that a seed documents: where its successor is.
    pub successor: Option<&'static str>,
}

const fn route<R: Request>(method: &'static str, path: &'static str, status: u16) -> Route {
    Route {
        method,
        path,
        subject: R::SUBJECT,
        status,
        check: |body| decode::<R>(body).map(drop),
        successor: None,
    }
}

/// All routes.
pub static ROUTES: &[Route] = &[
    // identity
    route::<Register>("POST", "/api/v1/auth/register", 201),
    route::<VerifyEmail>("POST", "/api/v1/auth/verify-email", 200),
    route::<ResendVerification>("POST", "/api/v1/auth/verify-email/resend", 200),
    route::<Login>("POST", "/api/v1/auth/login", 200),
    route::<VerifyMfa>("POST", "/api/v1/auth/mfa/verify", 200),
    route::<AskForPasskey>("POST", "/api/v1/auth/passkeys/login/options", 200),
    route::<SignInWithPasskey>("POST", "/api/v1/auth/passkeys/login/verify", 200),
    route::<Reauthenticate>("POST", "/api/v1/auth/reauthenticate", 200),
    route::<Refresh>("POST", "/api/v1/auth/refresh", 200),
    route::<Logout>("POST", "/api/v1/auth/logout", 200),
    route::<GetMe>("GET", "/api/v1/users/me", 200),
    route::<StartTotp>("POST", "/api/v1/users/me/totp", 200),
    route::<ConfirmTotp>("POST", "/api/v1/users/me/totp/confirm", 200),
    route::<RemoveTotp>("DELETE", "/api/v1/users/me/totp", 200),
    route::<MakeRecoveryCodes>("POST", "/api/v1/users/me/recovery-codes", 200),
    route::<StartPasskey>("POST", "/api/v1/users/me/passkeys/options", 200),
    route::<AddPasskey>("POST", "/api/v1/users/me/passkeys", 201),
    route::<ListPasskeys>("GET", "/api/v1/users/me/passkeys", 200),
    route::<RemovePasskey>("DELETE", "/api/v1/users/me/passkeys/{id}", 200),
    route::<CreateUser>("POST", "/api/v1/admin/users", 201),
    route::<GetJwks>("GET", "/.well-known/jwks.json", 200),
    // courses
    route::<CreateCourse>("POST", "/api/v1/courses", 201),
    route::<ListCourses>("GET", "/api/v1/courses", 200),
    route::<GetCourse>("GET", "/api/v1/courses/{id}", 200),
    route::<UpdateCourse>("PATCH", "/api/v1/courses/{id}", 200),
    route::<PublishCourse>("POST", "/api/v1/courses/{id}/publish", 200),
    route::<SetInstructors>("PUT", "/api/v1/courses/{id}/instructors", 200),
    route::<AddSession>("POST", "/api/v1/courses/{course_id}/sessions", 201),
    route::<ListSessions>("GET", "/api/v1/courses/{course_id}/sessions", 200),
    route::<GetSession>("GET", "/api/v1/courses/{course_id}/sessions/{session_id}", 200),
    // content
    route::<GetUpload>("GET", "/api/v1/uploads/{id}", 200),
    route::<GetAsset>("GET", "/api/v1/files/{id}", 200),
    // playback
    route::<StartPlayback>("POST", "/api/v1/playback/sessions", 201),
    route::<SendBeats>("POST", "/api/v1/playback/sessions/{id}/events", 202),
    route::<ListBeats>("GET", "/api/v1/playback/sessions/{id}/events", 200),
    route::<StopPlayback>("POST", "/api/v1/playback/sessions/{id}/stop", 200),
    route::<GetPlayback>("GET", "/api/v1/playback/sessions/{id}", 200),
    route::<ListMyPlayback>("GET", "/api/v1/users/me/playback", 200),
    route::<GetProgress>("GET", "/api/v1/courses/{course_id}/progress/me", 200),
    // enrollment
    route::<Enroll>("POST", "/api/v1/enrollments", 201),
    route::<ListEnrollments>("GET", "/api/v1/enrollments", 200),
    route::<GetEnrollment>("GET", "/api/v1/enrollments/{id}", 200),
    route::<CheckAccess>("GET", "/api/v1/courses/{course_id}/access/me", 200),
    route::<CreatePlan>("POST", "/api/v1/plans", 201),
    route::<ListPlans>("GET", "/api/v1/plans", 200),
    route::<GetPlan>("GET", "/api/v1/plans/{id}", 200),
    route::<Subscribe>("POST", "/api/v1/subscriptions", 201),
    route::<ListSubscriptions>("GET", "/api/v1/subscriptions", 200),
    route::<GetSubscription>("GET", "/api/v1/subscriptions/{id}", 200),
    route::<UpdateSubscription>("PATCH", "/api/v1/subscriptions/{id}", 200),
    route::<CancelSubscription>("POST", "/api/v1/subscriptions/{id}/cancel", 200),
    // notifications
    route::<ListNotices>("GET", "/api/v1/notifications", 200),
    route::<ReadNotice>("POST", "/api/v1/notifications/{id}/read", 200),
];

/// Requests without a row above, and why.
pub static NO_ROUTE: &[(&str, &str)] = &[
    (
        CreateUpload::SUBJECT,
        "tus: POST /api/v1/uploads carries the length and name in headers (src/uploads.rs)",
    ),
    (
        AdvanceUpload::SUBJECT,
        "tus: PATCH /api/v1/uploads/{id} carries bytes, which never cross the bus (src/uploads.rs)",
    ),
    (CompleteUpload::SUBJECT, "tus: sent by the gateway when the last byte is stored (src/uploads.rs)"),
    (
        CheckToken::SUBJECT,
        "asked by roles whose revocation watcher is stale; over HTTP the token's own check answers",
    ),
];

/// What a route needs at run time: the row, its row in the contract, and how its parameters become fields.
pub(crate) struct Bound {
    pub route: &'static Route,
    pub info: &'static RequestInfo,
    pub params: Params,
}

/// The router of all routes; anything else is a problem document too.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let mut paths: BTreeMap<&str, MethodRouter<Arc<Gateway>>> = BTreeMap::new();
    for route in ROUTES {
        let Some(info) = lectern_subjects::requests().find(|info| info.subject == route.subject) else {
            continue;
        };
        let bound: Arc<Bound> = Arc::new(Bound { route, info, params: Params::of(route, info) });
        let handler = move |state, request| edge::answer(state, bound, request);
        let methods = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, methods.on(filter(route.method), handler));
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(path, methods);
    }
    router
        .route("/api/v1/uploads", post(uploads::create).options(uploads::options))
        .route("/api/v1/uploads/{id}", patch(uploads::patch).head(uploads::head))
        .route("/media/{asset}/{file}", get(media::serve))
        .merge(docs::router())
        .merge(health::router(gateway.health.clone()))
        .fallback(edge::no_route)
        .method_not_allowed_fallback(edge::no_method)
        .with_state(gateway)
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}
