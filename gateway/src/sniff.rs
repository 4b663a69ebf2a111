//! What a file's first bytes say it is (WHATWG MIME Sniffing §6, the types that we take).

/// Bytes that are looked at.
pub(crate) const ENOUGH: usize = 64;

/// The media type that the first bytes show; `text/plain` for text, `application/octet-stream` when nothing is known.
pub(crate) fn mime(first: &[u8]) -> &'static str {
    let brand = first.get(4..12);
    match first {
        _ if brand.is_some_and(|brand| brand.starts_with(b"ftypM4A")) => "audio/mp4",
        _ if brand.is_some_and(|brand| brand.starts_with(b"ftyp")) => "video/mp4",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "video/webm",
        [b'I', b'D', b'3', ..] | [0xff, 0xfb | 0xf3 | 0xf2, ..] => "audio/mpeg",
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'%', b'P', b'D', b'F', b'-', ..] => "application/pdf",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "application/zip",
        _ if first.starts_with(b"WEBVTT") || first.starts_with(b"\xef\xbb\xbfWEBVTT") => "text/vtt",
        _ if !first.is_empty() && first.iter().all(|b| *b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r')) => {
            "text/plain"
        }
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::mime;

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        assert_eq!(mime(b"\0\0\0\x20ftypisom\0\0\x02\0"), "video/mp4");
        assert_eq!(mime(b"\0\0\0\x20ftypM4A \0\0\x02\0"), "audio/mp4");
        assert_eq!(mime(b"PK\x03\x04rest"), "application/zip");
        assert_eq!(mime(b"<script>alert(1)</script>"), "text/plain");
        assert_eq!(mime(b"MZ\x90\0\x03"), "application/octet-stream");
        assert_eq!(mime(b""), "application/octet-stream");
    }
}
