//! `POST /api/v1/users/me/export`: everything that every service holds about the caller, as one zip (GDPR Art. 20; identity
//! spec I-108, `spec/protocols.md` P5, architecture §13).
//!
//! First every service is asked for its first page, identity before all others, for it looks at how long ago the caller signed
//! in. One that does not answer is a refusal that names it, and nothing has begun. Then identity begins the export, which looks
//! at how often they asked. Then the pages are streamed, each asked for when the one before has been taken: memory does not
//! grow with the data. Whatever goes wrong from there on breaks the connection and the zip off: neither looks like a whole one.

mod archive;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use futures_util::stream;
use lectern_core::bus::{DEFAULT_DEADLINE, Outgoing, refusal_status};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{BeginExport, Export};
use lectern_subjects::privacy::{PersonalData, export_subject};
use lectern_subjects::{CommonRefusal, Request as Contracted, RequestInfo, SERVICES, decode};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument;

use self::archive::Archive;
use crate::Gateway;
use crate::edge::{self, Refused};
use crate::exchange::{Endpoint, Exchange};
use crate::problem::Stop;

/// Exports that one gateway writes at once: each holds a page of every service at most.
const MOST: usize = 8;
/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pauses between tries for a page after the first.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const PATH: &str = "/api/v1/users/me/export";

/// Looks at how long ago the caller signed in; its file is the first.
const IDENTITY: &str = "identity";

/// Places for exports: [`MOST`] at once on one gateway, one of each person.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    people: Arc<Mutex<HashSet<UserId>>>,
}

impl Default for Places {
    fn default() -> Self {
        Places { all: Arc::new(Semaphore::new(MOST)), people: Arc::default() }
    }
}

impl Places {
    /// That one export of a person is under way, until it is dropped; none when another one is.
    fn only_one_of(&self, user: UserId) -> Option<Only> {
        let new = self.people.lock().unwrap_or_else(PoisonError::into_inner).insert(user);
        new.then(|| Only { user, people: self.people.clone() })
    }
}

/// The one export of a person that is under way.
struct Only {
    user: UserId,
    people: Arc<Mutex<HashSet<UserId>>>,
}

impl Drop for Only {
    fn drop(&mut self) {
        self.people.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.user);
    }
}

/// Answers POST.
pub(crate) async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let endpoint = Endpoint { method: "POST", path: PATH, service: IDENTITY };
    let exchange = Exchange::begin(&gateway, endpoint, &mut parts.headers);
    let request_id = exchange.request_id();
    let answered = async {
        let opened = open(&gateway, &parts, body, request_id).await;
        opened.unwrap_or_else(|stop| stop.answer(&gateway, &parts))
    };
    exchange.answer(answered).await
}

