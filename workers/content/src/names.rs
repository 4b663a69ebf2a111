//! File names: what a person called a file, made safe to be a step of a path.

use lectern_subjects::content::ContentRefusal;

use crate::kinds::{self, Kind};

/// A usable file name.
pub(crate) struct Named {
    /// As it was called, without folders and characters that can't be seen: for people.
    pub file_name: String,
    /// `file` with its extension in lower case: for paths.
    pub path_name: String,
    /// What kind of file it names.
    pub kind: &'static Kind,
}

/// Cleans a name: folders, control characters and leading dots go; then the extension must be a known one.
///
/// # Errors
/// CONTENT_2212 when nothing of the name is left, CONTENT_2210 for an extension that is not taken.
pub(crate) fn clean(name: &str) -> Result<Named, ContentRefusal> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let file_name = visible
        .trim_start_matches(|c: char| c == '.' || c.is_whitespace())
        .trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if file_name.is_empty() {
        return Err(ContentRefusal::NameInvalid);
    }
    let (_, extension) = file_name.rsplit_once('.').ok_or(ContentRefusal::TypeNotAllowed)?;
    let extension = extension.to_ascii_lowercase();
    let kind = kinds::of_extension(&extension).ok_or(ContentRefusal::TypeNotAllowed)?;
    // what somebody calls a file may be a person's name: it stands in no path, URL or fact, where it could not be forgotten
    let path_name = format!("file.{extension}");
    Ok(Named { file_name: file_name.to_owned(), path_name, kind })
}

/// Marks that turn the direction of text or have no width: `exe.4pm` must not look like `mp4.exe` (Unicode TR 36).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_name(name: &str) -> Result<String, ContentRefusal> {
        clean(name).map(|named| named.path_name)
    }

    #[test]
    fn l15_the_extension_tells_the_type() {
        for (name, mime) in [
            ("a.mp4", "video/mp4"),
            ("a.M4V", "video/mp4"),
            ("a.webm", "video/webm"),
            ("a.mp3", "audio/mpeg"),
            ("a.m4a", "audio/mp4"),
            ("a.vtt", "text/vtt"),
            ("a.srt", "application/x-subrip"),
            ("a.PDF", "application/pdf"),
            ("a.png", "image/png"),
            ("a.jpg", "image/jpeg"),
            ("a.jpeg", "image/jpeg"),
            ("a.webp", "image/webp"),
            ("a.zip", "application/zip"),
        ] {
            assert_eq!(clean(name).map(|named| named.kind.mime), Ok(mime), "{name}");
        }
    }

    #[test]
    fn l16_a_path_is_safe_whatever_the_name_and_repeats_nothing_of_it() {
        for name in [
            "Ada Lovelace.mp4",
            "../../etc/passwd.mp4",
            "..\\..\\boot.MP4",
            "...hidden.mp4",
            "a\u{0}\n\r\u{7f}b.mp4",
            "\u{202e}gnp.mp4",
            "강의 1강.mp4",
            "-rf.mp4",
            "a%2f..%2fb.mp4",
            "a.mp4. ",
            &format!("{}.mp4", "x".repeat(250)),
        ] {
            assert_eq!(path_name(name), Ok("file.mp4".to_owned()), "{name:?}");
        }
        assert_eq!(path_name("a.tar.ZIP"), Ok("file.zip".to_owned()));
    }

    #[test]
    fn people_keep_their_name_without_folders_and_invisible_characters() {
        for (name, shown) in [
            ("x/강의 1강.mp4", "강의 1강.mp4"),
            ("C:\\a b.MP4", "a b.MP4"),
            ("\u{202e}gnp.mp4", "gnp.mp4"),
            ("..a\r\nb.mp4 ", "ab.mp4"),
        ] {
            assert_eq!(clean(name).map(|named| named.file_name), Ok(shown.to_owned()), "{name:?}");
        }
    }

    #[test]
    fn names_of_nothing_and_other_types_are_refused() {
        for name in ["", ".", "..", "../", "a/..", "\u{1}\u{2}", "...", " ", "videos/"] {
            assert_eq!(path_name(name), Err(ContentRefusal::NameInvalid), "{name:?}");
        }
        for name in ["a.exe", "a.svg", "a.html", "a.mp4.exe", "mp4", ".mp4", "a.", "a.mp4/b", "a.php"] {
            assert_eq!(path_name(name), Err(ContentRefusal::TypeNotAllowed), "{name:?}");
        }
    }
}
