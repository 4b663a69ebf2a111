//! What audit has besides its pool and its bus: how far its slow walk over the chain has come.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use lectern_core::Env;

/// The worker's handle to the world.
#[derive(Clone)]
pub struct App {
    core: lectern_core::App,
    /// The entry from which the next sweep goes on.
    pub(crate) walked: Arc<AtomicI64>,
}

/// The worker's app.
///
/// # Errors
/// None: audit needs nothing besides its schema and the bus.
pub async fn app(core: lectern_core::App, _env: &Env) -> anyhow::Result<App> {
    Ok(App { core, walked: Arc::new(AtomicI64::new(1)) })
}

impl AsRef<lectern_core::App> for App {
    fn as_ref(&self) -> &lectern_core::App {
        &self.core
    }
}

impl Deref for App {
    type Target = lectern_core::App;

    fn deref(&self) -> &lectern_core::App {
        &self.core
    }
}
