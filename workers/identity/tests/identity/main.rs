//! Identity on a real broker and a real database, asked over the bus as any other service would.

mod accounts;
mod email_change;
mod key_rotation;
mod profile;
mod refresh;
mod revocation;
mod roles;
mod sessions;
mod sign_in;
mod staff_accounts;
mod staff_sessions;
mod tokens;
mod verification;
mod world;
