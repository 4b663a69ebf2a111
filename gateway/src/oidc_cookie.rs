//! What binds a sign-in at an OpenID provider to the browser that began it, as a cookie: an answer that somebody else fetched
//! signs nobody in (RFC 9700, 4.7). The callback takes it from the cookie and from nowhere else, for a link can carry a query
//! and no cookie.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use lectern_subjects::identity::{LinkIdentity, OidcCallback, OidcStart, StartOidc};
use lectern_subjects::{Request, RequestInfo};

use crate::cookies::{self, is_local};

/// What begins a sign-in at a provider.
const STARTS: [&str; 2] = [StartOidc::SUBJECT, LinkIdentity::SUBJECT];
/// The cookie's name. The prefix keeps other hosts of the domain, and whoever is on the way to a plain-http one, from setting it
/// (RFC 6265bis, 4.1.3.2); it needs `Secure` and the path `/`.
const NAME: &str = "__Host-lectern_oidc";
/// Its name where it goes without TLS: for the client on this machine only.
const LOCAL_NAME: &str = "lectern_oidc";
/// The request's field.
const FIELD: &str = "binding";
/// As long as identity waits for an answer, seconds.
const MAX_AGE: u32 = 300;

/// The callback with the cookie's value as its binding; without one it has none. Anything else stays as it is.
pub(crate) fn into_body(
    info: &RequestInfo,
    headers: &HeaderMap,
    client: Option<IpAddr>,
    body: Bytes,
) -> Bytes {
    if info.subject != OidcCallback::SUBJECT {
        return body;
    }
    cookies::with_field(FIELD, cookies::value(headers, name_for(headers, client)), body)
}

fn name_for(headers: &HeaderMap, client: Option<IpAddr>) -> &'static str {
    if is_local(headers, client) { LOCAL_NAME } else { NAME }
}

/// The `Set-Cookie` of a start.
pub(crate) fn set(
    info: &RequestInfo,
    headers: &HeaderMap,
    client: Option<IpAddr>,
    reply: &[u8],
) -> Option<HeaderValue> {
    if !STARTS.contains(&info.subject) {
        return None;
    }
    let binding = serde_json::from_slice::<OidcStart>(reply).ok()?.binding;
    cookies::set(headers, client, name_for(headers, client), &binding, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{COOKIE, HOST};

    use super::*;

    fn info(subject: &str) -> &'static RequestInfo {
        lectern_subjects::request(subject).expect("a request of the contract")
    }

    #[test]
    fn i079_the_cookie_is_the_binding_and_a_callback_without_one_has_none() {
        let filled = |cookies: &'static str| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(cookies))]);
            into_body(info(OidcCallback::SUBJECT), &headers, None, Bytes::from_static(br#"{"state":"s"}"#))
        };
        let one = "a=b; __Host-lectern_oidc=x-Y_1; lectern_oidc=of-another-host";
        assert_eq!(filled(one), br#"{"binding":"x-Y_1","state":"s"}"#[..]);
        for none in [
            "",
            "lectern_device=abc",
            "__Host-lectern_oidc=",
            "__Host-lectern_oidc=a\"b",
            // anybody on a neighbouring host could have set this one
            "lectern_oidc=x-Y_1",
        ] {
            assert_eq!(filled(none), br#"{"state":"s"}"#[..], "{none}");
        }
    }

    #[test]
    fn i079_without_tls_on_this_machine_the_cookie_has_a_name_that_browsers_take_there() {
        let here = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        let reply = br#"{"url":"https://a","binding":"abc","expires_at":"2026-11-02T09:25:00Z"}"#;
        let headers = HeaderMap::from_iter([
            (HOST, HeaderValue::from_static("localhost:3000")),
            (COOKIE, HeaderValue::from_static("lectern_oidc=abc")),
        ]);
        let cookie = set(info(StartOidc::SUBJECT), &headers, here, reply).expect("a cookie");
        assert_eq!(cookie.to_str().unwrap(), "lectern_oidc=abc; Path=/; Max-Age=300; HttpOnly; SameSite=Lax");
        let callback = into_body(info(OidcCallback::SUBJECT), &headers, here, Bytes::from_static(b"{}"));
        assert_eq!(callback, br#"{"binding":"abc"}"#[..]);
    }

    #[test]
    fn i079_both_starts_set_it_for_this_host_only() {
        let reply = br#"{"url":"https://a","binding":"abc","expires_at":"2026-11-02T09:25:00Z"}"#;
        for start in STARTS {
            let cookie = set(info(start), &HeaderMap::new(), None, reply).expect("a cookie");
            assert_eq!(
                cookie.to_str().unwrap(),
                "__Host-lectern_oidc=abc; Path=/; Max-Age=300; HttpOnly; SameSite=Lax; Secure"
            );
        }
        assert_eq!(set(info(OidcCallback::SUBJECT), &HeaderMap::new(), None, reply), None);
    }
}
