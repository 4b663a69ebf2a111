//! The route table: one line per request of the contract, and the reasons for those that have none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, get, patch, post};
use lectern_core::bus::DEFAULT_DEADLINE;
use lectern_subjects::audit::{QueryEntries, VerifyEntries};
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
    AddPasskey, AskForPasskey, BeginExport, ChangeEmail, ChangePassword, CheckToken, ConfirmEmail,
    ConfirmTotp, CreateUser, DeleteUser, DisableUser, EnableUser, EraseMe, ForgotPassword, GetAccount,
    GetAuditPrivate, GetErasure, GetJwks, GetMe, GetUser, GetUserinfo, IntrospectToken, LinkIdentity,
    ListAuthSessions, ListIdentities, ListLoginHistory, ListPasskeys, ListProviders, ListUserSessions,
    ListUsers, Login, Logout, MakeRecoveryCodes, OidcCallback, Reauthenticate, Refresh, Register,
    RemovePasskey, RemoveTotp, ResendVerification, ResetPassword, RevokeAllSessions, RevokeAuthSession,
    RevokeByLink, RevokeOtherAuthSessions, RevokeToken, RevokeUserSessions, RotateKeys, SendPasswordReset,
    SetRole, SignInWithPasskey, StartOidc, StartPasskey, StartTotp, UnlinkIdentity, UnlockUser, UpdateMe,
    UpdateUser, VerifyEmail, VerifyMfa,
};
use lectern_subjects::notifications::{ListNotices, ReadNotice};
use lectern_subjects::playback::{
    GetPlayback, GetProgress, ListBeats, ListMyPlayback, SendBeats, StartPlayback, StopPlayback,
};
use lectern_subjects::privacy::{
    ExportAudit, ExportContent, ExportCourses, ExportEnrollment, ExportIdentity, ExportNotifications,
    ExportPlayback,
};
use lectern_subjects::{Request, RequestInfo, decode};

use crate::input::Params;
use crate::{Gateway, discovery, docs, edge, export, health, media, security_feed, uploads};

/// One route: a method and a path that stand for a request of the contract.
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, with `{name}` for each part that becomes a field of the request.
    pub path: &'static str,
    /// The request's subject.
    pub subject: &'static str,
    /// The status of a success. With 302 the answer's `url` is where the browser goes.
    pub status: u16,
    /// Reads and validates a body.
    pub(crate) check: fn(&[u8]) -> Result<(), lectern_subjects::decode::BadShape>,
    /// How it stands to the other rows of its request.
    pub standing: Standing,
    /// Whether the body may also be `application/x-www-form-urlencoded`, as the OAuth standards have it.
    pub form: bool,
    /// Fields of the answer that are repeated under the name that a seed documents, as (ours, the seed's).
    pub repeated: &'static [(&'static str, &'static str)],
    /// The query parameters that are read, where others are ignored as their standard asks.
    pub query: Option<&'static [&'static str]>,
    /// How long a client waits for the answer at most.
    pub(crate) deadline: Duration,
}

/// How a row stands to the other rows of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The request's own; each has one, or a stated reason for none.
    Own,
    /// A second method that a standard asks for.
    Also,
    /// A path that a seed documents: it works, and its answers name the path that takes its place.
    Alias(&'static str),
}

/// Seed 001 gives making an account this long (I-030).
const TIME_TO_CREATE: Duration = Duration::from_secs(10);

const fn route<R: Request>(method: &'static str, path: &'static str, status: u16) -> Route {
    Route {
        method,
        path,
        subject: R::SUBJECT,
        status,
        check: |body| decode::<R>(body).map(drop),
        standing: Standing::Own,
        form: false,
        repeated: &[],
        query: None,
        deadline: DEFAULT_DEADLINE,
    }
}

impl Route {
    const fn also(self) -> Route {
        Route { standing: Standing::Also, ..self }
    }

    const fn alias_of(self, successor: &'static str) -> Route {
        Route { standing: Standing::Alias(successor), ..self }
    }

