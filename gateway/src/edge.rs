//! One request's way through the edge: limits, token, input, bus, answer. The same function for every route.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, OriginalUri, RawPathParams, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, SET_COOKIE,
    USER_AGENT,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lectern_core::bus::{DEFAULT_DEADLINE, Outgoing, refusal_status};
use lectern_core::call::{Caller, ClientInfo, version_tag};
use lectern_core::error::CallError;
use lectern_core::token::TokenFault;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{Access, BadShape, Code, CommonRefusal, Effect, Refusal, RequestInfo};
use serde_json::{Map, Value, json};
use tracing::Span;

use crate::client_address::client_address;
use crate::exchange::{Endpoint, Exchange};
use crate::input::{BadInput, FORM};
use crate::problem::{self, Stop};
use crate::routes::Bound;
use crate::{Gateway, device_cookie, oidc_cookie};

/// Longest body of a request, bytes (architecture §13).
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
/// Time for a client to send a body of that length; uploads have their own way.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The paths of the seeds were old on the day of our first: 2026-11-20, as RFC 9745 writes a date.
const DEPRECATED_SINCE: &str = "@1795132800";
/// The least version that a cache may show (`spec/protocols.md` P9).
const MIN_VERSION: HeaderName = HeaderName::from_static("x-min-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A refusal at the edge.
pub(crate) struct Refused {
    pub code: &'static Code,
    pub details: Option<Value>,
    pub retry_after_s: Option<u32>,
}

impl<R: Refusal> From<R> for Refused {
    fn from(refusal: R) -> Self {
        Refused { code: refusal.code(), details: None, retry_after_s: None }
    }
}

impl Refused {
    /// A body that is not what the contract says.
    pub fn misshapen(bad: BadShape) -> Refused {
        Refused { code: bad.code, details: bad.details, retry_after_s: None }
    }
}

impl From<BadInput> for Refused {
    fn from(bad: BadInput) -> Self {
        Refused { code: bad.code, details: bad.details, retry_after_s: None }
    }
}

/// What goes on to the service about who asks.
pub(crate) struct Asker {
    pub token: Option<Arc<str>>,
    pub user: Option<UserId>,
    pub request_id: Arc<str>,
    /// From where; only with what changes something, reads need not say.
    pub client: ClientInfo,
}

/// Answers one routed request.
pub(crate) async fn answer(
    State(gateway): State<Arc<Gateway>>,
    bound: Arc<Bound>,
    request: Request,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let endpoint =
        Endpoint { method: bound.route.method, path: bound.route.path, service: bound.info.service() };
    let exchange = Exchange::begin(&gateway, endpoint, &mut parts.headers);
    let request_id = exchange.request_id();
    let answered = async {
        let answered = forward(&gateway, &bound, &mut parts, body, request_id).await;
        let mut response = answered.unwrap_or_else(|stop| stop.answer(&gateway, &parts));
        if let Some(successor) = bound.route.successor(parts.uri.path()) {
            deprecate(response.headers_mut(), &successor);
        }
        response
    };
    exchange.answer(answered).await
}

async fn forward(
    gateway: &Gateway,
    bound: &Bound,
    parts: &mut Parts,
    body: Body,
    request_id: Arc<str>,
) -> Result<Response<Body>, Stop> {
    let asker = admit(gateway, parts, bound.info, request_id).await?;
    accepts_json(&parts.headers)?;
    let body = read_body(parts, body, bound).await?;
    let segments: Vec<(String, String)> = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        Err(_) => Vec::new(),
    };
    let query = parts.uri.query().unwrap_or_default();
    let body = bound.params.merge(&segments, query, body)?;
    let client = asker.client.address;
    let body = device_cookie::into_body(bound.info, &parts.headers, body);
    let body = oidc_cookie::into_body(bound.info, &parts.headers, client, body);
    (bound.route.check)(&body).map_err(Refused::misshapen)?;
    let outgoing = Outgoing {
        deadline: gateway.clock.now() + bound.route.deadline,
        ..outgoing(gateway, &asker, &parts.headers)?
    };
    let message = gateway
        .circuits
        .request(&gateway.bus, bound.info, &outgoing, body)
        .await
        .map_err(|error| unavailable(&error, bound.info))?;
    let header =
        |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|v| v.as_str());
    if refusal_status(&message).is_some() {
        let document = serde_json::from_slice(&message.payload).map_err(|_| CommonRefusal::Internal)?;
        return Err(Stop::Service(document, header("Retry-After").map(str::to_owned)));
    }
    let existing = header("Lectern-Existing").is_some();
    let status = if existing && bound.route.status == 201 { 200 } else { bound.route.status };
    let answer = repeat(message.payload.clone(), bound.route.repeated)?;
    let mut response = match status {
        302 => redirect(&answer)?,
        _ => success(status, header("ETag"), answer, parts, bound.info),
    };
    let cookie = device_cookie::set(bound.info, &parts.headers, client, &message.payload)
        .or_else(|| oidc_cookie::set(bound.info, &parts.headers, client, &message.payload));
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Limits, token, access rule: who may go on.
pub(crate) async fn admit(
    gateway: &Gateway,
    parts: &Parts,
    info: &RequestInfo,
    request_id: Arc<str>,
) -> Result<Asker, Refused> {
    let limited =
        |wait| Refused { code: CommonRefusal::RateLimited.code(), details: None, retry_after_s: Some(wait) };
    let ignores_token = info.access == Access::Public && info.effect == Effect::Unkeyed;
    let token = if ignores_token { None } else { bearer(&parts.headers)? };
    let caller = match &token {
        None => Ok(None),
        Some(token) => gateway.tokens.check(token).await.map(Some),
    };
    // who forges tokens is as anonymous as who has none
    match &caller {
        Ok(Some(caller)) => gateway.limits.take_user(*caller.user.0.as_bytes()).map_err(limited)?,
        Ok(None) | Err(_) => gateway
            .limits
            .take_address(client_address(&gateway.config.trusted_proxies, parts))
            .map_err(limited)?,
    }
    if let Ok(Some(caller)) = &caller {
        Span::current().record("user_id", tracing::field::display(caller.user));
    }
    let caller = caller.map_err(|fault| match fault {
        TokenFault::Refused(refused) => {
            Refused { details: refused.details, ..Refused::from(refused.refusal) }
        }
        TokenFault::Unavailable(error) => {
            tracing::warn!(%error, "a token can't be checked right now");
            Refused { retry_after_s: Some(1), ..CommonRefusal::Unavailable.into() }
        }
    })?;
    allowed(info.access, caller.as_deref())?;
    let client = match info.effect {
        Effect::Read => ClientInfo::default(),
        Effect::Write | Effect::Unkeyed => {
            let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
            ClientInfo::new(Some(client_address(&gateway.config.trusted_proxies, parts)), agent)
        }
    };
    Ok(Asker { token, user: caller.map(|caller| caller.user), request_id, client })
}

