//! Which files are taken: an allow-list by extension, with the media types that their first bytes may show.

/// A kind of file.
pub(crate) struct Kind {
    /// The extension, lower case.
    extension: &'static str,
    /// The media type that it is served as.
    pub mime: &'static str,
    /// What else sniffing may call it. Some text has no signature, and a container may be named after any of its tracks.
    sniffed: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { extension: "mp4", mime: "video/mp4", sniffed: &["video/x-m4v", "application/mp4"] },
    Kind { extension: "m4v", mime: "video/mp4", sniffed: &["video/x-m4v", "application/mp4"] },
    Kind { extension: "webm", mime: "video/webm", sniffed: &["audio/webm"] },
    Kind { extension: "mp3", mime: "audio/mpeg", sniffed: &["audio/mp3"] },
    Kind {
        extension: "m4a",
        mime: "audio/mp4",
        sniffed: &["audio/m4a", "audio/x-m4a", "video/mp4", "application/mp4"],
    },
    Kind { extension: "vtt", mime: "text/vtt", sniffed: &[] },
    Kind { extension: "srt", mime: "application/x-subrip", sniffed: &["text/plain", "text/srt"] },
    Kind { extension: "pdf", mime: "application/pdf", sniffed: &[] },
    Kind { extension: "png", mime: "image/png", sniffed: &[] },
    Kind { extension: "jpg", mime: "image/jpeg", sniffed: &[] },
    Kind { extension: "jpeg", mime: "image/jpeg", sniffed: &[] },
    Kind { extension: "webp", mime: "image/webp", sniffed: &[] },
    Kind { extension: "zip", mime: "application/zip", sniffed: &["application/x-zip-compressed"] },
];

/// The kind of a file by its extension in lower case; none when such files are not taken.
pub(crate) fn of_extension(extension: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.extension == extension)
}

/// Whether a file with this name may have the content that sniffing found.
pub(crate) fn matches(file_name: &str, sniffed: &str) -> bool {
    let kind = file_name.rsplit_once('.').and_then(|(_, extension)| of_extension(extension));
    // parameters such as `; charset=utf-8` say nothing about the kind
    let sniffed = sniffed.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.is_some_and(|kind| kind.mime == sniffed || kind.sniffed.contains(&sniffed.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_must_be_what_the_extension_says() {
        assert!(matches("lesson.mp4", "video/mp4"));
        assert!(matches("lesson.m4v", "VIDEO/MP4"));
        assert!(matches("talk.m4a", "video/mp4"));
        assert!(matches("captions.srt", "text/plain; charset=utf-8"));
        for (name, sniffed) in [
            ("lesson.mp4", "application/x-executable"),
            ("lesson.mp4", "application/octet-stream"),
            ("lesson.mp4", "video/webm"),
            ("lesson.mp4", "text/html"),
            ("captions.vtt", "text/plain"),
            ("slides.pdf", "application/zip"),
            ("photo.png", "image/svg+xml"),
            ("photo.svg", "image/svg+xml"),
            ("mp4", "video/mp4"),
        ] {
            assert!(!matches(name, sniffed), "{name} as {sniffed}");
        }
    }
}