    const fn within(self, deadline: Duration) -> Route {
        Route { deadline, ..self }
    }

    const fn or_form(self) -> Route {
        Route { form: true, ..self }
    }

    const fn reading(self, query: &'static [&'static str]) -> Route {
        Route { query: Some(query), ..self }
    }

    /// The path that takes the place of this one, where it is an alias, with the parameters of the path that was asked for.
    pub(crate) fn successor(&self, asked: &str) -> Option<String> {
        let Standing::Alias(successor) = self.standing else { return None };
        let given: BTreeMap<&str, &str> = self.path.split('/').zip(asked.split('/')).collect();
        let parameter = |part: &&str| part.starts_with('{');
        let filled =
            |part| Some(part).filter(parameter).and_then(|part| given.get(part).copied()).unwrap_or(part);
        Some(successor.split('/').map(filled).collect::<Vec<_>>().join("/"))
    }

    const fn repeating(self, repeated: &'static [(&'static str, &'static str)]) -> Route {
        Route { repeated, ..self }
    }
}

/// What waits for an OpenID provider.
const TIME_FOR_A_PROVIDER: Duration = Duration::from_secs(10);

/// What an OpenID provider's answer is read for. Its other parameters are ignored (RFC 6749 §4.1.2), and so is what only
/// cookies may say.
const OF_AN_ANSWER: &[&str] = &["state", "code", "iss", "error"];

