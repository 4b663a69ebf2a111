//! URLs that carry their own permission: a path, who may use it until when, and an HMAC-SHA256 over all of it
//! (`spec/protocols.md` P8). Whoever has the keys can check one without asking anybody.

use std::fmt::Write;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use lectern_subjects::subject::is_token;
use ring::hmac;

/// Keys by id: the first one signs, all of them verify, so that keys can be changed while URLs are out.
#[derive(Clone)]
pub struct SigningKeys(Vec<(String, hmac::Key)>);

/// Why a signed URL is not accepted. Callers are never told which: it is for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Parameters are missing, unknown, repeated or unreadable.
    #[error("malformed")]
    Malformed,
    /// No key of that id.
    #[error("unknown key")]
    UnknownKey,
    /// The signature is of something else.
    #[error("forged")]
    Forged,
    /// Its time is over.
    #[error("expired")]
    Expired,
}

impl FromStr for SigningKeys {
    type Err = String;

    /// `kid:base64,kid:base64`: ids of 1 to 64 characters of `A-Za-z0-9_-`, keys of 32 bytes. Messages never show a key.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys: Vec<(String, hmac::Key)> = Vec::new();
        for entry in text.split(',') {
            let (kid, secret) = entry.trim().split_once(':').ok_or("expected kid:base64,kid:base64")?;
            if !is_token(kid) || keys.iter().any(|(known, _)| known == kid) {
                return Err("a key id is invalid or stands there twice".to_owned());
            }
            let secret = STANDARD.decode(secret).map_err(|_| format!("key {kid} is no base64"))?;
            if secret.len() != 32 {
                return Err(format!("key {kid} has {} bytes, not 32", secret.len()));
            }
            keys.push((kid.to_owned(), hmac::Key::new(hmac::HMAC_SHA256, &secret)));
        }
        Ok(SigningKeys(keys))
    }
}

impl SigningKeys {
    /// The URL of `path` (not percent-encoded, starting with `/`) with these parameters, good until `expires_at`, which
    /// is cut to whole seconds.
    pub fn sign(&self, path: &str, params: &[(&str, &str)], expires_at: DateTime<Utc>) -> String {
        let (kid, key) = &self.0[0];
        let exp = expires_at.timestamp().to_string();
        let message = message(path, params.iter().map(|(_, value)| *value), &exp);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key, message.as_bytes()));
        let mut url = encode(path, b"/");
        let mut separator = '?';
        for (name, value) in
            params.iter().copied().chain([("exp", exp.as_str()), ("kid", kid), ("sig", &signature)])
        {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value, b""));
            separator = '&';
        }
        url
    }

    /// The values of the parameters `names`, in that order, when path (decoded) and query (as it came) are what was
    /// signed. Any other parameter is refused.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn verify<const N: usize>(
        &self,
        path: &str,
        query: &str,
        names: [&str; N],
        now: DateTime<Utc>,
    ) -> Result<[String; N], Denied> {
        let mut given: Vec<(&str, String)> = Vec::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(Denied::Malformed)?;
            let known = names.contains(&name) || ["exp", "kid", "sig"].contains(&name);
            if !known || given.iter().any(|(before, _)| *before == name) {
                return Err(Denied::Malformed);
            }
            given.push((name, decode(value).ok_or(Denied::Malformed)?));
        }
        let mut take = |name: &str| {
            let at = given.iter().position(|(given, _)| *given == name).ok_or(Denied::Malformed)?;
            Ok(given.swap_remove(at).1)
        };
        let (exp, kid, signature) = (take("exp")?, take("kid")?, take("sig")?);
        let mut values = [const { String::new() }; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = take(name)?;
        }
        // a line break would let two different messages look the same
        if path.chars().chain(values.iter().flat_map(|v| v.chars())).any(char::is_control) {
            return Err(Denied::Malformed);
        }
        let until: i64 = exp.parse().map_err(|_| Denied::Malformed)?;
        let (_, key) = self.0.iter().find(|(known, _)| *known == kid).ok_or(Denied::UnknownKey)?;
        let signature = URL_SAFE_NO_PAD.decode(&signature).map_err(|_| Denied::Malformed)?;
        let message = message(path, values.iter().map(String::as_str), &exp);
        hmac::verify(key, message.as_bytes(), &signature).map_err(|_| Denied::Forged)?;
        if now.timestamp() >= until { Err(Denied::Expired) } else { Ok(values) }
    }
}

