//! `GET /api/v1/admin/security/stream`: what concerns the safety of accounts, as it happens, as server-sent events. An
//! operator's console that lost its connection goes on where it was: `Last-Event-ID` is the place in stream EVENTS.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use lectern_core::feed::{Fed, Feed, Place};
use lectern_subjects::audit::QueryEntries;
use lectern_subjects::{CommonRefusal, Request as Contracted, subject};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::Gateway;
use crate::edge::{self, Refused};
use crate::exchange::{Endpoint, Exchange};
use crate::problem::Stop;

/// What is told, by entity and fact; the rest of identity's facts is daily life.
const TOLD: [&str; 16] = [
    "user.login_failed",
    "user.locked",
    "user.unlocked",
    "user.disabled",
    "user.enabled",
    "user.role_changed",
    "user.password_changed",
    "user.email_changed",
    "user.deleted",
    "user.export_ready",
    "user.credential_changed",
    "identity.linked",
    "identity.unlinked",
    "session.reuse_detected",
    "security.suspicious",
    "keys.rotated",
];
const PATH: &str = "/api/v1/admin/security/stream";
const STREAM: &str = "EVENTS";
const FILTER: &str = "evt.identity.v1.>";
/// Onlookers at once; each is a request to the broker for each fact.
pub(crate) const MOST: usize = 32;
/// A comment this often keeps proxies from closing the connection; as often it is asked whether its token is still good.
const ALIVE: Duration = Duration::from_secs(10);

/// Answers GET.
pub(crate) async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    let (mut parts, _no_body) = request.into_parts();
    let endpoint = Endpoint { method: "GET", path: PATH, service: "gateway" };
    let exchange = Exchange::begin(&gateway, endpoint, &mut parts.headers);
    let request_id = exchange.request_id();
    let opened = async {
        let opened = open(&gateway, &parts, request_id).await;
        opened.unwrap_or_else(|stop| stop.answer(&gateway, &parts))
    };
    exchange.answer(opened).await
}

async fn open(gateway: &Arc<Gateway>, parts: &Parts, request_id: Arc<str>) -> Result<Response<Body>, Stop> {
    // who may read the record may look on
    let record = lectern_subjects::request(QueryEntries::SUBJECT).ok_or(CommonRefusal::Internal)?;
    let asker = edge::admit(gateway, parts, record, request_id).await?;
    let token = asker.token.ok_or(CommonRefusal::Forbidden)?;
    let after = match parts.headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default()) {
        None => None,
        Some(id) => Some(id.parse::<Place>().map_err(|reason| Refused {
            details: Some(json!([{ "pointer": "Last-Event-ID", "reason": reason }])),
            ..CommonRefusal::ValidationFailed.into()
        })?),
    };
    let busy = || Refused { retry_after_s: Some(10), ..CommonRefusal::RateLimited.into() };
    let place = gateway.onlookers.clone().try_acquire_owned().map_err(|_| busy())?;
    let feed = gateway.bus.feed(STREAM, FILTER, after).await.map_err(|error| {
        tracing::warn!(%error, "the security feed");
        Refused { retry_after_s: Some(1), ..CommonRefusal::Unavailable.into() }
    })?;
    let onlooker = Onlooker { gateway: gateway.clone(), token, feed, _place: place };
    let keep_alive = KeepAlive::new().interval(ALIVE).text("still here");
    let mut response = Sse::new(onlooker.events()).keep_alive(keep_alive).into_response();
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Onlooker {
    gateway: Arc<Gateway>,
    token: Arc<str>,
    feed: Feed,
    _place: OwnedSemaphorePermit,
}

impl Onlooker {
    /// Ends when the token does, or the connection to the broker: the client comes back with the last id.
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        stream::unfold(self, |mut onlooker| async move {
            let event = onlooker.next().await?;
            Some((Ok(event), onlooker))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            let fed = tokio::time::timeout(ALIVE, self.feed.next()).await;
            self.gateway.tokens.check(&self.token).await.ok()?;
            match fed {
                Err(_quiet) => {}
                Ok(Ok(fed)) => match told(&fed) {
                    Some(event) => return Some(event),
                    None => continue,
                },
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the security feed ended; its client comes back");
                    return None;
                }
            }
        }
    }
}

fn told(fed: &Fed) -> Option<Event> {
    let (kind, _) = subject::fact(&fed.subject)?;
    let kind = kind.splitn(4, '.').nth(3)?;
    TOLD.contains(&kind).then(|| {
        let data = String::from_utf8_lossy(&fed.payload);
        Event::default().id(fed.place.to_string()).event(kind).data(data)
    })
}