/// Seed 004's spelling of a token pair.
const CAMEL_TOKENS: &[(&str, &str)] = &[("access_token", "accessToken"), ("refresh_token", "refreshToken")];

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
    route::<ListProviders>("GET", "/api/v1/auth/oidc", 200),
    // a redirect to the provider, and its answer: what browsers do, with cookies for what the bus has as fields
    route::<StartOidc>("GET", "/api/v1/auth/oidc/{provider}/start", 302).within(TIME_FOR_A_PROVIDER),
    route::<OidcCallback>("GET", "/api/v1/auth/oidc/{provider}/callback", 200)
        .within(TIME_FOR_A_PROVIDER)
        .reading(OF_AN_ANSWER),
    route::<Reauthenticate>("POST", "/api/v1/auth/reauthenticate", 200),
    route::<Refresh>("POST", "/api/v1/auth/refresh", 200),
    route::<Logout>("POST", "/api/v1/auth/logout", 200),
    route::<RevokeByLink>("POST", "/api/v1/auth/sessions/revoke-by-link", 200),
    route::<ForgotPassword>("POST", "/api/v1/auth/password/forgot", 202),
    route::<ResetPassword>("POST", "/api/v1/auth/password/reset", 200),
    route::<ChangePassword>("PUT", "/api/v1/users/me/password", 200),
    route::<GetMe>("GET", "/api/v1/users/me", 200),
    route::<StartTotp>("POST", "/api/v1/users/me/totp", 200),
    route::<ConfirmTotp>("POST", "/api/v1/users/me/totp/confirm", 200),
    route::<RemoveTotp>("DELETE", "/api/v1/users/me/totp", 200),
    route::<MakeRecoveryCodes>("POST", "/api/v1/users/me/recovery-codes", 200),
    route::<StartPasskey>("POST", "/api/v1/users/me/passkeys/options", 200),
    route::<AddPasskey>("POST", "/api/v1/users/me/passkeys", 201),
    route::<ListPasskeys>("GET", "/api/v1/users/me/passkeys", 200),
    route::<RemovePasskey>("DELETE", "/api/v1/users/me/passkeys/{id}", 200),
    route::<LinkIdentity>("POST", "/api/v1/users/me/identities", 200).within(TIME_FOR_A_PROVIDER),
    route::<ListIdentities>("GET", "/api/v1/users/me/identities", 200),
    route::<UnlinkIdentity>("DELETE", "/api/v1/users/me/identities/{id}", 200),
    route::<GetAccount>("GET", "/api/v2/users/me", 200),
    // seed 001 writes PUT; absent fields stay as they are in both
    route::<UpdateMe>("PATCH", "/api/v1/users/me", 200),
    route::<UpdateMe>("PUT", "/api/v1/users/me", 200).also(),
    route::<ChangeEmail>("POST", "/api/v1/users/me/email", 202),
    route::<ConfirmEmail>("POST", "/api/v1/users/me/email/confirm", 200),
    route::<ListAuthSessions>("GET", "/api/v1/users/me/sessions", 200),
    route::<RevokeAuthSession>("DELETE", "/api/v1/users/me/sessions/{sid}", 200),
    route::<RevokeOtherAuthSessions>("DELETE", "/api/v1/users/me/sessions", 200),
    route::<ListLoginHistory>("GET", "/api/v1/users/me/login-history", 200),
    route::<EraseMe>("DELETE", "/api/v1/users/me", 202),
    route::<GetErasure>("GET", "/api/v1/admin/erasures/{id}", 200),
    route::<CreateUser>("POST", "/api/v1/admin/users", 201).within(TIME_TO_CREATE),
    route::<ListUsers>("GET", "/api/v1/users", 200),
    route::<GetUser>("GET", "/api/v1/users/{id}", 200),
    route::<UpdateUser>("PATCH", "/api/v1/users/{id}", 200),
    route::<DeleteUser>("DELETE", "/api/v1/users/{id}", 200),
    route::<SetRole>("PUT", "/api/v1/users/{id}/role", 200),
    route::<DisableUser>("POST", "/api/v1/admin/users/{id}/disable", 200),
    route::<EnableUser>("POST", "/api/v1/admin/users/{id}/enable", 200),
    route::<UnlockUser>("POST", "/api/v1/admin/users/{id}/unlock", 200),
    route::<SendPasswordReset>("POST", "/api/v1/admin/users/{id}/password-reset", 202),
    route::<ListUserSessions>("GET", "/api/v1/admin/users/{id}/sessions", 200),
    route::<RevokeUserSessions>("DELETE", "/api/v1/admin/users/{id}/sessions", 200),
    route::<RevokeAllSessions>("POST", "/api/v1/admin/sessions/revoke-all", 202),
    route::<RotateKeys>("POST", "/api/v1/admin/keys/rotate", 200),
    route::<GetJwks>("GET", "/.well-known/jwks.json", 200),
    route::<IntrospectToken>("POST", "/oauth/introspect", 200).or_form(),
    route::<RevokeToken>("POST", "/oauth/revoke", 200).or_form(),
    route::<GetUserinfo>("GET", "/oauth/userinfo", 200),
    route::<GetUserinfo>("POST", "/oauth/userinfo", 200).also(),
    // identity, as seed 001 has it: its service stands under /user/v1
    route::<Register>("POST", "/user/v1/auth/register", 201).alias_of("/api/v1/auth/register"),
    route::<VerifyEmail>("POST", "/user/v1/auth/verify-email", 200).alias_of("/api/v1/auth/verify-email"),
    route::<Login>("POST", "/user/v1/auth/login", 200).alias_of("/api/v1/auth/login"),
    route::<Refresh>("POST", "/user/v1/auth/refresh", 200).alias_of("/api/v1/auth/refresh"),
    route::<Logout>("POST", "/user/v1/auth/logout", 200).alias_of("/api/v1/auth/logout"),
    route::<GetMe>("GET", "/user/v1/users/me", 200).alias_of("/api/v1/users/me"),
    route::<CreateUser>("POST", "/user/v1/users", 201).within(TIME_TO_CREATE).alias_of("/api/v1/admin/users"),
    route::<CreateUser>("POST", "/user/v1/admin/users", 201)
        .within(TIME_TO_CREATE)
        .alias_of("/api/v1/admin/users"),
    route::<CreateUser>("POST", "/api/v1/users", 201).within(TIME_TO_CREATE).alias_of("/api/v1/admin/users"),
    route::<UpdateMe>("PUT", "/user/v1/users/me", 200).alias_of("/api/v1/users/me"),
    route::<DeleteUser>("DELETE", "/user/v1/users/{id}", 200).alias_of("/api/v1/users/{id}"),
    route::<SetRole>("PUT", "/user/v1/users/{id}/role", 200).alias_of("/api/v1/users/{id}/role"),
    // seed 002: a prefix per service
    route::<Register>("POST", "/auth-service/auth/register", 201).alias_of("/api/v1/auth/register"),
    route::<Login>("POST", "/auth-service/auth/login", 200).alias_of("/api/v1/auth/login"),
    route::<GetMe>("GET", "/auth-service/users/me", 200).alias_of("/api/v1/users/me"),
    // seed 003
    route::<Register>("POST", "/api/users/register", 201).alias_of("/api/v1/auth/register"),
    route::<Login>("POST", "/api/users/login", 200).alias_of("/api/v1/auth/login"),
    route::<GetMe>("GET", "/api/users/me", 200).alias_of("/api/v1/users/me"),
    // seed 004
    route::<Register>("POST", "/auth/register", 201).alias_of("/api/v1/auth/register"),
    route::<Login>("POST", "/auth/login", 200).alias_of("/api/v1/auth/login").repeating(CAMEL_TOKENS),
    route::<Refresh>("POST", "/auth/refresh", 200).alias_of("/api/v1/auth/refresh").repeating(CAMEL_TOKENS),
    route::<Logout>("POST", "/auth/logout", 200).alias_of("/api/v1/auth/logout"),
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
    // audit
    route::<QueryEntries>("GET", "/api/v1/admin/audit", 200),
    route::<VerifyEntries>("GET", "/api/v1/admin/audit/verify", 200),
];