/// What is signed: the path, the values in the order both sides agree on, and the expiry, one per line.
fn message<'v>(path: &str, values: impl Iterator<Item = &'v str>, exp: &'v str) -> String {
    let mut message = path.to_owned();
    for value in values.chain([exp]) {
        message.push('\n');
        message.push_str(value);
    }
    message
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 and those in `keep`.
fn encode(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // writing to a String can't fail
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OLD: &str = "2025-01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "2026-11:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";
    const NAMES: [&str; 2] = ["psid", "uid"];

    fn keys(text: &str) -> SigningKeys {
        text.parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn signed() -> String {
        keys(NEW).sign("/media/a/lesson 1.mp4", &[("psid", "p-1"), ("uid", "u-1")], at(1000))
    }

    #[test]
    fn what_was_signed_is_accepted_until_it_expires() {
        let url = signed();
        let (path, query) = url.split_once('?').unwrap();
        assert_eq!(path, "/media/a/lesson%201.mp4");
        let verify = |now| keys(NEW).verify("/media/a/lesson 1.mp4", query, NAMES, at(now));
        assert_eq!(verify(999), Ok(["p-1".to_owned(), "u-1".to_owned()]));
        assert_eq!(verify(1000), Err(Denied::Expired));
    }

    #[test]
    fn keys_are_changed_while_urls_are_out() {
        let both = keys(&format!("{NEW},{OLD}"));
        let old = keys(OLD).sign("/a", &[], at(1000));
        let query = |url: &str| url.split_once('?').unwrap().1.to_owned();
        assert_eq!(both.verify("/a", &query(&old), [], at(1)), Ok([]));
        assert!(both.sign("/a", &[], at(1000)).contains("kid=2026-11"));
        assert_eq!(keys(NEW).verify("/a", &query(&old), [], at(1)), Err(Denied::UnknownKey));
    }

    #[test]
    fn impossible_keys_are_named_and_never_shown() {
        for bad in ["", "a", "a:AAAA", "a b:AAAA", "a:!", &format!("{NEW},{NEW}")] {
            let message = bad.parse::<SigningKeys>().err().unwrap();
            assert!(!message.contains("AAAA") && !message.contains("Hx4d"), "{message}");
        }
    }

    #[test]
    fn more_less_or_repeated_parameters_are_refused() {
        let url = signed();
        let query = url.split_once('?').unwrap().1;
        let verify = |query: &str| keys(NEW).verify("/media/a/lesson 1.mp4", query, NAMES, at(1));
        assert!(verify(query).is_ok());
        assert_eq!(verify(&format!("{query}&x=1")), Err(Denied::Malformed));
        assert_eq!(verify(&format!("{query}&uid=u-1")), Err(Denied::Malformed));
        assert_eq!(verify(query.split_once('&').unwrap().1), Err(Denied::Malformed));
        assert_eq!(verify(""), Err(Denied::Malformed));
    }

    proptest! {
        #[test]
        fn learning_e11_any_changed_byte_is_refused(at_byte in 0_usize..400, to in 0x20_u8..0x7f) {
            let url = signed();
            let index = at_byte % url.len();
            let mut bytes = url.clone().into_bytes();
            prop_assume!(bytes[index] != to);
            bytes[index] = to;
            let changed = String::from_utf8(bytes).unwrap();
            let accepted = changed.split_once('?').is_some_and(|(path, query)| {
                decode(path).is_some_and(|path| keys(NEW).verify(&path, query, NAMES, at(1)).is_ok())
            });
            // the same byte may be spelled %2e or %2E: then nothing has changed
            let same = decode(&changed) == decode(&url) && changed.eq_ignore_ascii_case(&url);
            prop_assert!(!accepted || same, "{}", changed);
        }
    }
}
