//! Access tokens: EdDSA JWT after RFC 9068, signed and verified by ring through jsonwebtoken's provider interface. One
//! strict `verify` for all roles (`spec/reliability.md` J1). The same provider verifies what others sign with RS256 and
//! ES256; access tokens are never among that, because `verify` pins their algorithm.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Header, Validation};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use signature::{Signer, Verifier};

use crate::config::{ConfigError, Env, JWT_ISSUER};

/// The `typ` of access tokens (RFC 9068 §2.1).
pub const TYP: &str = "at+jwt";
pub use crate::config::ISSUER;
/// Whom tokens are for.
pub const AUDIENCE: &str = "lectern";
/// Longest token that is looked at, bytes.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// Clocks may differ by this much, seconds.
const LEEWAY_S: u64 = 5;

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The auth session.
    pub sid: AuthSessionId,
    /// This token's id.
    pub jti: uuid::Uuid,
    /// Issued at, unix seconds.
    pub iat: i64,
    /// Not before, unix seconds.
    pub nbf: i64,
    /// Expires at, unix seconds.
    pub exp: i64,
    /// The client it was issued to.
    pub client_id: String,
    /// All roles.
    pub roles: Vec<Role>,
    /// The highest role (seed 001).
    pub role: Role,
    /// The same as `sub` (seed 001).
    pub user_id: UserId,
    /// Whether the e-mail address was verified.
    pub email_verified: bool,
    /// The user's claims version: a role change, disabling or erasure makes older tokens void.
    pub uv: i64,
    /// When the user proved who they are, unix seconds.
    pub auth_time: i64,
    /// How they did (RFC 8176).
    pub amr: Vec<String>,
    /// How sure that makes us: `aal1` or `aal2` (NIST SP 800-63B); none in tokens of older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The e-mail address, where `TOKEN_CLAIM_EMAIL` asks for it (seed 001).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It has expired.
    #[error("expired")]
    Expired,
    /// It is not ours, not an access token, or not yet valid.
    #[error("invalid")]
    Invalid,
    /// It names a key that we don't have.
    #[error("unknown key")]
    UnknownKey,
}

/// The issuer in force.
///
/// # Errors
/// When `JWT_ISSUER` is neither a plain name nor an `http` or `https` URL without query and fragment (RFC 8414 §2).
pub fn issuer(env: &Env) -> Result<String, ConfigError> {
    let issuer = env.require(&JWT_ISSUER)?;
    let url = issuer.starts_with("https://") || issuer.starts_with("http://");
    let good = (1..=255).contains(&issuer.len())
        && issuer.bytes().all(|b| b.is_ascii_graphic())
        && (url || !issuer.contains(':'))
        && !issuer.contains(['?', '#', '"', '\\', '<', '>'])
        && !issuer.ends_with('/');
    if good {
        return Ok(issuer.to_owned());
    }
    let reason = "expected a name or an http(s) URL without query, fragment and final slash";
    Err(ConfigError::new(JWT_ISSUER.name, reason))
}

/// The key that a token's header names.
///
/// # Errors
/// [`BadToken::Invalid`] when it is no EdDSA access token at all.
pub fn key_id(token: &str) -> Result<String, BadToken> {
    install();
    if token.len() > MAX_TOKEN_BYTES {
        return Err(BadToken::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| BadToken::Invalid)?;
    if header.alg != Algorithm::EdDSA || !header.typ.is_some_and(|typ| typ.eq_ignore_ascii_case(TYP)) {
        return Err(BadToken::Invalid);
    }
    header.kid.ok_or(BadToken::Invalid)
}

/// Verifies signature, algorithm, type, issuer, audience, times and the presence of every claim.
///
/// # Errors
/// [`BadToken`].
pub fn verify(token: &str, key: &DecodingKey, issuer: &str) -> Result<Claims, BadToken> {
    key_id(token)?;
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.leeway = LEEWAY_S;
    rules.validate_exp = true;
    rules.validate_nbf = true;
    rules.validate_aud = true;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    let verified =
        jsonwebtoken::decode::<Claims>(token, key, &rules).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => BadToken::Expired,
            _ => BadToken::Invalid,
        })?;
    Ok(verified.claims)
}

/// The verifying key from a JWK's `x` (base64url, 32 bytes).
///
/// # Errors
/// [`BadToken::Invalid`] when it is no base64url.
pub fn public_key(x: &str) -> Result<DecodingKey, BadToken> {
    install();
    DecodingKey::from_ed_components(x).map_err(|_| BadToken::Invalid)
}

/// Signs claims with an Ed25519 private key in PKCS#8 DER.
///
/// # Errors
/// When the key can't be read.
pub fn sign(claims: &Claims, kid: &str, pkcs8: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
    install();
    let header =
        Header { typ: Some(TYP.to_owned()), kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(pkcs8))
}

struct RingSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

enum PublicKey {
    Bytes(UnparsedPublicKey<Vec<u8>>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

struct RingVerifier {
    algorithm: Algorithm,
    key: PublicKey,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match &self.key {
            PublicKey::Bytes(key) => key.verify(message, signature),
            PublicKey::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A key of one kind verifies signatures of that kind only.
fn verifier(
    algorithm: &Algorithm,
    key: &DecodingKey,
) -> Result<Box<dyn JwtVerifier>, jsonwebtoken::errors::Error> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let bytes = |kind| Ok(PublicKey::Bytes(UnparsedPublicKey::new(kind, key.try_get_as_bytes()?.to_vec())));
    let key = match (algorithm, key.kind()) {
        (Algorithm::EdDSA, _) => bytes(&ED25519),
        (Algorithm::ES256, _) => bytes(&ECDSA_P256_SHA256_FIXED),
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            // ring takes numbers without leading zeros, which some write all the same
            let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
            Ok(PublicKey::Rsa(RsaPublicKeyComponents { n: number(n), e: number(e) }))
        }
        // no shared secret verifies anything
        _ => Err(jsonwebtoken::errors::Error::from(ErrorKind::InvalidAlgorithm)),
    }?;
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key }))
}

/// Signs EdDSA only; any other algorithm is refused before a key is looked at.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes())
            .map(|pair| Box::new(RingSigner(pair)) as Box<dyn JwtSigner>)
            .map_err(|_| ErrorKind::InvalidEddsaKey.into()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the cryptography of jsonwebtoken, once; for who verifies tokens of others by it.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // a second provider in this process would be an error of ours, found by any test that verifies a token
        let _already_installed = RING.install_default();
    });
}
