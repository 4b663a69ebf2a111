//! The worker `audit` on a real bus and database.

mod attacks;
mod chain;
mod exporting;
mod reading;

use std::ops::Deref;

use futures_util::FutureExt;
use lectern_core::Env;
use lectern_harness::Answer;
use lectern_subjects::Role;
use lectern_subjects::audit::AuditEntry;
use lectern_subjects::id::UserId;
use lectern_subjects::subject;
use lectern_workbench::{Running, World, until};
use serde_json::{Value, json};

const QUERY: &str = "svc.audit.v1.entries.query";
const VERIFY: &str = "svc.audit.v1.entries.verify";

/// A world with the stream AUDIT, and the worker when it is run.
struct House(World);

impl Deref for House {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl House {
    /// With one process of the worker.
    async fn start() -> House {
        let house = House(World::with_schema_of("audit").await);
        house.run_audit().await;
        house
    }

    /// One more process; the answer stops it.
    async fn run_audit(&self) -> Running {
        let app = |core| {
            lectern_audit::app(core, &Env::default()).now_or_never().expect("at once").expect("an app")
        };
        self.run(lectern_audit::service(), app).await
    }

    fn entry(&self, service: &str, event_type: &str, user: Option<UserId>) -> AuditEntry {
        AuditEntry {
            entry_id: self.clock.new_id(),
            service: service.to_owned(),
            event_type: event_type.to_owned(),
            user_id: user,
            actor_id: user,
            details: json!({ "why": "a test" }),
            timestamp: self.clock.now(),
            private_hash: None,
            trace: None,
        }
    }

    /// Publishes an entry as its service's relay does; without an id, so that the broker's window hides nothing.
    async fn publishes(&self, entry: &AuditEntry) {
        let subject = subject::audit(&entry.service, &entry.event_type, entry.user_id);
        self.publishes_bytes(subject, serde_json::to_vec(entry).expect("JSON")).await;
    }

    async fn publishes_bytes(&self, subject: String, body: Vec<u8>) {
        self.broker().publish(subject, body.into()).await.expect("sent").await.expect("stored");
    }

    async fn has(&self, entries: i64) {
        until(&format!("{entries} entries are recorded"), async || {
            (self.count("SELECT count(*) FROM audit.entries").await == entries).then_some(())
        })
        .await;
    }

    /// Everything in the stream is dealt with.
    async fn is_settled(&self) {
        until("the stream is drained", async || {
            let info = self.consumer("AUDIT", "chain").await;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }

    async fn asks(&self, subject: &str, body: Value) -> Answer {
        self.someone(Role::Auditor).asks(subject, body).await
    }

    async fn verifies(&self) -> Value {
        self.asks(VERIFY, json!({})).await.ok().json
    }
}
