//! Resumable uploads: tus 1.0.0 (core, creation). Bytes go straight to the object store, never over the bus; the content
//! service keeps the offset. Each PATCH becomes a part of its own, so that any gateway can take the next one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use lectern_core::error::CallError;
use lectern_subjects::CommonRefusal;
use lectern_subjects::content::{
    AdvanceUpload, AdvancedUpload, CompleteUpload, ContentRefusal, CreateUpload, GetUpload, UPLOAD_MAX_BYTES,
    Upload, UploadState,
};
use lectern_subjects::id::UploadId;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt, WriteMultipart};
use ring::digest::{Context, SHA256};
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use crate::edge::{self, Asker, Refused};
use crate::exchange::{Endpoint, Exchange};
use crate::problem::Stop;
use crate::{Gateway, sniff};

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const COLLECTION: &str = "/api/v1/uploads";
const ITEM: &str = "/api/v1/uploads/{id}";
/// Parts that are written to the store at once.
const WRITE_AHEAD: usize = 4;

/// `OPTIONS /api/v1/uploads`: what this server can do.
pub(crate) async fn options() -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert("tus-version", VERSION);
    headers.insert("tus-extension", HeaderValue::from_static("creation"));
    headers.insert("tus-max-size", HeaderValue::from(UPLOAD_MAX_BYTES));
    response
}

/// `POST /api/v1/uploads`: the tus creation, with `Upload-Length` and `Upload-Metadata: filename <base64>`.
pub(crate) async fn create(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    let (mut parts, _no_body) = request.into_parts();
    let exchange = begin(&gateway, "POST", COLLECTION, &mut parts);
    let request_id = exchange.request_id();
    let created = async {
        let created = start(&gateway, &parts, request_id).await;
        answer(&gateway, &parts, created, |upload| {
            let mut response = empty(StatusCode::CREATED);
            if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/uploads/{}", upload.id)) {
                response.headers_mut().insert(LOCATION, location);
            }
            place(response, upload)
        })
    };
    exchange.answer(created).await
}

fn begin(gateway: &Gateway, method: &'static str, path: &'static str, parts: &mut Parts) -> Exchange {
    Exchange::begin(gateway, Endpoint { method, path, service: "content" }, &mut parts.headers)
}

async fn start(gateway: &Gateway, parts: &Parts, request_id: Arc<str>) -> Result<Upload, Stop> {
    let asker = admitted::<CreateUpload>(gateway, parts, request_id).await?;
    tus_version(&parts.headers)?;
    let length = number(&parts.headers, &UPLOAD_LENGTH)
        .ok_or_else(|| field("Upload-Length", "the file's length in bytes"))?;
    if length > UPLOAD_MAX_BYTES {
        return Err(ContentRefusal::TooLarge.into());
    }
    let file_name = file_name(&parts.headers)
        .ok_or_else(|| field("Upload-Metadata", "filename <base64 of the file's name>"))?;
    ask(gateway, &asker, &parts.headers, &CreateUpload { length, file_name }).await
}

/// `HEAD /api/v1/uploads/{id}`: how far it came.
pub(crate) async fn head(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let (mut parts, _no_body) = request.into_parts();
    let exchange = begin(&gateway, "HEAD", ITEM, &mut parts);
    let request_id = exchange.request_id();
    let found = async {
        let found = look(&gateway, &parts, &id, request_id).await;
        answer(&gateway, &parts, found, |upload| place(empty(StatusCode::OK), upload))
    };
    exchange.answer(found).await
}

async fn look(gateway: &Gateway, parts: &Parts, id: &str, request_id: Arc<str>) -> Result<Upload, Stop> {
    let asker = admitted::<GetUpload>(gateway, parts, request_id).await?;
    tus_version(&parts.headers)?;
    ask(gateway, &asker, &parts.headers, &GetUpload { id: upload_id(id)? }).await
}

