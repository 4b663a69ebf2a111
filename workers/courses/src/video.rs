//! Where a course session's video comes from: an uploaded file, or an https URL of a public host.
//!
//! The host is read strictly: whatever programs could read in different ways (a backslash, white space, a user name,
//! percent signs or letters outside ASCII in the host) is refused, and whatever they would read as an address is read as
//! one, in all the forms of `inet_aton` (WHATWG URL, "IPv4 parser"). A name may still resolve to a private address;
//! nothing here follows the URL, the learner's browser does.

use std::net::{Ipv4Addr, Ipv6Addr};

use lectern_subjects::courses::CoursesRefusal;
use lectern_subjects::id::AssetId;
use lectern_subjects::{Refusal, Refused};
use serde_json::json;

/// Names that mean this host or this network, also as the end of a longer name (RFC 6761, RFC 6762, RFC 8375, ICANN
/// `.internal`).
const PRIVATE_NAMES: &[&str] =
    &["localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa", "onion"];

/// Checks that there is exactly one source, and that a URL is a public one.
///
/// # Errors
/// COURSE_2003 with the field and the reason.
pub(crate) fn check(
    video_url: Option<&str>,
    asset_id: Option<AssetId>,
) -> Result<(), Refused<CoursesRefusal>> {
    let (pointer, reason) = match (video_url, asset_id) {
        (None, Some(_)) => return Ok(()),
        (Some(url), None) => match check_url(url) {
            Ok(()) => return Ok(()),
            Err(reason) => ("/video_url", reason),
        },
        (Some(_), Some(_)) => ("/asset_id", "either video_url or asset_id, not both"),
        (None, None) => ("/video_url", "either video_url or asset_id is required"),
    };
    Err(CoursesRefusal::VideoSourceInvalid.because(json!([{ "pointer": pointer, "reason": reason }])))
}

fn check_url(url: &str) -> Result<(), &'static str> {
    if url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("no white space, control characters or backslashes");
    }
    let scheme = url.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://"));
    if scheme != Some("https://") {
        return Err("an https:// URL, the scheme in lower case");
    }
    let rest = &url[8..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.contains('@') {
        return Err("no user name or password");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (host, after) = literal.split_once(']').ok_or("not a host")?;
            check_port(after)?;
            return check_ipv6(host.parse().map_err(|_| "not an IPv6 address")?);
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    check_port(port)?;
    check_host(&host.to_ascii_lowercase())
}

/// Nothing, or a colon and a port from 1.
fn check_port(port: &str) -> Result<(), &'static str> {
    let Some(digits) = port.strip_prefix(':') else {
        return if port.is_empty() { Ok(()) } else { Err("not a host") };
    };
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u16>());
    if matches!(number, Some(Ok(1..))) { Ok(()) } else { Err("not a port") }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err("not a host name in its ASCII form");
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    // a last label of digits, or in hexadecimal, makes the whole an address or nothing
    if last.bytes().all(|b| b.is_ascii_digit()) || number(last).is_some() {
        return check_ipv4(ipv4(host).ok_or("not an IPv4 address")?);
    }
    let is_private =
        |name: &str| host == name || host.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
    if !host.contains('.') || PRIVATE_NAMES.iter().any(|name| is_private(name)) {
        return Err("a public host");
    }
    Ok(())
}

/// An address of one to four numbers, each decimal, octal or hexadecimal; the last one fills what is left.
fn ipv4(host: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|byte| *byte > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).map(|(byte, shift)| byte << shift).sum::<u64>();
    u32::try_from(high + last).ok().map(Ipv4Addr::from)
}

fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 16).ok() };
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u64::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// Refuses what is not globally reachable (IANA IPv4 special-purpose registry).
fn check_ipv4(address: Ipv4Addr) -> Result<(), &'static str> {
    let special = match address.octets() {
        [0 | 10 | 127 | 224..=255, ..] => true,
        [100, 64..=127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] | [198, 18 | 19, ..] => {
            true
        }
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // the host side of Azure's virtual machines stands in a public range
        [168, 63, 129, 16] => true,
        _ => false,
    };
    if special { Err("a public host") } else { Ok(()) }
}

/// Takes global unicast only, without the blocks in it that embed an IPv4 address or are not reachable (IANA IPv6
/// special-purpose registry). Mapped and translated IPv4 addresses stand outside it.
fn check_ipv6(address: Ipv6Addr) -> Result<(), &'static str> {
    let public = match address.segments() {
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    };
    if public { Ok(()) } else { Err("a public host") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ASSET: AssetId = AssetId(Uuid::from_u128(7));

    #[test]
    fn l04_a_session_has_exactly_one_video() {
        assert!(check(Some("https://videos.example.com/a.mp4"), None).is_ok());
        assert!(check(None, Some(ASSET)).is_ok());
        for refused in [check(None, None), check(Some("https://videos.example.com/a.mp4"), Some(ASSET))] {
            assert_eq!(refused.expect_err("refused").refusal, CoursesRefusal::VideoSourceInvalid);
        }
    }

    #[test]
    fn public_https_urls_are_taken() {
        for url in [
            "https://videos.example.com/a.mp4",
            "https://videos.example.com",
            "https://videos.example.com:8443/a.mp4?token=a@b#t=10",
            "https://VIDEOS.example.com./강의.mp4",
            "https://xn--bcher-kva.example/a.mp4",
            "https://localhost.example.com/",
            "https://8.8.8.8/a.mp4",
            "https://[2606:4700:4700::1111]:443/a.mp4",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn other_schemes_user_names_and_malformed_urls_are_refused() {
        for url in [
            "",
            "http://videos.example.com/a.mp4",
            "HTTPS://videos.example.com/a.mp4",
            "ftp://videos.example.com/a.mp4",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "//videos.example.com/a.mp4",
            "https:/videos.example.com",
            "https:\\\\videos.example.com",
            "https://",
            "https:///a.mp4",
            "https://user@videos.example.com/",
            "https://videos.example.com:secret@127.0.0.1/",
            "https://videos.example.com\\@127.0.0.1/",
            "https://videos.example.com /",
            "https://videos.example\t.com/",
            "https://videos.example.com:0/",
            "https://videos.example.com:65536/",
            "https://videos.example.com:+80/",
            "https://videos.example.com:/",
            "https://videos..example.com/",
            "https://%31%32%37.0.0.1/",
            "https://１２７.0.0.1/",
            "https://videos。example。com/",
            "https://[::1/",
            "https://[2606:4700::1111]x/",
        ] {
            assert!(check_url(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn private_hosts_are_refused_in_every_form() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "intranet",
            "db.internal",
            "metadata.google.internal",
            "printer.local",
            "router.home.arpa",
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f000001",
            "0x7F.1",
            "017700000001",
            "0177.0.0.1",
            "0x7f.0x0.0x0.0x1",
            "0",
            "0x",
            "0.0.0.0",
            "10.0.0.1",
            "012.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.168.257",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "100.100.100.200",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "256.256.256.256",
            "1.2.3.4.5",
            "4294967296",
            "08.8.8.8",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fe80::1%25eth0]",
            "[ff02::1]",
        ] {
            assert!(check_url(&format!("https://{host}/a.mp4")).is_err(), "{host}");
        }
    }
}
