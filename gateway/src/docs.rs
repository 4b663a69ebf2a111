//! `/docs` (Swagger UI, from the binary: no network; seed 004 has it at `/swagger`), `/redoc`, `/openapi.json`, `/asyncapi.json`, `/docs/errors`.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use bytes::Bytes;
use lectern_subjects::{Code, CommonRefusal};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{Gateway, asyncapi, openapi, reference};

static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
static ASYNCAPI: LazyLock<Bytes> = LazyLock::new(|| asyncapi::document().to_string().into());
static REFERENCE: LazyLock<Bytes> = LazyLock::new(|| reference::page(&openapi::document()).into());
static ERRORS: LazyLock<Bytes> = LazyLock::new(|| errors().into());

/// The documents' routes.
pub(crate) fn router() -> Router<Arc<Gateway>> {
    let json = |document: &'static LazyLock<Bytes>| {
        move || async move { (typed("application/json"), Bytes::clone(document)).into_response() }
    };
    let html = |page: &'static LazyLock<Bytes>| {
        move || async move { (typed("text/html; charset=utf-8"), Bytes::clone(page)).into_response() }
    };
    let swagger: Router = SwaggerUi::new("/docs")
        .config(Config::from("/openapi.json").try_it_out_enabled(true).validator_url("none"))
        .into();
    Router::new()
        .route("/", get(|| async { Redirect::to("/docs/") }))
        .route("/openapi.json", get(json(&OPENAPI)))
        .route("/asyncapi.json", get(json(&ASYNCAPI)))
        .route("/swagger", get(|| async { Redirect::to("/docs/") }))
        .route("/redoc", get(html(&REFERENCE)))
        .route("/docs/errors", get(html(&ERRORS)))
        .merge(swagger.with_state(()))
}

fn typed(content_type: &'static str) -> [(axum::http::HeaderName, HeaderValue); 1] {
    [(CONTENT_TYPE, HeaderValue::from_static(content_type))]
}

/// Every refusal code, from the contract.
fn errors() -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Lectern: refusal codes</title><style>\
         body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
         table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .8rem;border-bottom:1px solid #d8dee4}\
         code{font-size:.95em}tr:target{background:#fff8c5}</style><h1>Refusal codes</h1>\
         <p>Every refusal is a problem document (RFC 9457) with one of these as <code>error_code</code>, over HTTP and on the bus.</p>",
    );
    let table = |page: &mut String, title: &str, codes: &[Code]| {
        let _infallible =
            write!(page, "<h2>{title}</h2><table><tr><th>code<th>status<th>class<th>message</tr>");
        for code in codes {
            let _infallible = write!(
                page,
                "<tr id=\"{0}\"><td><code>{0}</code><td>{1}<td>{2:?}<td>{3}</tr>",
                code.code, code.status, code.class, code.message
            );
        }
        page.push_str("</table>");
    };
    table(&mut page, "common", CommonRefusal::CODES);
    for service in lectern_subjects::SERVICES {
        table(&mut page, service.name, service.refusals);
    }
    page
}
