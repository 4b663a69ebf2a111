//! Identity: users, sign-in, tokens, auth sessions (`spec/identity.md`).
//!
//! Owns accounts, what proves that somebody owns one, the sessions that a sign-in opens with the tokens that descend from
//! them, and the keys that sign those. Asks no other service to sign somebody in. What holds, whatever happens:
//!
//! - An address has one account (constraint `users_email_norm_key`).
//! - At most five passwords are looked at before an account is locked, on any number of processes; right ones never lock
//!   it (`sign_in_attempts`, one conditional statement before the look).
//! - A refresh token is consumed once and has one child (constraint `refresh_tokens_parent_hash_key`); whoever repeats it
//!   within the grace gets the identical pair, whoever repeats it later ends the session.
//! - A code of an authenticator app, a recovery code, a passkey's challenge and the token between the halves of a sign-in
//!   are good once; five wrong codes lock the second factor, and a right password alone never passes it.
//! - After a sign-out was answered, every role can know that the session's tokens are void.
//! - Passwords, codes and tokens are stored as hashes, letters and private keys sealed; none of them is ever logged.

mod account;
mod app;
mod attempts;
mod auth_sessions;
mod challenges;
mod login;
mod logout;
mod mail;
mod me;
mod mfa;
mod mfa_verify;
mod passkey_sign_in;
mod passkeys;
mod password;
mod reauthenticate;
mod recovery_codes;
mod refresh;
mod register;
mod resend;
mod revocation;
mod service_token;
mod settings;
mod sign_in;
mod signing_keys;
mod step_up;
mod tidy;
mod token_check;
mod tokens;
mod totp;
mod user_create;
mod vault;
mod verification;
mod verify_email;

use std::time::Duration;

use lectern_core::Service;

pub use app::{App, app};
pub use service_token::{issue_service_token, revoke_service_tokens};
pub use settings::SETTINGS;
pub use user_create::create_user_direct;

/// The migrations of schema `identity`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/identity");

/// How often revocations that could not be told are told again.
const TELL_PACE: Duration = Duration::from_secs(1);

/// What identity answers and does.
pub fn service() -> Service<App> {
    Service::new("identity")
        .on(register::register)
        .on(verify_email::verify_email)
        .on(resend::resend)
        .on(login::login)
        .on(mfa_verify::mfa_verify)
        .on(passkey_sign_in::options)
        .on(passkey_sign_in::verify)
        .on(reauthenticate::reauthenticate)
        .on(refresh::refresh)
        .on(logout::logout)
        .on(me::me)
        .on(totp::start)
        .on(totp::confirm)
        .on(totp::remove)
        .on(recovery_codes::make)
        .on(passkeys::start)
        .on(passkeys::add)
        .on(passkeys::list)
        .on(passkeys::remove)
        .on(signing_keys::jwks)
        .on(token_check::check)
        .on(user_create::user_create)
        .sweep("signing_keys", signing_keys::REFRESH, signing_keys::refresh)
        .sweep("mail", mail::PACE, mail::deliver)
        .sweep("pending_revocations", TELL_PACE, revocation::tell_pending)
        .sweep("tidy", tidy::PACE, tidy::tidy)
        // the bucket that every role watches
        .publishes("$KV.revoked.>")
}
