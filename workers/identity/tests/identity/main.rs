//! Identity on a real broker and a real database, asked over the bus as any other service would.

mod accounts;
mod email_change;
mod profile;
mod refresh;
mod revocation;
mod sessions;
mod sign_in;
mod tokens;
mod verification;
mod world;
