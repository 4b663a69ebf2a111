//! Identity on a real broker and a real database, asked over the bus as any other service would.

mod accounts;
mod refresh;
mod revocation;
mod sign_in;
mod token_endpoints;
mod tokens;
mod verification;
mod world;
