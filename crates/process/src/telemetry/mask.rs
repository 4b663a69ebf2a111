//! Keeps secrets and personal data out of logs: by the name of a field, by `name=value` inside a text, and by shape
//! (tokens, card numbers, e-mail addresses, passwords in URLs). A net under the rule that nobody logs them.

use std::borrow::Cow;

/// Fields whose value is never shown, whatever it is.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "token",
    "secret",
    "api_key",
    "apikey",
    "authorization",
    "code",
    "refresh_token",
    "access_token",
    "client_secret",
    "card_number",
    "cvv",
    "cvc",
    "seed",
    "kek",
];
/// What stands in their place.
pub(super) const HIDDEN: &str = "***";

/// Whether a field of that name holds a secret; upper case and dashes don't matter.
pub fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|secret| {
        name.len() == secret.len()
            && name
                .bytes()
                .zip(secret.bytes())
                .all(|(a, b)| a.eq_ignore_ascii_case(&b) || (a == b'-' && b == b'_'))
    })
}

/// The text with everything that must not be shown replaced; borrowed when there is nothing.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let mut previous = ' ';
    while let Some(c) = text[at..].chars().next() {
        let found = match c {
            _ if uuid(&text[at..]) => Some((36, None)),
            '0'..='9' if !previous.is_ascii_digit() => {
                card(&text[at..]).map(|len| (len, Some(HIDDEN.to_owned())))
            }
            ':' => userinfo(&text[at..]).map(|len| (len, Some(format!("://{HIDDEN}@")))),
            _ if in_word(c) && !in_word(previous) => word(&text[at..]),
            _ => None,
        };
        match found {
            Some((len, replacement)) => {
                if let Some(replacement) = replacement {
                    out.push_str(&text[copied..at]);
                    out.push_str(&replacement);
                    copied = at + len;
                }
                at += len;
                previous = ' ';
            }
            None => {
                previous = c;
                at += c.len_utf8();
            }
        }
    }
    if copied == 0 && out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.%+'!#$&*?^`{|}~".contains(c)
}

/// What a word at the start of `text` is: a token, an e-mail address, or the name of a secret before its value.
fn word(text: &str) -> Option<(usize, Option<String>)> {
    let len = text.find(|c| !in_word(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(len);
    if word.starts_with("eyJ") && word.matches('.').count() >= 2 {
        return Some((len, Some(HIDDEN.to_owned())));
    }
    if let Some(domain) = rest.strip_prefix('@') {
        let host =
            domain.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-')).unwrap_or(domain.len());
        if host > 0 {
            let first: String = word.chars().take(1).collect();
            return Some((len + 1 + host, Some(format!("{first}{HIDDEN}@{}", &domain[..host]))));
        }
    }
    if word.eq_ignore_ascii_case("bearer") && rest.starts_with(' ') {
        let value = rest[1..].find(|c: char| !(in_word(c) || "=/".contains(c))).unwrap_or(rest.len() - 1);
        return (value > 0).then(|| (len + 1 + value, Some(format!("{word} {HIDDEN}"))));
    }
    // in debug output a brace or an ampersand may stand before the name
    let name = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    if !is_secret(name) {
        return None;
    }
    let quoted = rest.trim_start_matches(['\\', '"', '\'', ' ']);
    let value = quoted.strip_prefix([':', '='])?.trim_start_matches(' ');
    let opened = value.trim_start_matches('\\');
    let end = match opened.chars().next() {
        Some(quote @ ('"' | '\'')) => 1 + opened[1..].find(quote)?,
        _ => {
            let scheme = ["bearer ", "basic "]
                .iter()
                .find(|scheme| {
                    opened.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                })
                .map_or(0, |scheme| scheme.len());
            let stop = |c: char| c.is_whitespace() || ",;&)]}\"'".contains(c);
            scheme + opened[scheme..].find(stop).unwrap_or(opened.len() - scheme)
        }
    };
    let value_start = text.len() - opened.len();
    let replacement = if opened.starts_with(['"', '\'']) {
        format!("{}{HIDDEN}", &text[..=value_start])
    } else {
        format!("{}{HIDDEN}", &text[..value_start])
    };
    Some((value_start + end, Some(replacement)))
}

/// The length of a payment card's number at the start: 14 to 19 digits, perhaps in groups, first digit 3 to 6, right
/// check digit (architecture §13, Cards).
fn card(text: &str) -> Option<usize> {
    let mut digits = Vec::with_capacity(19);
    let mut end = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits.push(u32::from(byte - b'0'));
                end = at + 1;
            }
            b' ' | b'-' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {}
            _ => break,
        }
        if digits.len() > 19 {
            return None;
        }
    }
    let luhn: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { (digit * 2) / 10 + (digit * 2) % 10 } else { *digit })
        .sum();
    let plausible = (14..=19).contains(&digits.len()) && (3..=6).contains(&digits[0]);
    (plausible && luhn.is_multiple_of(10)).then_some(end)
}

