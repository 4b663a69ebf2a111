//! Pinned downloads: an archive is used only when its digest is the pinned one.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{self, SHA256, SHA512};

/// What an archive must hash to, in the notation of the registry that it comes from.
#[derive(Debug, Clone, Copy)]
pub enum Digest {
    /// Lower-case hex SHA-256, as pip writes it.
    Sha256(&'static str),
    /// Base64 SHA-512, as in npm's `integrity`.
    Sha512(&'static str),
}

/// Checks `file` against `expected`.
///
/// # Errors
/// When it can't be read, or when its digest differs: the message names both digests.
pub fn verify(file: &Path, expected: Digest) -> anyhow::Result<()> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let (expected, found) = match expected {
        Digest::Sha256(expected) => (expected, hex::encode(digest::digest(&SHA256, &bytes))),
        Digest::Sha512(expected) => (expected, STANDARD.encode(digest::digest(&SHA512, &bytes))),
    };
    ensure!(
        expected == found,
        "{} is not what was pinned: expected {expected}, found {found}",
        file.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_is_refused_and_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"abc").expect("written");
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(file.path(), Digest::Sha256(right)).expect("the digest of abc, FIPS 180-2 appendix B.1");
        let error = verify(file.path(), Digest::Sha512("c29tZXRoaW5nIGVsc2U=")).expect_err("another digest");
        assert!(
            error.to_string().contains("expected c29tZXRoaW5nIGVsc2U=, found 3a81oZNherrMQXNJ"),
            "{error}"
        );
    }
}
