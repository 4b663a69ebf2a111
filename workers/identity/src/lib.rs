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
//! - An account at an OpenID provider is one account's (constraint `credentials_external_key_key` over issuer and subject);
//!   its address never links it to anybody.
//! - A link that sets a password is used once, and who gets a new password loses the sessions of the old one.
//! - After a sign-out was answered, every role can know that the session's tokens are void.
//! - Somebody active is admin (triggers `users_keep_an_admin…`), however many admins remove each other at once.
//! - Passwords, codes and tokens are stored as hashes, letters and private keys sealed; none of them is ever logged.

mod account;
mod app;
mod erasure;
mod export;
mod federation;
mod gauges;
mod mail;
mod mfa;
mod password;
mod resealing;
mod session;
mod settings;
mod sign_in;
mod staff;
mod tidy;
mod token;
mod vault;

use std::time::Duration;

use lectern_core::Service;

pub use app::{App, app};
pub use settings::SETTINGS;
pub use staff::user_create::create_user_direct;
pub use token::service_token::{issue_service_token, revoke_service_tokens};

/// The migrations of schema `identity`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/identity");

/// How often revocations that could not be told are told again.
const TELL_PACE: Duration = Duration::from_secs(1);

/// What identity answers and does.
pub fn service() -> Service<App> {
    Service::new("identity")
        .on(account::register::register)
        .on(account::verify_email::verify_email)
        .on(account::resend::resend)
        .on(sign_in::login::login)
        .on(mfa::mfa_verify::mfa_verify)
        .on(mfa::passkey_sign_in::options)
        .on(mfa::passkey_sign_in::verify)
        .on(federation::start::providers)
        .on(federation::start::start)
        .on(federation::callback::callback)
        .on(mfa::reauthenticate::reauthenticate)
        .on(session::refresh::refresh)
        .on(session::logout::logout)
        .on(session::revoke_by_link::revoke_by_link)
        .on(password::forgot::password_forgot)
        .on(password::reset::password_reset)
        .on(password::change::password_change)
        .on(account::me::me)
        .on(mfa::totp::start)
        .on(mfa::totp::confirm)
        .on(mfa::totp::remove)
        .on(mfa::recovery_codes::make)
        .on(mfa::passkeys::start)
        .on(mfa::passkeys::add)
        .on(mfa::passkeys::list)
        .on(mfa::passkeys::remove)
        .on(federation::start::link)
        .on(federation::identities::list)
        .on(federation::identities::unlink)
        .on(account::me::account)
        .on(account::me_update::me_update)
        .on(account::email_change::email_change)
        .on(account::email_confirm::email_confirm)
        .on(session::login_history::login_history)
        .on(session::list::list)
        .on(session::revoke::revoke)
        .on(session::revoke::revoke_others)
        .on(token::signing_keys::jwks)
        .on(token::check::check)
        .on(token::introspect::introspect)
        .on(token::revoke::revoke)
        .on(token::userinfo::userinfo)
        .on(staff::user_create::user_create)
        .on(export::begin)
        .on(export::export)
        .holds(export::HELD)
        .on(erasure::erase_me)
        .on(erasure::get)
        .follow(erasure::received::<lectern_subjects::courses::CoursesErased>)
        .follow(erasure::received::<lectern_subjects::content::ContentErased>)
        .follow(erasure::received::<lectern_subjects::playback::PlaybackErased>)
        .follow(erasure::received::<lectern_subjects::enrollment::EnrollmentErased>)
        .follow(erasure::received::<lectern_subjects::notifications::NotificationsErased>)
        .follow(erasure::received::<lectern_subjects::audit::AuditErased>)
        .on(staff::audit_private::private)
        .on(staff::users_list::users_list)
        .on(staff::user_get::user_get)
        .on(staff::user_update::user_update)
        .on(staff::user_delete::user_delete)
        .on(staff::user_role::set_role)
        .on(staff::user_switch::disable)
        .on(staff::user_switch::enable)
        .on(staff::user_unlock::unlock)
        .on(staff::password_reset::password_reset)
        .on(staff::user_sessions::list)
        .on(staff::user_sessions::revoke)
        .on(staff::mass_revocation::revoke_all)
        .on(token::keys_rotate::keys_rotate)
        .sweep("signing_keys", token::signing_keys::REFRESH, token::signing_keys::refresh)
        .sweep("mail", mail::PACE, mail::deliver)
        .sweep("promised_links", password::forgot::PACE, password::forgot::keep_promises)
        .sweep("pending_revocations", TELL_PACE, session::revocation::tell_pending)
        .sweep("lost_bucket", session::lost_bucket::PACE, session::lost_bucket::mend)
        .sweep("erasures", erasure::PACE, erasure::sweep)
        .sweep("mass_revocations", staff::mass_revocation::PACE, staff::mass_revocation::resume)
        .sweep("tidy", tidy::PACE, tidy::tidy)
        .sweep("resealing", resealing::PACE, resealing::reseal)
        .sweep("gauges", gauges::PACE, gauges::gauges)
        .hears(account::cache::FACTS)
        // the bucket that every role watches
        .publishes("$KV.revoked.>")
        // and whose entries it looks at before it puts another over them
        .publishes("$JS.API.DIRECT.GET.KV_revoked.$KV.revoked.usr.>")
        .publishes("cmd.*.v1.privacy_erase.*")
}