async fn open(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    body: Body,
    request_id: Arc<str>,
) -> Result<Response<Body>, Stop> {
    let begin = lectern_subjects::request(BeginExport::SUBJECT).ok_or(CommonRefusal::Internal)?;
    let asker = edge::admit(gateway, parts, begin, request_id).await?;
    accepts_zip(&parts.headers)?;
    let body = edge::collect(body, edge::BODY_LIMIT).await?;
    if !body.is_empty() {
        decode::<BeginExport>(&body).map_err(Refused::misshapen)?;
    }
    let busy = || Refused { retry_after_s: Some(10), ..CommonRefusal::RateLimited.into() };
    let user = asker.user.ok_or(CommonRefusal::Internal)?;
    let only = gateway.exports.only_one_of(user).ok_or_else(busy)?;
    // a zip is not stored, so it is not repeated for a key
    let outgoing = Outgoing {
        idempotency_key: None,
        if_match: None,
        ..edge::outgoing(gateway, &asker, &parts.headers)?
    };
    let identity = page(gateway, &outgoing, IDENTITY, None).await?;
    let place = gateway.exports.all.clone().try_acquire_owned().map_err(|_| busy())?;
    // one after the other: nothing else should wait for an export
    let mut first_pages = vec![(IDENTITY, identity)];
    for service in SERVICES.iter().filter(|service| service.name != IDENTITY) {
        first_pages.push((service.name, page(gateway, &outgoing, service.name, None).await?));
    }
    let export: Export = ask(gateway, &outgoing, begin, Bytes::from_static(b"{}")).await?;

    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(Body::from_stream(chunks(receiver)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = format!("attachment; filename=\"lectern-export-{}.zip\"", export.begun_at.format("%Y-%m-%d"));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    let writer = Writer { gateway: gateway.clone(), outgoing, chunks: sender, _place: (only, place) };
    tokio::spawn(
        async move {
            let id = export.id;
            match writer.write(export, first_pages).await {
                Ok(bytes) => tracing::info!(export = %id, bytes, "an export is written"),
                Err(broken) => tracing::warn!(export = %id, %broken, "an export was broken off"),
            }
        }
        .in_current_span(),
    );
    Ok(response)
}

/// Writes the zip of one export.
struct Writer {
    gateway: Arc<Gateway>,
    outgoing: Outgoing,
    chunks: mpsc::Sender<Option<Bytes>>,
    _place: (Only, OwnedSemaphorePermit),
}

impl Writer {
    /// Writes all of it; answers its length, or in a few words what broke it off.
    async fn write(
        self,
        export: Export,
        first_pages: Vec<(&'static str, PersonalData)>,
    ) -> Result<usize, String> {
        let mut archive = Archive::new(export);
        let mut length = 0;
        for (service, mut page) in first_pages {
            archive.begin(service).map_err(said)?;
            loop {
                let cursor = page.next_cursor.take();
                archive = step(archive, move |archive| archive.add(&page)).await?;
                length += self.send(archive.take()).await?;
                let Some(cursor) = cursor else { break };
                page = self.next(service, &cursor).await?;
            }
            archive.end(service, self.gateway.clock.now()).map_err(said)?;
        }
        length += self.send(archive.finish(self.gateway.clock.now()).map_err(said)?).await?;
        // who does not take the end has been given all the same: it is not waited for longer than for a chunk
        let _gone = tokio::time::timeout(PATIENCE, self.chunks.send(None)).await;
        Ok(length)
    }

    /// The next page of a service. One that is busy, or being replaced, is asked again: it would be a pity about the rest.
    async fn next(&self, service: &'static str, cursor: &str) -> Result<PersonalData, String> {
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            let (code, status) = match page(&self.gateway, &self.outgoing, service, Some(cursor)).await {
                Ok(page) => return Ok(page),
                Err(Stop::Edge(refused)) => (refused.code.code.to_owned(), refused.code.status),
                Err(Stop::Service(document, _)) => (document.error_code, document.status),
            };
            match pause.filter(|_| matches!(status, 503 | 504)) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(format!("{service}: {code}")),
            }
        }
        unreachable!("the last try ends in a page or in words")
    }

    /// Hands a piece over when the client has taken the one before.
    async fn send(&self, chunk: Bytes) -> Result<usize, String> {
        let length = chunk.len();
        if chunk.is_empty() {
            return Ok(0);
        }
        match tokio::time::timeout(PATIENCE, self.chunks.send(Some(chunk))).await {
            Ok(Ok(())) => Ok(length),
            Ok(Err(_)) | Err(_) => Err("its client is gone".to_owned()),
        }
    }
}

/// Compresses aside: a page takes some milliseconds.
async fn step(
    mut archive: Archive,
    work: impl FnOnce(&mut Archive) -> io::Result<()> + Send + 'static,
) -> Result<Archive, String> {
    let done = tokio::task::spawn_blocking(move || work(&mut archive).map(|()| archive));
    done.await.map_err(|error| error.to_string())?.map_err(said)
}

fn said(error: io::Error) -> String {
    error.to_string()
}

/// The body. It ends well only after its writer said so: one that is gone breaks the connection off.
fn chunks(receiver: mpsc::Receiver<Option<Bytes>>) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(chunk)) => Some((Ok(chunk), Some(receiver))),
            Some(None) => None,
            None => Some((Err(io::Error::other("the export was broken off")), None)),
        }
    })
}

/// One page of a service; a refusal for want of an answer names the service.
async fn page(
    gateway: &Gateway,
    outgoing: &Outgoing,
    service: &str,
    cursor: Option<&str>,
) -> Result<PersonalData, Stop> {
    let info = lectern_subjects::request(&export_subject(service)).ok_or(CommonRefusal::Internal)?;
    let body = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
    ask(gateway, outgoing, info, body.to_string().into()).await.map_err(|stop| match stop {
        Stop::Edge(refused) => {
            Stop::Edge(Refused { details: Some(json!({ "service": service })), ..refused })
        }
        Stop::Service(mut document, retry_after) => {
            if document.details.is_null() {
                document.details = json!({ "service": service });
            }
            Stop::Service(document, retry_after)
        }
    })
}

async fn ask<T: DeserializeOwned>(
    gateway: &Gateway,
    outgoing: &Outgoing,
    info: &RequestInfo,
    body: Bytes,
) -> Result<T, Stop> {
    let outgoing = Outgoing { deadline: gateway.clock.now() + DEFAULT_DEADLINE, ..outgoing.clone() };
    let message = gateway
        .bus
        .request(info.subject, info.effect, &outgoing, body)
        .await
        .map_err(|error| edge::unavailable(&error, info))?;
    if refusal_status(&message).is_some() {
        let document = serde_json::from_slice(&message.payload).map_err(|_| CommonRefusal::Internal)?;
        let retry_after = message.headers.as_ref().and_then(|headers| headers.get("Retry-After"));
        return Err(Stop::Service(document, retry_after.map(ToString::to_string)));
    }
    Ok(serde_json::from_slice(&message.payload).map_err(|_| CommonRefusal::Internal)?)
}

fn accepts_zip(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let fits = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", "application/zip", ""].iter().any(|it| range.eq_ignore_ascii_case(it))
    };
    if accept.split(',').any(fits) { Ok(()) } else { Err(CommonRefusal::NotAcceptable.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i108_a_person_has_one_export_at_a_time_and_others_are_not_kept() {
        let places = Places::default();
        let (ann, bob) = (UserId(uuid::Uuid::from_u128(1)), UserId(uuid::Uuid::from_u128(2)));
        let first = places.only_one_of(ann).expect("none is under way");
        assert!(places.only_one_of(ann).is_none());
        assert!(places.only_one_of(ann).is_none(), "a refused one does not end the first");
        let _other = places.only_one_of(bob).expect("another person");
        drop(first);
        assert!(places.only_one_of(ann).is_some());
    }
}
