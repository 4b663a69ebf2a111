//! What is kept secret at rest: sealed with ChaCha20-Poly1305 under keys derived from `IDENTITY_KEK`, of which
//! there are two while one takes the other's place. What is guessable is hashed under one derived from `IDENTITY_HASH_KEY`.

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lectern_core::Env;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hkdf, hmac};

use crate::settings::{HASH_KEY, KEK};

/// Layout of what is sealed: this byte, the key's id, a random nonce, the ciphertext with its tag.
const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 8;
const KEK_LEN: usize = 32;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Seals, opens and hashes with keys that never leave it.
pub(crate) struct Vault {
    /// The first seals, all open.
    keys: Vec<SealingKey>,
    hashing: hmac::Key,
    random: SystemRandom,
}

/// What is derived from one key-encryption key.
struct SealingKey {
    /// Says which key was used, and nothing else about it.
    id: [u8; KEY_ID_LEN],
    key: LessSafeKey,
}

impl SealingKey {
    fn of(kek: &[u8; KEK_LEN]) -> anyhow::Result<SealingKey> {
        let mut id = [0; KEY_ID_LEN];
        let mut labelled = b"lectern identity key id:".to_vec();
        labelled.extend(kek);
        id.copy_from_slice(&digest::digest(&digest::SHA256, &labelled).as_ref()[..KEY_ID_LEN]);
        let key = root(kek).expand(&[b"seal"], &CHACHA20_POLY1305).map_err(broken)?.into();
        Ok(SealingKey { id, key: LessSafeKey::new(key) })
    }
}

fn root(key: &[u8; KEK_LEN]) -> hkdf::Prk {
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"lectern identity v1").extract(key)
}

fn broken(_: ring::error::Unspecified) -> anyhow::Error {
    anyhow!("a key could not be derived")
}

/// 32 bytes of a setting.
fn read(name: &str, text: &str) -> anyhow::Result<[u8; KEK_LEN]> {
    let key = STANDARD.decode(text.trim()).with_context(|| format!("{name}: base64"))?;
    let length = key.len();
    key.try_into().map_err(|_| anyhow!("{name}: expected {KEK_LEN} bytes, got {length}"))
}

impl Vault {
    /// The vault of `IDENTITY_KEK` and `IDENTITY_HASH_KEY`.
    ///
    /// # Errors
    /// When one of them is no key, or two keys are there to seal and none is named to hash: a hash can't be made anew, so its
    /// key may not depend on which one comes first.
    pub fn open_with(env: &Env) -> anyhow::Result<Vault> {
        let listed = env.require(&KEK)?.split(',').map(|text| read(KEK.name, text));
        let listed = listed.collect::<anyhow::Result<Vec<_>>>()?;
        let hash_key = match (env.get(&HASH_KEY), listed.as_slice()) {
            (Some(text), _) => read(HASH_KEY.name, text)?,
            (None, [only]) => *only,
            (None, _) => {
                return Err(anyhow!(
                    "{}: required with several keys in {}; the one that has been alone there",
                    HASH_KEY.name,
                    KEK.name
                ));
            }
        };
        let keys = listed.iter().map(SealingKey::of).collect::<anyhow::Result<_>>()?;
        let hash_root = root(&hash_key);
        let hashing = hash_root.expand(&[b"hash"], hmac::HMAC_SHA256).map_err(broken)?;
        Ok(Vault { keys, hashing: hmac::Key::from(hashing), random: SystemRandom::new() })
    }

    /// The ids of the keys that open and do not seal any more.
    pub fn old_keys(&self) -> impl Iterator<Item = [u8; KEY_ID_LEN]> {
        self.keys.iter().skip(1).map(|old| old.id)
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
        let SealingKey { id, key } = self.keys.first().context("no key to seal with")?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(FORMAT);
        sealed.extend(id);
        sealed.extend(nonce);
        let mut text = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut text)
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
        let SealingKey { key, .. } = self
            .keys
            .iter()
            .find(|key| head[1..=KEY_ID_LEN] == key.id)
            .with_context(|| format!("sealed under another key than {}", KEK.name))?;
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + KEY_ID_LEN..])
            .map_err(|_| anyhow!("a nonce of the wrong length"))?;
        let mut text = text.to_vec();
        let plain = key
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
    fn i086_the_first_key_seals_all_open_and_none_changes_the_hashes() {
        let text = |byte: u8| STANDARD.encode([byte; 32]);
        let vault = |keks: &[u8], hash: Option<u8>| {
            let keks: Vec<String> = keks.iter().map(|byte| text(*byte)).collect();
            let mut env = vec![(KEK.name.to_owned(), keks.join(", "))];
            env.extend(hash.map(|byte| (HASH_KEY.name.to_owned(), text(byte))));
            Vault::open_with(&Env::of(env))
        };
        let old = vault(&[1], None).unwrap();
        let steps = [&[1, 2][..], &[2, 1], &[2]].map(|keks| vault(keks, Some(1)).unwrap());
        let (by_old, by_new) = (old.seal("p", b"text").unwrap(), steps[2].seal("p", b"text").unwrap());
        for (step, opens_old, opens_new) in [(0, true, true), (1, true, true), (2, false, true)] {
            assert_eq!(steps[step].open("p", &by_old).is_ok(), opens_old, "step {step}");
            assert_eq!(steps[step].open("p", &by_new).is_ok(), opens_new, "step {step}");
            assert_eq!(steps[step].hash("code", &[b"x"]), old.hash("code", &[b"x"]), "step {step}");
        }
        let id = |sealed: &[u8]| sealed[1..=KEY_ID_LEN].to_vec();
        assert_eq!(id(&steps[0].seal("p", b"text").unwrap()), id(&by_old));
        assert_eq!(id(&steps[1].seal("p", b"text").unwrap()), id(&by_new));
        assert_eq!(steps[1].old_keys().map(Vec::from).collect::<Vec<_>>(), [id(&by_old)]);
        let refused = vault(&[2, 1], None).err().unwrap();
        assert!(refused.to_string().contains(HASH_KEY.name), "{refused}");
    }

    #[test]
    fn a_key_of_the_wrong_length_stops_the_start() {
        for bad in ["", "not base64!", "c2hvcnQ="] {
            assert!(Vault::open_with(&Env::of([(KEK.name.to_owned(), bad.to_owned())])).is_err());
        }
    }
}
