//! Identity on a real broker and a real database, asked over the bus as any other service would.

mod accounts;
mod passwords;
mod post;
mod post_office;
mod refresh;
mod revocation;
mod sign_in;
mod tokens;
mod verification;
mod world;