const EXPORTED: &str = "a page of what POST /api/v1/users/me/export writes into one zip (src/export/mod.rs)";

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
    (BeginExport::SUBJECT, "answered with a zip: POST /api/v1/users/me/export (src/export/mod.rs)"),
    (ExportIdentity::SUBJECT, EXPORTED),
    (ExportCourses::SUBJECT, EXPORTED),
    (ExportContent::SUBJECT, EXPORTED),
    (ExportPlayback::SUBJECT, EXPORTED),
    (ExportEnrollment::SUBJECT, EXPORTED),
    (ExportNotifications::SUBJECT, EXPORTED),
    (ExportAudit::SUBJECT, EXPORTED),
    (GetAuditPrivate::SUBJECT, "asked by the audit record, whose list shows it: GET /api/v1/admin/audit"),
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
        let Some(info) = lectern_subjects::request(route.subject) else {
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
        .route("/api/v1/users/me/export", post(export::serve))
        .route("/media/{asset}/{file}", get(media::serve))
        .route("/api/v1/admin/security/stream", get(security_feed::serve))
        .merge(docs::router())
        .merge(discovery::router())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i030_making_an_account_may_take_ten_seconds_on_every_path_and_anything_else_five() {
        let slow: Vec<&Route> = ROUTES.iter().filter(|route| route.deadline > DEFAULT_DEADLINE).collect();
        assert!(slow.iter().all(|route| route.deadline == Duration::from_secs(10)));
        let (making, others): (Vec<_>, Vec<_>) =
            slow.into_iter().partition(|route| route.subject == CreateUser::SUBJECT);
        let making: Vec<&str> = making.iter().map(|route| route.path).collect();
        assert_eq!(
            making,
            ["/api/v1/admin/users", "/user/v1/users", "/user/v1/admin/users", "/api/v1/users"]
        );
        // those that wait for somebody else's provider
        let providers = [StartOidc::SUBJECT, LinkIdentity::SUBJECT, OidcCallback::SUBJECT];
        assert!(others.iter().all(|route| providers.contains(&route.subject)));
    }
}
