//! Waiting for what others do. Slow machines take longer; nothing here is a measurement.

use std::time::Duration;

use tokio::time::Instant;

/// Enough for anything that is waited for here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
/// After a minute.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Waits until something is so.
///
/// # Panics
/// After a minute.
pub async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    until(what, async || is().await.then_some(())).await;
}
