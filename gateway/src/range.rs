//! `Range: bytes=…` (RFC 9110 §14).

use std::ops::Range;

/// What part of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it: no header, one that can't be read, or several ranges (a server may ignore those).
    Whole,
    /// One range of bytes, within the file.
    Part(Range<u64>),
    /// Nothing of the file, or an unreasonable number of ranges.
    Unsatisfiable,
}

/// Most ranges in one header that are ignored politely; more are an attack on the store.
const MOST_RANGES: usize = 5;

/// Reads a `Range` header for a file of `size` bytes.
pub(crate) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(ranges) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let parsed: Option<Vec<_>> = ranges.split(',').map(|range| parse(range.trim())).collect();
    match parsed.as_deref() {
        None | Some([]) => Asked::Whole,
        Some([(first, last)]) => satisfy(*first, *last, size),
        Some(several) if several.len() > MOST_RANGES => Asked::Unsatisfiable,
        Some(_) => Asked::Whole,
    }
}

fn parse(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        if text.is_empty() {
            Some(None)
        } else {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())
        }
    };
    match (number(first)?, number(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        parsed => Some(parsed),
    }
}

fn satisfy(first: Option<u64>, last: Option<u64>, size: u64) -> Asked {
    match (first, last) {
        (Some(first), last) if first < size => {
            Asked::Part(first..last.map_or(size, |last| size.min(last.saturating_add(1))))
        }
        (None, Some(suffix)) if suffix > 0 && size > 0 => Asked::Part(size.saturating_sub(suffix)..size),
        _ => Asked::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked};

    #[test]
    fn a_range_is_cut_to_the_file() {
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-3"), 10), Asked::Part(0..4));
        assert_eq!(asked(Some("bytes=4-"), 10), Asked::Part(4..10));
        assert_eq!(asked(Some("bytes=-3"), 10), Asked::Part(7..10));
        assert_eq!(asked(Some("bytes=-30"), 10), Asked::Part(0..10));
        assert_eq!(asked(Some("bytes=8-100"), 10), Asked::Part(8..10));
    }

    #[test]
    fn what_lies_beyond_is_unsatisfiable_and_what_cannot_be_read_is_ignored() {
        assert_eq!(asked(Some("bytes=10-"), 10), Asked::Unsatisfiable);
        assert_eq!(asked(Some("bytes=-0"), 10), Asked::Unsatisfiable);
        assert_eq!(asked(Some("bytes=0-0,1-1,2-2,3-3,4-4,5-5"), 10), Asked::Unsatisfiable);
        assert_eq!(asked(Some("bytes=0-0,1-1"), 10), Asked::Whole);
        for nonsense in ["bytes=", "bytes=a-b", "bytes=3-1", "items=0-1", "bytes=-", "bytes=+1-2"] {
            assert_eq!(asked(Some(nonsense), 10), Asked::Whole, "{nonsense}");
        }
    }
}
