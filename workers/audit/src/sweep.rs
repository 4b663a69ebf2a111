//! The record is verified without being asked: its newest part, and one older part after the other.

use std::sync::atomic::Ordering;

use lectern_subjects::audit::Verification;
use metrics::gauge;

use crate::App;
use crate::verify::{self, PAGE};

/// One look. A part that is broken is looked at again and again, so that the alarm stands until somebody has seen to it.
pub(crate) async fn sweep(app: App) -> anyhow::Result<()> {
    let head = verify::head(&app).await?.map_or(0, |(seq, _)| seq);
    let newest = verify::part(&app, (head - PAGE + 1).max(1), None).await?;
    let from = app.walked.load(Ordering::Relaxed);
    let walked = verify::part(&app, from, None).await?;
    if walked.ok {
        app.walked.store(walked.next_from_seq.unwrap_or(1), Ordering::Relaxed);
    }
    report(&newest, &walked);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "the record stays below 2^53 entries")]
fn report(newest: &Verification, walked: &Verification) {
    gauge!("audit_chain_head").set(newest.head_seq as f64);
    let broken = newest.broken.as_ref().or(walked.broken.as_ref());
    gauge!("audit_chain_broken").set(f64::from(u8::from(broken.is_some())));
    if let Some(broken) = broken {
        tracing::error!(seq = broken.seq, reason = ?broken.reason, entry = ?broken.entry_id, "the audit record is broken");
    }
}
