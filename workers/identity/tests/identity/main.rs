//! Identity on a real broker and a real database, asked over the bus as any other service would.

mod accounts;
mod device;
mod factors;
mod mfa;
mod passkeys;
mod refresh;
mod revocation;
mod sign_in;
mod step_up;
mod tokens;
mod verification;
mod world;