fn allowed(access: Access, caller: Option<&Caller>) -> Result<(), Refused> {
    let Some(needed) = access.needs() else { return Ok(()) };
    let caller = caller.ok_or(IdentityRefusal::TokenInvalid)?;
    if needed.is_empty() || caller.has_any(needed) {
        return Ok(());
    }
    Err(Refused { details: Some(access.lacking()), ..CommonRefusal::Forbidden.into() })
}

/// The bearer token; none when there is no header. Two headers are none of ours to choose from.
fn bearer(headers: &HeaderMap) -> Result<Option<Arc<str>>, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token.into())),
        _ => Err(IdentityRefusal::TokenInvalid.into()),
    }
}

fn accepts_json(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let fits = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(
            range.as_str(),
            "*/*" | "application/*" | "application/json" | "application/problem+json" | ""
        )
    };
    if accept.split(',').any(fits) { Ok(()) } else { Err(CommonRefusal::NotAcceptable.into()) }
}

async fn read_body(parts: &Parts, body: Body, bound: &Bound) -> Result<Bytes, Refused> {
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(Bytes::new());
    }
    let bytes = collect(body, BODY_LIMIT).await?;
    if bytes.is_empty() {
        return Ok(bytes);
    }
    let content_type =
        parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(bytes)
    } else if bound.route.form && essence.eq_ignore_ascii_case(FORM) {
        Ok(bound.params.of_form(&bytes)?)
    } else {
        Err(CommonRefusal::UnsupportedMediaType.into())
    }
}

pub(crate) async fn collect(body: Body, limit: usize) -> Result<Bytes, Refused> {
    let Ok(collected) = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await else {
        let details = json!([{ "pointer": "", "reason": "the body did not come in time" }]);
        return Err(Refused { details: Some(details), ..CommonRefusal::MalformedBody.into() });
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused {
            details: Some(json!({ "limit_bytes": limit })),
            ..CommonRefusal::PayloadTooLarge.into()
        }),
        Err(_) => Err(CommonRefusal::MalformedBody.into()),
    }
}

