//! `/media/{asset}/{file}`: bytes by a signed URL, checked here without asking anyone; ranges after RFC 9110.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use lectern_subjects::content::ContentRefusal;
use lectern_subjects::{Code, CommonRefusal, Problem, Refusal};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStoreExt};

use crate::Gateway;
use crate::edge::Refused;
use crate::exchange::{Endpoint, Exchange};
use crate::problem::Stop;
use crate::range::{self, Asked};

/// Answers GET and HEAD.
pub(crate) async fn serve(
    State(gateway): State<Arc<Gateway>>,
    Path((asset, file)): Path<(String, String)>,
    request: Request,
) -> Response<Body> {
    let (mut parts, _no_body) = request.into_parts();
    let method = if parts.method == Method::HEAD { "HEAD" } else { "GET" };
    let endpoint = Endpoint { method, path: "/media/{asset}/{file}", service: "gateway" };
    let exchange = Exchange::begin(&gateway, endpoint, &mut parts.headers);
    let answered = async {
        let answered = read(&gateway, &parts, &asset, &file).await;
        answered.unwrap_or_else(|stop| stop.answer(&gateway, &parts))
    };
    let response = exchange.answer(answered).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("media_requests_total", "status" => status).increment(1);
    response
}

async fn read(gateway: &Gateway, parts: &Parts, asset: &str, file: &str) -> Result<Response<Body>, Stop> {
    let keys = gateway.media_keys.as_ref().ok_or(ContentRefusal::UrlDenied)?;
    let query = parts.uri.query().unwrap_or_default();
    let path = format!("/media/{asset}/{file}");
    let [_playback, user, sid] =
        keys.verify(&path, query, ["psid", "uid", "sid"], gateway.clock.now()).map_err(|denied| {
            tracing::debug!(%denied, "a media URL");
            ContentRefusal::UrlDenied
        })?;
    let (user, sid) = user.parse().ok().zip(sid.parse().ok()).ok_or(ContentRefusal::UrlDenied)?;
    let revocations = gateway.tokens.revocations();
    // fail closed: a map that may be stale opens nothing
    if revocations.is_stale() {
        return Err(Refused { retry_after_s: Some(1), ..CommonRefusal::Unavailable.into() }.into());
    }
    if revocations.is_revoked(sid, user, i64::MAX) {
        return Err(ContentRefusal::UrlDenied.into());
    }
    let location = ObjectPath::from(format!("media/{asset}/{file}"));
    let meta = gateway.store.head(&location).await.map_err(storage)?;
    let etag = format!("\"{}-{:x}\"", meta.last_modified.timestamp_millis(), meta.size);
    let header = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let same = header(IF_RANGE).is_none_or(|tag| tag == etag);
    let asked = if same { range::asked(header(RANGE), meta.size) } else { Asked::Whole };

    let mut response = Response::new(Body::empty());
    let bytes = match asked {
        Asked::Whole => 0..meta.size,
        Asked::Part(bytes) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(
                &mut response,
                CONTENT_RANGE,
                &format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, meta.size),
            );
            bytes
        }
        Asked::Unsatisfiable => {
            let beyond = Code { status: 416, ..*ContentRefusal::RangeInvalid.code() };
            let document = Problem {
                trace_id: lectern_core::telemetry::current_trace_id(),
                ..Problem::new(&beyond, None, gateway.clock.now())
            };
            let mut refused = Stop::Service(Box::new(document), None).answer(gateway, parts);
            insert(&mut refused, CONTENT_RANGE, &format!("bytes */{}", meta.size));
            return Ok(refused);
        }
    };
    insert(&mut response, CONTENT_TYPE, content_type(file));
    insert(&mut response, CONTENT_LENGTH, &(bytes.end - bytes.start).to_string());
    insert(&mut response, ACCEPT_RANGES, "bytes");
    insert(&mut response, ETAG, &etag);
    insert(&mut response, CACHE_CONTROL, "private, max-age=900");
    if parts.method != Method::HEAD && !bytes.is_empty() {
        let options = GetOptions { range: Some(GetRange::Bounded(bytes)), ..GetOptions::default() };
        let found = gateway.store.get_opts(&location, options).await.map_err(storage)?;
        *response.body_mut() = Body::from_stream(found.into_stream());
    }
    Ok(response)
}

fn storage(error: object_store::Error) -> Refused {
    match error {
        object_store::Error::NotFound { .. } => ContentRefusal::AssetNotFound.into(),
        error => {
            tracing::error!(%error, "the object store");
            Refused { retry_after_s: Some(1), ..CommonRefusal::Unavailable.into() }
        }
    }
}

fn insert(response: &mut Response<Body>, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// By the name's extension, which was compared with the bytes when the upload was completed.
fn content_type(file: &str) -> &'static str {
    match file.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "vtt" => "text/vtt",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}