/// `PATCH /api/v1/uploads/{id}`: the next bytes. What arrived before a broken connection is kept: the work goes on in a
/// task of its own when the client is gone.
pub(crate) async fn patch(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let exchange = begin(&gateway, "PATCH", ITEM, &mut parts);
    let request_id = exchange.request_id();
    let (work_gateway, work_parts) = (gateway.clone(), parts.clone());
    let patched = async {
        let work = async move { append(&work_gateway, &work_parts, &id, body, request_id).await };
        let advanced = tokio::spawn(work.in_current_span()).await;
        let advanced = advanced.unwrap_or_else(|_| Err(CommonRefusal::Internal.into()));
        answer(&gateway, &parts, advanced, |upload| place(empty(StatusCode::NO_CONTENT), upload))
    };
    exchange.answer(patched).await
}

async fn append(
    gateway: &Gateway,
    parts: &Parts,
    id: &str,
    body: Body,
    request_id: Arc<str>,
) -> Result<Upload, Stop> {
    let asker = admitted::<AdvanceUpload>(gateway, parts, request_id).await?;
    tus_version(&parts.headers)?;
    let id = upload_id(id)?;
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type != Some("application/offset+octet-stream") {
        return Err(ContentRefusal::MediaType.into());
    }
    let from = number(&parts.headers, &UPLOAD_OFFSET)
        .ok_or_else(|| field("Upload-Offset", "where the chunk begins"))?;
    let upload = ask(gateway, &asker, &parts.headers, &GetUpload { id }).await?;
    if upload.state == UploadState::Complete {
        return Ok(upload);
    }
    if from != upload.offset {
        let details = json!({ "offset": upload.offset });
        return Err(Refused { details: Some(details), ..ContentRefusal::OffsetConflict.into() }.into());
    }
    let part = format!("{from:020}-{}", gateway.clock.new_id().simple());
    let bytes = store_part(gateway, id, &part, upload.length - from, body).await?;
    let advance = AdvanceUpload { id, from, bytes, part };
    if bytes == 0 && from < upload.length {
        return Ok(upload);
    }
    let AdvancedUpload { upload, parts: names } = match ask(gateway, &asker, &parts.headers, &advance).await {
        Ok(advanced) => advanced,
        Err(stop) => {
            // refused for certain: nothing knows of these bytes. After a timeout they may be known and stay
            if matches!(&stop, Stop::Service(problem, _) if problem.status < 500) {
                delete_part(gateway, id, &advance.part).await;
            }
            return Err(stop);
        }
    };
    if names.is_empty() {
        return Ok(upload);
    }
    let joined = join(gateway, &upload, &names).await?;
    let asset = ask(gateway, &asker, &parts.headers, &joined).await?;
    for name in &names {
        delete_part(gateway, id, name).await;
    }
    metrics::counter!("content_upload_bytes_total").increment(asset.size.unsigned_abs());
    Ok(Upload { state: UploadState::Complete, asset_id: Some(asset.id), ..upload })
}

/// Streams a chunk into the store. A body that breaks off keeps what came before; one that is too long is refused.
async fn store_part(gateway: &Gateway, id: UploadId, part: &str, most: i64, body: Body) -> Result<i64, Stop> {
    let mut stream = body.into_data_stream();
    let mut writer: Option<WriteMultipart> = None;
    let mut bytes: i64 = 0;
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else { break };
        bytes += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        if bytes > most {
            if let Some(writer) = writer {
                let _gone = writer.abort().await;
            }
            return Err(ContentRefusal::TooLarge.into());
        }
        let into = match &mut writer {
            Some(writer) => writer,
            None => {
                let upload = gateway.store.put_multipart(&part_path(id, part)).await.map_err(storage)?;
                writer.insert(WriteMultipart::new(upload))
            }
        };
        into.wait_for_capacity(WRITE_AHEAD).await.map_err(storage)?;
        into.put(chunk);
    }
    if let Some(writer) = writer {
        writer.finish().await.map_err(storage)?;
    }
    Ok(bytes)
}

