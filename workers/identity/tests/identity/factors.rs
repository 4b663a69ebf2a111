//! What tests of second factors do: an authenticator app, and an authenticator of passkeys with a counter.

use lectern_subjects::identity::*;
use passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData};
use passkey::crypto::rust_crypto::RustCryptoBackend;
use passkey::types::ctap2::{Aaguid, Ctap2Error};
use serde_json::{Value, json};
use totp_rs::Totp;
use webauthn_rs::prelude::Url;

use crate::world::{PASSWORD, World, login};

/// Both features on.
pub const ON: &[(&str, &str)] = &[("ENABLE_TWO_FACTOR_AUTH", "true"), ("PASSKEYS_ENABLED", "true")];
pub const ORIGIN: &str = "http://localhost:3000";

/// An authenticator app with one secret.
pub struct AuthApp(Totp);

impl AuthApp {
    pub fn new(secret: &TotpSecret) -> AuthApp {
        AuthApp(Totp::from_url(&secret.otpauth_url).expect("an otpauth URL"))
    }

    /// The code of the present step, of the next (1) or of the one before (-1).
    pub fn code(&self, world: &World, steps: i64) -> String {
        let unix = world.clock().now().timestamp() + 30 * steps;
        self.0.generate(unix.try_into().unwrap()).to_string()
    }

    /// A code that is none of those that would be taken now, or in half a minute.
    pub fn wrong(&self, world: &World) -> String {
        let taken: Vec<String> = (-2..=3).map(|steps| self.code(world, steps)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !taken.contains(code)).unwrap()
    }
}

impl World {
    /// An account with an authenticator app whose first code is used, and the pair that it was set up with.
    pub async fn with_app(&self, email: &str) -> (TokenPair, AuthApp) {
        self.registers(email).await;
        let pair = self.logs_in(email).await;
        let secret = self.ok(&StartTotp {}, Some(&pair.access_token)).await;
        let app = AuthApp::new(&secret);
        // of the step before, so that the present one can be used
        self.ok(&ConfirmTotp { code: app.code(self, -1) }, Some(&pair.access_token)).await;
        (pair, app)
    }

    /// The token that a right password is answered with.
    pub async fn mfa_token(&self, email: &str) -> String {
        let refusal =
            self.ask(&login(email, PASSWORD), None).await.expect_err("a second factor is asked for");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1007", 401));
        refusal.body["details"]["mfa_token"].as_str().expect("a token").to_owned()
    }

    /// The whole of it, with the code of a step.
    pub async fn signs_in_with(&self, app: &AuthApp, email: &str, steps: i64) -> TokenPair {
        let mfa_token = self.mfa_token(email).await;
        self.verifies(&mfa_token, &app.code(self, steps)).await.expect("signed in")
    }

    pub async fn verifies(&self, mfa_token: &str, code: &str) -> Result<TokenPair, String> {
        let request = VerifyMfa { mfa_token: mfa_token.to_owned(), code: code.to_owned() };
        self.ask(&request, None).await.map_err(|refusal| refusal.problem.error_code)
    }

    /// The same session eleven minutes later, as far as its proof goes.
    pub async fn a_while_later(&self, pair: &TokenPair) -> TokenPair {
        let older = "UPDATE identity.auth_sessions SET auth_time = auth_time - interval '11 minutes'";
        self.db.execute(older).await.unwrap();
        self.refreshes(pair).await.expect("a refresh")
    }

    /// Registers a passkey; answers how it is listed.
    pub async fn adds_passkey(&self, pair: &TokenPair, device: &mut Device) -> Passkey {
        let token = Some(pair.access_token.as_str());
        let asked = self.ok(&StartPasskey {}, token).await;
        let credential = device.makes(&asked.options).await;
        let request = AddPasskey { challenge: asked.challenge, name: "Phone".to_owned(), credential };
        self.ok(&request, token).await
    }

    /// A signed challenge.
    pub async fn signed(&self, device: &mut Device) -> SignInWithPasskey {
        let asked = self.ok(&AskForPasskey {}, None).await;
        let credential = device.signs(&asked.options).await;
        SignInWithPasskey { challenge: asked.challenge, credential }
    }
}

type Store = Option<passkey::types::Passkey>;

/// A device that makes and holds one passkey.
pub struct Device {
    store: Store,
    origin: &'static str,
    counts: bool,
}

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
    pub fn new() -> Device {
        Device { store: None, origin: ORIGIN, counts: true }
    }

    /// One of those that share their keys with others of their owner's, and so don't count.
    pub fn without_counter() -> Device {
        Device { counts: false, ..Device::new() }
    }

    /// What a thief who copied the key has.
    pub fn copied(&self) -> Device {
        Device { store: self.store.clone(), ..*self }
    }

    /// The same key, asked by another page.
    pub fn at(self, origin: &'static str) -> Device {
        Device { origin, ..self }
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

    /// The same without looking who touches it.
    pub async fn signs_unverified(&mut self, options: &Value) -> Value {
        let mut options = options.clone();
        options["publicKey"]["userVerification"] = json!("discouraged");
        self.signs(&options).await
    }
}