/// The length of `://user:password@` at the start.
fn userinfo(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("://")?;
    let authority = rest.find(|c: char| "/?#\"' ".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
    rest[..authority].rfind('@').map(|at| 3 + at + 1)
}

/// Whether a UUID stands at the start: its digits are no card number.
fn uuid(text: &str) -> bool {
    text.as_bytes().get(..36).is_some_and(|bytes| {
        bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_hidden_by_name_and_by_shape() {
        for (text, masked) in [
            ("password=hunter2 next", "password=*** next"),
            (r#"{"password":"hunter2","a":1}"#, r#"{"password":"***","a":1}"#),
            (r#"{\"api_key\":\"x\"}"#, r#"{\"api_key\":\"***"}"#),
            ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
            ("sent Bearer abc/d== on", "sent Bearer *** on"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln!", "got ***"),
            ("alice.smith@example.com left", "a***@example.com left"),
            ("<bob@x.org>", "<b***@x.org>"),
            ("postgres://u:p%40w@db:5432/x", "postgres://***@db:5432/x"),
            ("card 4111 1111 1111 1111.", "card ***."),
            ("card 5555555555554444", "card ***"),
            ("refresh_token = abc; more", "refresh_token = ***; more"),
        ] {
            assert_eq!(mask(text), masked, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        for text in [
            "error_code=USER_1001 status_code=401",
            "course 4111a1c2-1111-7111-8111-111111111111 was published",
            "4111111111111112 fails the check digit",
            "1700000000000000000 ns",
            "svc.courses.v1.courses.list took 3 ms",
            "the token has expired",
            "한국어 – text",
        ] {
            assert!(matches!(mask(text), Cow::Borrowed(_)), "{text}: {}", mask(text));
        }
        assert!(is_secret("Api-Key") && is_secret("PASSWORD") && !is_secret("error_code"));
    }

    proptest! {
        #[test]
        fn no_secret_survives_wherever_it_stands(
            before in "[a-z ,:{\"]{0,12} ", after in " [a-z ,}\"]{0,12}",
            local in "[a-z][a-z0-9._+]{3,12}", value in "[A-Za-z0-9]{12,30}",
            key in prop::sample::select(SECRET), separator in prop::sample::select(vec!["=", ": ", "\":\"", "\": \""]),
        ) {
            let email = format!("{local}@example.com");
            let masked = mask(&format!("{before}{email}{after}")).into_owned();
            prop_assert!(!masked.contains(&email), "{masked}");
            let quote = if separator.ends_with('"') { "\"" } else { "" };
            let masked = mask(&format!("{before}{key}{separator}{value}{quote}{after}")).into_owned();
            prop_assert!(!masked.contains(&value), "{masked}");
        }

        #[test]
        fn any_text_can_be_masked(text in "\\PC{0,200}") {
            let once = mask(&text).into_owned();
            prop_assert!(once.len() <= text.len() * 4 + 16);
        }
    }
}
