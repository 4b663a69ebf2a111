//! Identity on a real broker and a real database, asked over the bus as any other service would.

mod accounts;
mod address_limits;
mod audit;
mod email_change;
mod key_rotation;
mod known_devices;
mod metrics;
mod passwords;
mod post;
mod post_office;
mod profile;
mod refresh;
mod revocation;
mod roles;
mod session_limit;
mod sessions;
mod sign_in;
mod staff_accounts;
mod staff_sessions;
mod suspicion;
mod token_endpoints;
mod tokens;
mod verification;
mod world;
