//! Follows `course.completed`: the enrolment is completed, and stays so whatever becomes of its grants.

use lectern_core::{App, Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::playback::CourseCompleted;
use sqlx::query;

/// Completes it. A suspended one, too: the course was completed before access ended, only the fact came later.
pub(crate) async fn completed(_: App, mut tx: Tx, fact: Envelope<CourseCompleted>) -> Followed {
    query!(
        "UPDATE enrollment.enrollments SET status = 'completed', version = version + 1
         WHERE user_id = $1 AND course_id = $2 AND status IN ('active', 'suspended')",
        fact.data.user_id.0,
        fact.data.course_id.0,
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit_followed().await?)
}
