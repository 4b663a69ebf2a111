//! Identity: users, sign-in, tokens, auth sessions (`spec/identity.md`).
//!
//! Owns accounts, what proves that somebody owns one, the sessions that a sign-in opens with the tokens that descend from
//! them, and the keys that sign those. Asks no other service to sign somebody in. What holds, whatever happens:
//!
//! - An address has one account (constraint `users_email_norm_key`).
//! - At most five passwords are looked at before an account is locked, on any number of processes; right ones never lock
//!   it (`sign_in_attempts`, one conditional statement before the look). A known device passes the lock, with as many tries
//!   of its own.
//! - An address signs in five times a minute and signs up three times an hour at most (`address_attempts`, likewise).
//! - A refresh token is consumed once and has one child (constraint `refresh_tokens_parent_hash_key`); whoever repeats it
//!   within the grace gets the identical pair, whoever repeats it later ends the session.
//! - A code of an authenticator app, a recovery code, a passkey's challenge and the token between the halves of a sign-in
//!   are good once; five wrong codes lock the second factor, and a right password alone never passes it.
//! - A link that sets a password is used once, and who gets a new password loses the sessions of the old one.
//! - After a sign-out was answered, every role can know that the session's tokens are void.
//! - Somebody active is admin (triggers `users_keep_an_admin…`), however many admins remove each other at once.
//! - Passwords, codes and tokens are stored as hashes, letters and private keys sealed; none of them is ever logged.

mod account;
mod address_limit;
mod app;
mod attempts;
mod audit_private;
mod auth_sessions;
mod challenges;
mod client_network;
mod device;
mod email_change;
mod email_confirm;
mod erasure;
mod gauges;
mod keys_rotate;
mod known_device;
mod letters;
mod login;
mod login_history;
mod logout;
mod mail;
mod mass_revocation;
mod me;
mod me_update;
mod mfa;
mod mfa_verify;
mod new_password;
mod pages;
mod passkey_sign_in;
mod passkeys;
mod password;
mod password_change;
mod password_forgot;
mod password_reset;
mod rate;
mod reauthenticate;
mod recovery_codes;
mod refresh;
mod register;
mod relying_party;
mod resend;
mod reset_links;
mod revocation;
mod revoke_by_link;
mod service_token;
mod session_link;
mod sessions_list;
mod sessions_revoke;
mod settings;
mod sign_in;
mod signing_keys;
mod smtp;
mod step_up;
mod suspicion;
mod tidy;
mod token_check;
mod token_introspect;
mod token_revoke;
mod tokens;
mod totp;
mod user_create;
mod user_delete;
mod user_get;
mod user_role;
mod user_sessions;
mod user_switch;
mod user_unlock;
mod user_update;
mod userinfo;
mod users_list;
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
        .on(revoke_by_link::revoke_by_link)
        .on(password_forgot::password_forgot)
        .on(password_reset::password_reset)
        .on(password_change::password_change)
        .on(me::me)
        .on(totp::start)
        .on(totp::confirm)
        .on(totp::remove)
        .on(recovery_codes::make)
        .on(passkeys::start)
        .on(passkeys::add)
        .on(passkeys::list)
        .on(passkeys::remove)
        .on(me::account)
        .on(me_update::me_update)
        .on(email_change::email_change)
        .on(email_confirm::email_confirm)
        .on(login_history::login_history)
        .on(sessions_list::list)
        .on(sessions_revoke::revoke)
        .on(sessions_revoke::revoke_others)
        .on(signing_keys::jwks)
        .on(token_check::check)
        .on(token_introspect::introspect)
        .on(token_revoke::revoke)
        .on(userinfo::userinfo)
        .on(user_create::user_create)
        .on(erasure::erase_me)
        .on(erasure::get)
        .follow(erasure::received::<lectern_subjects::courses::CoursesErased>)
        .follow(erasure::received::<lectern_subjects::content::ContentErased>)
        .follow(erasure::received::<lectern_subjects::playback::PlaybackErased>)
        .follow(erasure::received::<lectern_subjects::enrollment::EnrollmentErased>)
        .follow(erasure::received::<lectern_subjects::notifications::NotificationsErased>)
        .follow(erasure::received::<lectern_subjects::audit::AuditErased>)
        .on(audit_private::private)
        .on(users_list::users_list)
        .on(user_get::user_get)
        .on(user_update::user_update)
        .on(user_delete::user_delete)
        .on(user_role::set_role)
        .on(user_switch::disable)
        .on(user_switch::enable)
        .on(user_unlock::unlock)
        .on(user_sessions::list)
        .on(user_sessions::revoke)
        .on(mass_revocation::revoke_all)
        .on(keys_rotate::keys_rotate)
        .sweep("signing_keys", signing_keys::REFRESH, signing_keys::refresh)
        .sweep("mail", mail::PACE, mail::deliver)
        .sweep("promised_links", password_forgot::PACE, password_forgot::keep_promises)
        .sweep("pending_revocations", TELL_PACE, revocation::tell_pending)
        .sweep("erasures", erasure::PACE, erasure::sweep)
        .sweep("mass_revocations", mass_revocation::PACE, mass_revocation::resume)
        .sweep("tidy", tidy::PACE, tidy::tidy)
        .sweep("gauges", gauges::PACE, gauges::gauges)
        // the bucket that every role watches
        .publishes("$KV.revoked.>")
        .publishes("cmd.*.v1.privacy_erase.*")
}
