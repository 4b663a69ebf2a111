//! An authenticator of passkeys in software.

use passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData};
use passkey::crypto::rust_crypto::RustCryptoBackend;
use passkey::types::ctap2::{Aaguid, Ctap2Error};
use serde_json::{Value, json};
use url::Url;

type Store = Option<passkey::types::Passkey>;

/// A device that makes and holds one passkey.
pub struct Device {
    store: Store,
    /// The page that asks.
    origin: &'static str,
    /// Whether it counts its signatures.
    counts: bool,
}

/// Whoever touches it is its owner.
struct Finger;

#[async_trait::async_trait]
impl UserValidationMethod for Finger {
    type PasskeyItem = passkey::types::Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Self::PasskeyItem>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence, verification })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

impl Device {
    /// One without a key yet, asked by the page of a checkout.
    pub fn empty() -> Device {
        Device { store: None, origin: "http://localhost:3000", counts: true }
    }

    /// One of those that share their keys with others of their owner's, and so don't count.
    pub fn without_counter() -> Device {
        Device { counts: false, ..Device::empty() }
    }

    /// What a thief who copied the key has.
    pub fn copied(&self) -> Device {
        Device { store: self.store.clone(), ..*self }
    }

    /// The same key, asked by another page.
    pub fn at(self, origin: &'static str) -> Device {
        Device { origin, ..self }
    }

    /// A signature without looking who touches it.
    pub async fn signs_unverified(&mut self, options: &Value) -> Value {
        let mut options = options.clone();
        options["publicKey"]["userVerification"] = json!("discouraged");
        self.signs(&options).await
    }

    fn authenticator(&self) -> Authenticator<Store, Finger, RustCryptoBackend> {
        let mut made = Authenticator::new(Aaguid::new_empty(), self.store.clone(), Finger, RustCryptoBackend);
        made.set_make_credentials_with_signature_counter(self.counts);
        made
    }

    /// The answer to a challenge for a new passkey.
    pub async fn makes(&mut self, options: &Value) -> Value {
        let mut client = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).expect("creation options");
        let origin = Url::parse(self.origin).unwrap();
        let made = client.register(&origin, request, DefaultClientData).await.expect("a new passkey");
        self.store = client.authenticator().store().clone();
        serde_json::to_value(&made).unwrap()
    }

    /// The answer to a challenge for any passkey.
    pub async fn signs(&mut self, options: &Value) -> Value {
        let mut client = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).expect("request options");
        let origin = Url::parse(self.origin).unwrap();
        let signed = client.authenticate(&origin, request, DefaultClientData).await.expect("a signature");
        self.store = client.authenticator().store().clone();
        serde_json::to_value(&signed).unwrap()
    }
}
