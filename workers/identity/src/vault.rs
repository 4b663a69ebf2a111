//! What is kept secret at rest: sealed with ChaCha20-Poly1305 under keys derived from `IDENTITY_KEK`, one per purpose.

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lectern_core::Env;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hkdf, hmac};

use crate::settings::KEK;

/// Layout of what is sealed: this byte, the key's id, a random nonce, the ciphertext with its tag.
const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 8;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Seals, opens and hashes with keys that never leave it.
pub(crate) struct Vault {
    key_id: [u8; KEY_ID_LEN],
    sealing: LessSafeKey,
    hashing: hmac::Key,
    random: SystemRandom,
}

impl Vault {
    /// The vault of `IDENTITY_KEK`.
    pub fn open_with(env: &Env) -> anyhow::Result<Vault> {
        let kek =
            STANDARD.decode(env.require(&KEK)?.trim()).with_context(|| format!("{}: base64", KEK.name))?;
        if kek.len() != 32 {
            return Err(anyhow!("{}: expected 32 bytes, got {}", KEK.name, kek.len()));
        }
        let broken = |_| anyhow!("a key could not be derived");
        // an id that says which key-encryption key was used, and nothing else about it
        let mut key_id = [0; KEY_ID_LEN];
        let mut labelled = b"lectern identity key id:".to_vec();
        labelled.extend(&kek);
        key_id.copy_from_slice(&digest::digest(&digest::SHA256, &labelled).as_ref()[..KEY_ID_LEN]);
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"lectern identity v1").extract(&kek);
        let sealing = root.expand(&[b"seal"], &CHACHA20_POLY1305).map_err(broken)?;
        let hashing = root.expand(&[b"hash"], hmac::HMAC_SHA256).map_err(broken)?;
        Ok(Vault {
            key_id,
            sealing: LessSafeKey::new(UnboundKey::from(sealing)),
            hashing: hmac::Key::from(hashing),
            random: SystemRandom::new(),
        })
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> anyhow::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
        Ok(bytes)
    }

    /// Seals bytes for one `place`, for example a table, column and row: they open nowhere else.
    pub fn seal(&self, place: &str, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce = self.random::<NONCE_LEN>()?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(FORMAT);
        sealed.extend(self.key_id);
        sealed.extend(nonce);
        let mut text = plain.to_vec();
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut text)
            .map_err(|_| anyhow!("sealing failed"))?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what was sealed for the same place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (head, text) = sealed.split_at_checked(HEAD_LEN).context("too short to be sealed")?;
        if head[0] != FORMAT {
            return Err(anyhow!("sealed in an unknown format"));
        }
        if head[1..=KEY_ID_LEN] != self.key_id {
            return Err(anyhow!("sealed under another key than {}", KEK.name));
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + KEY_ID_LEN..])
            .map_err(|_| anyhow!("a nonce of the wrong length"))?;
        let mut text = text.to_vec();
        let plain = self
            .sealing
            .open_in_place(nonce, Aad::from(place), &mut text)
            .map_err(|_| anyhow!("what is sealed was changed or belongs elsewhere"))?;
        Ok(plain.to_vec())
    }

    /// Keyed hash of something guessable, such as a short code or an address.
    pub fn hash(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.tag(purpose, parts).as_ref());
        hash
    }

    /// Whether a keyed hash is that of these parts; takes the same time for any answer.
    pub fn matches(&self, purpose: &str, parts: &[&[u8]], hash: &[u8]) -> bool {
        hmac::verify(&self.hashing, &message(purpose, parts), hash).is_ok()
    }

    fn tag(&self, purpose: &str, parts: &[&[u8]]) -> hmac::Tag {
        hmac::sign(&self.hashing, &message(purpose, parts))
    }
}

/// Each part with its length before it, so that no two lists of parts are the same message.
fn message(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(*part);
    }
    message
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A vault with a key made of one byte.
    pub(crate) fn vault(byte: u8) -> Vault {
        let kek = STANDARD.encode([byte; 32]);
        Vault::open_with(&Env::of([(KEK.name.to_owned(), kek)])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_only() {
        let vault = vault(1);
        let sealed = vault.seal("mail_queue/1", b"your code is 482913").unwrap();
        assert_eq!(vault.open("mail_queue/1", &sealed).unwrap(), b"your code is 482913");
        assert!(vault.open("mail_queue/2", &sealed).is_err());
    }

    #[test]
    fn a_changed_byte_or_another_key_opens_nothing() {
        let vault = vault(1);
        let sealed = vault.seal("p", b"secret").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault.open("p", &changed).is_err(), "byte {index}");
        }
        let other = tests::vault(2).open("p", &sealed).unwrap_err();
        assert!(other.to_string().contains("another key"));
        assert!(vault.open("p", &sealed[..10]).is_err());
    }

    #[test]
    fn the_same_text_is_never_sealed_alike_and_never_shows() {
        let vault = vault(1);
        let (first, second) = (vault.seal("p", b"482913").unwrap(), vault.seal("p", b"482913").unwrap());
        assert_ne!(first, second);
        assert!(!first.windows(6).any(|window| window == b"482913"));
    }

    #[test]
    fn a_keyed_hash_depends_on_key_purpose_and_the_borders_of_its_parts() {
        let vault = vault(1);
        let hash = vault.hash("code", &[b"ab", b"c"]);
        assert!(vault.matches("code", &[b"ab", b"c"], &hash));
        assert!(!vault.matches("code", &[b"a", b"bc"], &hash));
        assert!(!vault.matches("sign-in", &[b"ab", b"c"], &hash));
        assert_ne!(hash, tests::vault(2).hash("code", &[b"ab", b"c"]));
    }

    #[test]
    fn a_key_of_the_wrong_length_stops_the_start() {
        for bad in ["", "not base64!", "c2hvcnQ="] {
            assert!(Vault::open_with(&Env::of([(KEK.name.to_owned(), bad.to_owned())])).is_err());
        }
    }
}
