//! The device token of a sign-in as a cookie, so that browsers keep it where scripts can't read it
//! (`spec/protocols.md` P1). Over the bus, and for clients without cookies, it is a field like any other.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use lectern_subjects::identity::{Login, OidcCallback, SignInWithPasskey, TokenPair, VerifyMfa};
use lectern_subjects::{Request, RequestInfo};

use crate::cookies;

/// What a sign-in can end with.
const SIGN_INS: [&str; 4] =
    [Login::SUBJECT, VerifyMfa::SUBJECT, SignInWithPasskey::SUBJECT, OidcCallback::SUBJECT];
/// The cookie's name.
const NAME: &str = "lectern_device";
/// The request's field.
const FIELD: &str = "device_token";
/// As long as browsers keep a cookie, and as long as identity takes the token: 400 days, in seconds.
const MAX_AGE: u32 = 400 * 86_400;

/// The body of a sign-in with the cookie's token in front, when it names none itself. Anything else stays as it is.
pub(crate) fn into_body(info: &RequestInfo, headers: &HeaderMap, body: Bytes) -> Bytes {
    if !SIGN_INS.contains(&info.subject) {
        return body;
    }
    cookies::with_field(FIELD, cookies::value(headers, NAME), body)
}

/// The `Set-Cookie` that a sign-in is answered with.
pub(crate) fn set(
    info: &RequestInfo,
    headers: &HeaderMap,
    client: Option<IpAddr>,
    reply: &[u8],
) -> Option<HeaderValue> {
    if !SIGN_INS.contains(&info.subject) {
        return None;
    }
    let token = serde_json::from_slice::<TokenPair>(reply).ok()?.device_token?;
    cookies::set(headers, client, NAME, &token, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{COOKIE, HOST};

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn info(subject: &str) -> &'static RequestInfo {
        lectern_subjects::request(subject).expect("a request of the contract")
    }

    fn headers(pairs: &[(axum::http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn filled(cookies: &'static str, body: &'static str) -> String {
        let filled = into_body(
            info(Login::SUBJECT),
            &headers(&[(COOKIE, cookies)]),
            Bytes::from_static(body.as_bytes()),
        );
        String::from_utf8(filled.to_vec()).unwrap()
    }

    #[test]
    fn i081_the_cookie_becomes_the_field_unless_the_body_has_it() {
        let body = r#"{"email":"a@b.co","password":"x"}"#;
        let with = r#"{"device_token":"abc-_9","email":"a@b.co","password":"x"}"#;
        assert_eq!(filled("theme=dark; lectern_device=abc-_9", body), with);
        let own = r#"{"email":"a@b.co","device_token":"mine"}"#;
        assert_eq!(filled("lectern_device=abc-_9", own), own);
        assert_eq!(filled("lectern_device=abc", " {} "), r#"{"device_token":"abc"} "#);
    }

    #[test]
    fn a_cookie_that_is_no_token_and_a_body_that_is_no_object_stay_out_of_it() {
        let body = r#"{"email":"a@b.co"}"#;
        for cookies in
            ["", "lectern_device=", "lectern_device=a\",\"role\":\"admin", "other=abc", "lectern_device=a b"]
        {
            assert_eq!(filled(cookies, body), body, "{cookies}");
        }
        for body in ["", "[]", "{", "\"x\""] {
            assert_eq!(filled("lectern_device=abc", body), body);
        }
        // a repeated key is still there to be refused
        let twice = r#"{"email":"a@b.co","email":"c@d.co"}"#;
        assert!(filled("lectern_device=abc", twice).ends_with(&twice[1..]));
        let other = info("svc.identity.v1.auth.refresh");
        let body = Bytes::from_static(b"{}");
        assert_eq!(into_body(other, &headers(&[(COOKIE, "lectern_device=abc")]), body.clone()), body);
    }

    #[test]
    fn i081_the_cookie_is_for_the_sign_in_only_and_for_tls_unless_at_home() {
        let reply = br#"{"access_token":"a","refresh_token":"r","token_type":"bearer","expires_in":1,"device_token":"abc"}"#;
        let set_for = |host: &'static str, client| {
            let value =
                set(info(Login::SUBJECT), &headers(&[(HOST, host)]), client, reply).expect("a cookie");
            value.to_str().unwrap().to_owned()
        };
        let plain = "lectern_device=abc; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax";
        for host in ["localhost:3000", "127.0.0.1", "[::1]:3000"] {
            assert_eq!(set_for(host, HERE), plain, "{host}");
        }
        let secure = format!("{plain}; Secure");
        for (host, client) in [
            // behind a proxy on the same machine, from elsewhere, under another name
            ("learn.example.org", HERE),
            ("localhost", Some(IpAddr::from([192, 0, 2, 7]))),
            ("localhost.example.org", HERE),
            ("", HERE),
            ("localhost", None),
        ] {
            assert_eq!(set_for(host, client), secure, "{host}");
        }
        for sign_in in SIGN_INS {
            assert!(set(info(sign_in), &headers(&[]), HERE, reply).is_some(), "{sign_in}");
        }
        let without = br#"{"access_token":"a","refresh_token":"r","token_type":"bearer","expires_in":1}"#;
        assert_eq!(set(info(Login::SUBJECT), &headers(&[]), HERE, without), None);
        assert_eq!(set(info("svc.identity.v1.auth.refresh"), &headers(&[]), HERE, reply), None);
    }
}