/// What goes over the bus besides the body.
pub(crate) fn outgoing(gateway: &Gateway, asker: &Asker, headers: &HeaderMap) -> Result<Outgoing, Refused> {
    let idempotency_key = match headers.get(IDEMPOTENCY_KEY) {
        None => None,
        Some(value) => {
            let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
            Some(key.map(str::to_owned).ok_or_else(|| Refused {
                details: Some(
                    json!([{ "pointer": "Idempotency-Key", "reason": "1 to 255 visible characters" }]),
                ),
                ..CommonRefusal::ValidationFailed.into()
            })?)
        }
    };
    let min_version = match headers.get(MIN_VERSION) {
        None => None,
        Some(value) => {
            let version = value.to_str().ok().and_then(version_tag);
            Some(version.ok_or_else(|| Refused {
                details: Some(
                    json!([{ "pointer": "X-Min-Version", "reason": "a version, as an ETag has it" }]),
                ),
                ..CommonRefusal::ValidationFailed.into()
            })?)
        }
    };
    Ok(Outgoing {
        token: asker.token.clone(),
        client: asker.client.clone(),
        deadline: gateway.clock.now() + DEFAULT_DEADLINE,
        request_id: asker.request_id.clone(),
        trace: lectern_core::telemetry::current_traceparent().map(Arc::from),
        idempotency_key,
        if_match: headers.get(IF_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned),
        min_version,
    })
}

/// What a silent or absent service means to the client.
pub(crate) fn unavailable(error: &CallError, info: &RequestInfo) -> Refused {
    tracing::warn!(subject = info.subject, %error, "no answer");
    match error {
        CallError::Timeout if info.effect == Effect::Read => CommonRefusal::Timeout.into(),
        CallError::Timeout => {
            let details = json!({ "outcome": "unknown", "hint": "retry with the same Idempotency-Key" });
            Refused { details: Some(details), ..CommonRefusal::Timeout.into() }
        }
        _ => Refused { retry_after_s: Some(1), ..CommonRefusal::Unavailable.into() },
    }
}

/// The answer with some of its fields under a second name.
fn repeat(answer: Bytes, names: &[(&str, &str)]) -> Result<Bytes, Refused> {
    if names.is_empty() {
        return Ok(answer);
    }
    let mut fields: Map<String, Value> =
        serde_json::from_slice(&answer).map_err(|_| CommonRefusal::Internal)?;
    for (ours, theirs) in names {
        if let Some(value) = fields.get(*ours).cloned() {
            fields.insert((*theirs).to_owned(), value);
        }
    }
    Ok(Value::Object(fields).to_string().into())
}

/// An answer that sends the browser on.
fn redirect(answer: &[u8]) -> Result<Response<Body>, Refused> {
    let fields: Map<String, Value> = serde_json::from_slice(answer).map_err(|_| CommonRefusal::Internal)?;
    let location = fields.get("url").and_then(Value::as_str).and_then(|url| HeaderValue::from_str(url).ok());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location.ok_or(CommonRefusal::Internal)?);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn success(
    status: u16,
    etag: Option<&str>,
    body: Bytes,
    parts: &Parts,
    info: &RequestInfo,
) -> Response<Body> {
    let etag = etag.and_then(|tag| HeaderValue::from_str(tag).ok());
    let unchanged =
        info.effect == Effect::Read && etag.as_ref().is_some_and(|tag| has_it(&parts.headers, tag));
    let mut response = Response::new(if unchanged { Body::empty() } else { Body::from(body) });
    *response.status_mut() = if unchanged {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
    };
    let headers = response.headers_mut();
    if !unchanged {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let public = info.access == Access::Public
        && info.effect == Effect::Read
        && !parts.headers.contains_key(AUTHORIZATION);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(if public { "no-cache" } else { "no-store" }));
    if let Some(etag) = etag {
        headers.insert(ETAG, etag);
    }
    response
}

/// Whether the client says that it has this version: `*`, or a list of tags that are compared weakly (RFC 9110 §13.1.2).
fn has_it(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// Says that a path is kept for old clients only, since when, and what takes its place (RFC 9745, RFC 8288).
pub(crate) fn deprecate(headers: &mut HeaderMap, successor: &str) {
    headers.insert("deprecation", HeaderValue::from_static(DEPRECATED_SINCE));
    if let Ok(value) = HeaderValue::from_str(&format!("<{successor}>; rel=\"successor-version\"")) {
        headers.insert("link", value);
    }
}

/// No such path.
pub(crate) async fn no_route(
    State(gateway): State<Arc<Gateway>>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Response<Body> {
    edge_problem(&gateway, CommonRefusal::RouteNotFound, uri.path(), headers).await
}

/// The path exists, the method does not; axum adds `Allow`.
pub(crate) async fn no_method(
    State(gateway): State<Arc<Gateway>>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Response<Body> {
    edge_problem(&gateway, CommonRefusal::MethodNotAllowed, uri.path(), headers).await
}

async fn edge_problem(
    gateway: &Gateway,
    refusal: CommonRefusal,
    path: &str,
    mut headers: HeaderMap,
) -> Response<Body> {
    let endpoint = Endpoint { method: "any", path: "none", service: "gateway" };
    let exchange = Exchange::begin(gateway, endpoint, &mut headers);
    exchange.answer(async { problem::response(refusal.into(), path, gateway.clock.now()) }).await
}
