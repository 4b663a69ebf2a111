//! The steps of the way that second factors and passkeys are.

use std::time::{SystemTime, UNIX_EPOCH};

use lectern_harness::{Actor, Answer};
use serde_json::{Value, json};
use totp_rs::Totp;

use crate::way::Way;
use lectern_workbench::device::Device;

/// Asks; secrets and signatures differ from road to road, so only the answer's shape is compared.
async fn asks(
    way: &mut Way<'_>,
    step: &'static str,
    who: Option<&Actor>,
    subject: &str,
    input: Value,
) -> Answer {
    let answer = way.looks(who, subject, &input).await;
    way.keeps(step, subject, &answer, true);
    answer
}

pub fn code(app: &Totp, steps: i64) -> String {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    app.generate(unix.saturating_add_signed(30 * steps)).to_string()
}

/// An authenticator app, its codes, its stand-ins, a passkey; and doing without them again.
pub async fn proves_twice(way: &mut Way<'_>) {
    let alice = way.alice.clone();
    let (alice, nothing) = (Some(&alice), json!({}));
    let secret = asks(way, "an app", alice, "svc.identity.v1.mfa.totp_start", nothing.clone()).await;
    let app = Totp::from_url(secret.text("/otpauth_url")).expect("an otpauth URL");
    // of the step before, so that the present one is left
    let first = json!({ "code": code(&app, -1) });
    asks(way, "its first code", alice, "svc.identity.v1.mfa.totp_confirm", first).await;
    let codes =
        asks(way, "recovery codes", alice, "svc.identity.v1.mfa.recovery_codes", nothing.clone()).await;

    let right = json!({ "email": way.alice.email, "password": way.alice.password });
    let half = asks(way, "half a sign-in", None, "svc.identity.v1.auth.login", right).await;
    let token = half.refused(401, "USER_1007").text("/details/mfa_token");
    let wrong = json!({ "mfa_token": token, "code": "no-code" });
    asks(way, "a wrong code", None, "svc.identity.v1.auth.mfa_verify", wrong).await.refused(401, "USER_1008");
    let other_half = json!({ "mfa_token": token, "code": code(&app, 0) });
    asks(way, "the other half", None, "svc.identity.v1.auth.mfa_verify", other_half).await;

    let again = json!({ "code": codes.text("/codes/0") });
    asks(way, "proved anew", alice, "svc.identity.v1.auth.reauthenticate", again).await;

    let mut device = Device::empty();
    let asked = asks(way, "a new passkey", alice, "svc.identity.v1.mfa.passkey_start", nothing.clone()).await;
    let credential = device.makes(asked.at("/options")).await;
    let made = json!({ "challenge": asked.text("/challenge"), "name": "Phone", "credential": credential });
    let passkey = asks(way, "registered", alice, "svc.identity.v1.mfa.passkey_add", made).await;
    asks(way, "listed", alice, "svc.identity.v1.mfa.passkey_list", nothing.clone()).await;
    let asked = asks(way, "a challenge", None, "svc.identity.v1.auth.passkey_options", nothing.clone()).await;
    let credential = device.signs(asked.at("/options")).await;
    let signed = json!({ "challenge": asked.text("/challenge"), "credential": credential });
    asks(way, "signed", None, "svc.identity.v1.auth.passkey_verify", signed.clone()).await;
    asks(way, "signed once", None, "svc.identity.v1.auth.passkey_verify", signed).await;

    let id = json!({ "id": passkey.id() });
    asks(way, "no passkey", alice, "svc.identity.v1.mfa.passkey_remove", id.clone()).await;
    asks(way, "none any more", alice, "svc.identity.v1.mfa.passkey_remove", id).await;
    asks(way, "no app", alice, "svc.identity.v1.mfa.totp_remove", nothing.clone()).await;
    let others = "svc.identity.v1.sessions.revoke_others";
    asks(way, "end what the proofs opened", alice, others, nothing).await;
}