/// Joins the parts into the file, hashing it and looking at its first bytes on the way.
async fn join(gateway: &Gateway, upload: &Upload, parts: &[String]) -> Result<CompleteUpload, Stop> {
    let target = ObjectPath::from(upload.path.as_str());
    let mut writer = WriteMultipart::new(gateway.store.put_multipart(&target).await.map_err(storage)?);
    let mut hash = Context::new(&SHA256);
    let mut first = Vec::with_capacity(sniff::ENOUGH);
    let mut size: i64 = 0;
    for part in parts {
        let mut stream = gateway.store.get(&part_path(upload.id, part)).await.map_err(storage)?.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk: Bytes = chunk.map_err(storage)?;
            hash.update(&chunk);
            size += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            if first.len() < sniff::ENOUGH {
                first.extend_from_slice(&chunk[..chunk.len().min(sniff::ENOUGH - first.len())]);
            }
            writer.wait_for_capacity(WRITE_AHEAD).await.map_err(storage)?;
            writer.put(chunk);
        }
    }
    writer.finish().await.map_err(storage)?;
    let sha256 = hex::encode(hash.finish().as_ref());
    Ok(CompleteUpload { id: upload.id, sha256, size, sniffed: sniff::mime(&first).to_owned() })
}

async fn delete_part(gateway: &Gateway, id: UploadId, part: &str) {
    match gateway.store.delete(&part_path(id, part)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%error, "a part that is not needed any more could not be deleted"),
    }
}

fn part_path(id: UploadId, part: &str) -> ObjectPath {
    ObjectPath::from(format!("uploads/{id}/{part}"))
}

fn storage(error: object_store::Error) -> Stop {
    tracing::error!(%error, "the object store");
    Stop::Edge(Refused { retry_after_s: Some(1), ..CommonRefusal::Unavailable.into() })
}

async fn admitted<R: lectern_subjects::Request>(
    gateway: &Gateway,
    parts: &Parts,
    request_id: Arc<str>,
) -> Result<Asker, Stop> {
    let info = lectern_subjects::request(R::SUBJECT).ok_or(CommonRefusal::RouteNotFound)?;
    Ok(edge::admit(gateway, parts, info, request_id).await?)
}

async fn ask<R: lectern_subjects::Request>(
    gateway: &Gateway,
    asker: &Asker,
    headers: &HeaderMap,
    request: &R,
) -> Result<R::Reply, Stop> {
    let outgoing = edge::outgoing(gateway, asker, headers)?;
    gateway.bus.call_with(outgoing, request).await.map_err(|error| match error {
        CallError::Refused(problem) => Stop::Service(problem, None),
        error => match lectern_subjects::request(R::SUBJECT) {
            Some(info) => edge::unavailable(&error, info).into(),
            None => CommonRefusal::RouteNotFound.into(),
        },
    })
}

fn answer<T>(
    gateway: &Gateway,
    parts: &Parts,
    result: Result<T, Stop>,
    respond: impl FnOnce(T) -> Response<Body>,
) -> Response<Body> {
    let mut response = result.map_or_else(|stop| stop.answer(gateway, parts), respond);
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    response
}

fn place(mut response: Response<Body>, upload: Upload) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(upload.offset));
    headers.insert(UPLOAD_LENGTH, HeaderValue::from(upload.length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(asset) = upload.asset_id.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        headers.insert("lectern-asset", asset);
    }
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    response
}

fn tus_version(headers: &HeaderMap) -> Result<(), Stop> {
    if headers.get(&TUS_RESUMABLE) == Some(&VERSION) {
        Ok(())
    } else {
        Err(ContentRefusal::TusVersion.into())
    }
}

fn upload_id(text: &str) -> Result<UploadId, Stop> {
    Uuid::try_parse(text).map(UploadId).map_err(|_| field("/id", "an id is a UUID"))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.parse().ok().filter(|number| *number >= 0)
}

/// The `filename` of `Upload-Metadata: filename d29ybGQ=,other eA==`.
fn file_name(headers: &HeaderMap) -> Option<String> {
    let metadata = headers.get(&UPLOAD_METADATA)?.to_str().ok()?;
    let encoded = metadata.split(',').find_map(|pair| pair.trim().strip_prefix("filename "))?;
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

fn field(name: &str, reason: &str) -> Stop {
    let details = json!([{ "pointer": name, "reason": reason }]);
    Stop::Edge(Refused { details: Some(details), ..CommonRefusal::ValidationFailed.into() })
}
