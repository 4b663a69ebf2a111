//! What tests of second factors do: an authenticator app, and an authenticator of passkeys with a counter.

use lectern_subjects::identity::*;
use totp_rs::Totp;

use crate::world::{PASSWORD, World, login};
pub use lectern_workbench::device::Device;

/// Both features on.
pub const ON: &[(&str, &str)] = &[("ENABLE_TWO_FACTOR_AUTH", "true"), ("PASSKEYS_ENABLED", "true")];

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
        self.sets_up_app(email).await
    }

    /// The same for an account that is there.
    pub async fn sets_up_app(&self, email: &str) -> (TokenPair, AuthApp) {
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
        let request =
            VerifyMfa { mfa_token: mfa_token.to_owned(), code: code.to_owned(), device_token: None };
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
        SignInWithPasskey { challenge: asked.challenge, credential, device_token: None }
    }
}
