//! The personal part of entries: asked of the service that wrote them, shown only when it is what the chain says it was.

use std::collections::HashMap;
use std::time::Duration;

use lectern_core::Call;
use lectern_core::bus::Outgoing;
use lectern_subjects::audit::{AuditEntry, PersonalPart};
use lectern_subjects::identity::{GetAuditPrivate, PrivatePart};
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::App;

/// The answer goes without it when it takes longer.
const PATIENCE: Duration = Duration::from_millis(800);
/// Kept back for the answer itself.
const REST: Duration = Duration::from_millis(300);

/// What identity keeps of these entries; none when it does not answer.
pub(crate) async fn of(app: &App, call: &Call, entries: &[AuditEntry]) -> Option<HashMap<Uuid, PrivatePart>> {
    let asked = |entry: &&AuditEntry| entry.service == "identity" && entry.private_hash.is_some();
    let entry_ids: Vec<Uuid> = entries.iter().filter(asked).map(|entry| entry.entry_id).collect();
    if entry_ids.is_empty() {
        return Some(HashMap::new());
    }
    let patience = call.time_left(app.now()).saturating_sub(REST).min(PATIENCE);
    let outgoing = Outgoing { deadline: app.now() + patience, ..Outgoing::of(call) };
    match app.bus().call_with(outgoing, &GetAuditPrivate { entry_ids }).await {
        Ok(found) => Some(found.items.into_iter().map(|part| (part.entry_id, part)).collect()),
        Err(error) => {
            tracing::warn!(%error, "identity did not say from where its entries were done");
            None
        }
    }
}

/// What is known of one entry's part, with the address and the agent where they may be shown.
pub(crate) fn judge(
    entry: &AuditEntry,
    parts: Option<&mut HashMap<Uuid, PrivatePart>>,
) -> (PersonalPart, Option<String>, Option<String>) {
    let nothing = |state| (state, None, None);
    let Some(expected) = &entry.private_hash else { return nothing(PersonalPart::Absent) };
    let Some(parts) = parts.filter(|_| entry.service == "identity") else {
        return nothing(PersonalPart::Unavailable);
    };
    let Some(part) = parts.remove(&entry.entry_id) else { return nothing(PersonalPart::Erased) };
    let mut private = hex::decode(&part.salt).unwrap_or_default();
    private.extend(part.ip_address.as_deref().unwrap_or_default().as_bytes());
    private.push(0);
    private.extend(part.user_agent.as_deref().unwrap_or_default().as_bytes());
    if hex::encode(digest(&SHA256, &private)) == *expected {
        (PersonalPart::Kept, part.ip_address, part.user_agent)
    } else {
        nothing(PersonalPart::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(subject: &str) -> serde_json::Value {
        let info = lectern_subjects::requests().find(|info| info.subject == subject).expect(subject);
        serde_json::from_str(info.golden).unwrap()
    }

    #[test]
    fn a_part_is_shown_only_when_it_is_what_the_entry_says() {
        let reply = &golden("svc.audit.v1.entries.query")["reply"]["items"][0];
        let mut entry: AuditEntry = serde_json::from_value(reply["entry"].clone()).unwrap();
        let part = golden("svc.identity.v1.audit.private")["reply"]["items"][0].clone();
        let part: PrivatePart = serde_json::from_value(part).unwrap();
        let with = |part: &PrivatePart| HashMap::from([(part.entry_id, part.clone())]);

        let shown = judge(&entry, Some(&mut with(&part)));
        assert_eq!(
            shown,
            (PersonalPart::Kept, Some("203.0.113.7".to_owned()), Some("Mozilla/5.0".to_owned()))
        );
        let moved = PrivatePart { ip_address: Some("203.0.113.8".to_owned()), ..part.clone() };
        assert_eq!(judge(&entry, Some(&mut with(&moved))), (PersonalPart::Changed, None, None));
        assert_eq!(judge(&entry, Some(&mut HashMap::new())).0, PersonalPart::Erased);
        assert_eq!(judge(&entry, None).0, PersonalPart::Unavailable);
        entry.service = "courses".to_owned();
        assert_eq!(judge(&entry, Some(&mut with(&part))).0, PersonalPart::Unavailable);
        entry.private_hash = None;
        assert_eq!(judge(&entry, None).0, PersonalPart::Absent);
    }
}
