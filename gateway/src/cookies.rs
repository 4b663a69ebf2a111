//! Cookies: a token that travels beside a request, as a field of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::header::{COOKIE, HOST};
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::de::IgnoredAny;

/// Longer than any token of ours.
const LONGEST: usize = 512;

/// An object of fields with one more in front, when there is something for it and the object does not name it itself.
pub(crate) fn with_field(field: &str, token: Option<&str>, body: Bytes) -> Bytes {
    let Some(token) = token else { return body };
    // what is no object of fields is left for the decoder to refuse
    let Ok(fields) = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&body) else { return body };
    let Some(rest) = body.trim_ascii_start().strip_prefix(b"{") else { return body };
    if fields.contains_key(field) {
        return body;
    }
    let separator = if fields.is_empty() { "" } else { "," };
    [format!("{{\"{field}\":\"{token}\"{separator}").as_bytes(), rest].concat().into()
}

/// A cookie's value, when it can be a token: base64url.
pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(its_name, _)| *its_name == name)?;
    let of_a_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    ((1..=LONGEST).contains(&value.len()) && value.bytes().all(of_a_token)).then_some(value)
}

/// A `Set-Cookie` for so many seconds. It goes over TLS only, unless the client is this machine and asked for it by a name
/// that nobody else has; it comes back with top-level navigations from elsewhere, hence `Lax`.
pub(crate) fn set(
    headers: &HeaderMap,
    client: Option<IpAddr>,
    name: &str,
    value: &str,
    max_age: u32,
) -> Option<HeaderValue> {
    let secure = if is_local(headers, client) { "" } else { "; Secure" };
    let cookie = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&cookie).ok()
}

/// Whether a client on this machine asked by a name of this machine.
pub(crate) fn is_local(headers: &HeaderMap, client: Option<IpAddr>) -> bool {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_own_name = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_own_name && client.is_some_and(|address| address.to_canonical().is_loopback())
}
