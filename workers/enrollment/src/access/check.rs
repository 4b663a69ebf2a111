//! `access.check`: may the caller use this course right now? Decided by the clock on every read; no timer has to ring.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{AccessDecision, CheckAccess};

use super::grants;

/// Any grant in force allows. Operators and admins are staff of every course: source `admin`. A free course needs an
/// enrolment, which carries its grant.
pub(crate) async fn check(app: App, call: Call, req: CheckAccess) -> Outcome<CheckAccess> {
    let caller = call.user()?;
    let mut db = app.pool().acquire().await?;
    if let Some(grant) = grants::covering(&mut db, caller.user, req.course_id, call.now).await? {
        let source = Some(grant.source);
        return Ok(AccessDecision { allowed: true, source, until: grant.until, subscription_expired: false });
    }
    if caller.is_staff() {
        let source = Some("admin".to_owned());
        return Ok(AccessDecision { allowed: true, source, until: None, subscription_expired: false });
    }
    let subscription_expired =
        grants::covered_by_ended_subscription(&mut db, caller.user, req.course_id, call.now).await?;
    Ok(AccessDecision { allowed: false, source: None, until: None, subscription_expired })
}
