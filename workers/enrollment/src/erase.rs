//! Forgets a person: enrolments, grants and subscriptions, with the timers that would still ring.

use lectern_core::privacy::{count, scrub};
use lectern_core::{App, Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::enrollment::EnrollmentErased;
use lectern_subjects::privacy::{ErasePerson, Erased};
use sqlx::{query, query_scalar};

use crate::subscriptions::{PERIOD_END, reminders::Reminder};

/// Obeys `privacy_erase`.
pub(crate) async fn erase(_app: App, mut tx: Tx, command: Envelope<ErasePerson>) -> Followed {
    let ErasePerson { job_id, user_id } = command.data;
    let user = user_id.0;
    let mut erased = Erased::new();
    let held = query_scalar!("SELECT id FROM enrollment.subscriptions WHERE user_id = $1 FOR UPDATE", user)
        .fetch_all(&mut *tx)
        .await?;
    for subscription in &held {
        tx.disarm(PERIOD_END, *subscription).await?;
        for reminder in Reminder::ALL {
            tx.disarm(reminder.kind(), *subscription).await?;
        }
    }
    let grants = query!("DELETE FROM enrollment.access_grants WHERE user_id = $1", user);
    count(&mut erased, "access_grants", grants.execute(&mut *tx).await?.rows_affected());
    query!("DELETE FROM enrollment.subscription_periods WHERE subscription_id = ANY($1)", &held)
        .execute(&mut *tx)
        .await?;
    let subscriptions = query!("DELETE FROM enrollment.subscriptions WHERE user_id = $1", user);
    count(&mut erased, "subscriptions", subscriptions.execute(&mut *tx).await?.rows_affected());
    let enrollments = query!("DELETE FROM enrollment.enrollments WHERE user_id = $1", user);
    count(&mut erased, "enrollments", enrollments.execute(&mut *tx).await?.rows_affected());
    scrub(&mut tx, user_id, &mut erased).await?;
    tx.announce(&EnrollmentErased { user_id, job_id, erased }, 1).await?;
    Ok(tx.commit_followed().await?)
}
