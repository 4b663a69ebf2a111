//! No request changes something without an entry in the audit record (identity I11), or it is written here why it may.

use std::collections::BTreeMap;
use std::time::Duration;

use lectern_harness::{Actor, Answer, Stack, StackOptions};
use lectern_subjects::Effect;
use serde_json::{Value, json};

use crate::source::{files, short, text};

/// Requests that change something, and the entry that each writes.
const AUDITED: &[(&str, &str)] = &[
    ("svc.identity.v1.auth.register", "user.created"),
    ("svc.identity.v1.auth.verify_email", "user.email_verified"),
    ("svc.identity.v1.auth.login", "user.logged_in"),
    ("svc.identity.v1.auth.mfa_verify", "user.logged_in"),
    ("svc.identity.v1.auth.passkey_verify", "user.logged_in"),
    ("svc.identity.v1.auth.oidc_callback", "user.logged_in"),
    ("svc.identity.v1.identities.link", "user.credential_begun"),
    ("svc.identity.v1.identities.unlink", "identity.unlinked"),
    ("svc.identity.v1.auth.reauthenticate", "session.reauthenticated"),
    ("svc.identity.v1.auth.logout", "user.logged_out"),
    ("svc.identity.v1.mfa.totp_start", "user.credential_begun"),
    ("svc.identity.v1.mfa.totp_confirm", "user.credential_changed"),
    ("svc.identity.v1.mfa.totp_remove", "user.credential_changed"),
    ("svc.identity.v1.mfa.recovery_codes", "user.credential_changed"),
    ("svc.identity.v1.mfa.passkey_start", "user.credential_begun"),
    ("svc.identity.v1.mfa.passkey_add", "user.credential_changed"),
    ("svc.identity.v1.mfa.passkey_remove", "user.credential_changed"),
    ("svc.identity.v1.admin.user_create", "user.created"),
    ("svc.identity.v1.auth.revoke_by_link", "session.revoked_by_link"),
    ("svc.identity.v1.users.me_update", "user.updated"),
    ("svc.identity.v1.users.email_change", "user.email_change_requested"),
    ("svc.identity.v1.users.email_confirm", "user.email_changed"),
    ("svc.identity.v1.sessions.revoke", "session.revoked"),
    ("svc.identity.v1.sessions.revoke_others", "session.revoked"),
    ("svc.identity.v1.privacy.erase", "user.deleted"),
    ("svc.identity.v1.users.update", "user.updated"),
    ("svc.identity.v1.users.delete", "user.deleted"),
    ("svc.identity.v1.users.set_role", "user.role_changed"),
    ("svc.identity.v1.admin.user_disable", "user.disabled"),
    ("svc.identity.v1.admin.user_enable", "user.enabled"),
    ("svc.identity.v1.admin.user_unlock", "user.unlocked"),
    ("svc.identity.v1.admin.sessions_revoke", "session.revoked"),
    ("svc.identity.v1.admin.sessions_revoke_all", "session.revoked_all"),
    ("svc.identity.v1.admin.keys_rotate", "keys.rotated"),
    ("svc.identity.v1.token.revoke", "user.logged_out"),
    ("svc.identity.v1.auth.password_reset", "user.password_changed"),
    ("svc.identity.v1.users.password_change", "user.password_changed"),
    ("svc.courses.v1.courses.create", "course.created"),
    ("svc.courses.v1.courses.update", "course.updated"),
    ("svc.courses.v1.courses.publish", "course.published"),
    ("svc.courses.v1.instructors.set", "course.instructors_changed"),
    ("svc.courses.v1.sessions.add", "session.added"),
    ("svc.content.v1.uploads.create", "upload.created"),
    ("svc.content.v1.uploads.complete", "upload.completed"),
    ("svc.enrollment.v1.enrollments.create", "enrollment.created"),
    ("svc.enrollment.v1.plans.create", "plan.created"),
    ("svc.enrollment.v1.subscriptions.create", "subscription.created"),
    ("svc.enrollment.v1.subscriptions.update", "subscription.updated"),
    ("svc.enrollment.v1.subscriptions.cancel", "subscription.canceled"),
];

/// Requests that change something and write no entry, and why.
const NOT_AUDITED: &[(&str, &str)] = &[
    (
        "svc.identity.v1.auth.resend",
        "mails a code; nothing is different before it comes back, which is audited",
    ),
    (
        "svc.identity.v1.auth.refresh",
        "goes on with a session whose beginning and end are audited; a reuse is audited as session.reuse_detected",
    ),
    (
        "svc.identity.v1.auth.password_forgot",
        "mails a link; the link that is mailed is audited as user.password_reset_requested, an unknown address is nobody's",
    ),
    (
        "svc.identity.v1.auth.passkey_options",
        "a challenge for whoever asks, that names nobody; the sign-in that answers it is audited",
    ),
    (
        "svc.identity.v1.auth.oidc_start",
        "a way to the provider for whoever asks, that names nobody; the sign-in that it ends with is audited",
    ),
    ("svc.content.v1.uploads.advance", "bytes of an upload whose beginning and end are audited"),
    ("svc.playback.v1.sessions.start", "a learner watches: the event log of playback is the record of it"),
    ("svc.playback.v1.sessions.events", "a learner watches: the event log of playback is the record of it"),
    ("svc.playback.v1.sessions.stop", "a learner watches: the event log of playback is the record of it"),
    ("svc.notifications.v1.inbox.read", "the reader's own mark on their own notice"),
];

#[test]
fn identity_i11_every_changing_request_is_audited_or_says_why_not() {
    for request in lectern_subjects::requests() {
        let audited = AUDITED.iter().filter(|(subject, _)| *subject == request.subject).count();
        let reasons = NOT_AUDITED.iter().filter(|(subject, _)| *subject == request.subject).count();
        let wanted = usize::from(request.effect != Effect::Read);
        assert_eq!(audited + reasons, wanted, "{}: {audited} entries, {reasons} reasons", request.subject);
    }
    let known: Vec<&str> = lectern_subjects::requests().map(|request| request.subject).collect();
    for (subject, said) in AUDITED.iter().chain(NOT_AUDITED) {
        assert!(known.contains(subject), "{subject} is no request");
        assert!(!said.is_empty());
    }
    for (subject, reason) in NOT_AUDITED {
        assert!(reason.len() > 20, "{subject}: {reason:?} is no reason");
    }
}

#[test]
fn what_is_said_to_be_audited_is_written_somewhere_in_its_service() {
    let mut written: BTreeMap<&str, String> = BTreeMap::new();
    for (subject, event_type) in AUDITED {
        let service = subject.split('.').nth(1).expect("a service");
        let code = written.entry(service).or_insert_with(|| {
            let sources = files(&format!("workers/{service}/src"), ".rs");
            let sources = sources.iter().filter(|file| !short(file).contains("/tests/"));
            sources
                .flat_map(|file| text(file).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .collect()
        });
        assert!(code.contains(&format!(".audit(\"{event_type}\"")), "{service} never writes {event_type}");
    }
}

/// The first page of the record with this filter, once it has so many entries.
async fn record(auditor: &Actor, filter: &str, entries: usize) -> Answer {
    for _ in 0..400 {
        let page = auditor.gets(&format!("/admin/audit?{filter}")).await.ok();
        if page.items().len() >= entries {
            assert_eq!(page.items().len(), entries, "{filter}: {page}");
            return page;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{filter} does not come to {entries} entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn i105_i106_what_people_do_over_http_is_found_in_the_record_and_the_record_verifies() {
    let stack = Stack::start(StackOptions::default()).await;
    let (operator, auditor, alice) =
        (stack.operator().await, stack.auditor().await, stack.learner("alice").await);
    let id = async |actor: &Actor| actor.gets("/users/me").await.ok().id();
    let (operator_id, alice_id) = (id(&operator).await, id(&alice).await);

    let course = operator.creates_course("Auditing").await.created().id();
    operator.patches(&format!("/courses/{course}"), json!({ "title": "Auditing, again" })).await.ok();
    let plan = operator.creates_free_plan("Monthly", "P1M").await.created().id();
    let subscription = alice.subscribes(&plan, true).await.created().id();
    alice.cancels(&subscription, false).await.ok();
    alice.asks(reqwest::Method::POST, "/auth/logout").json(json!({})).send().await.ok();

    for (filter, details) in [
        (
            format!("event_type=user.created&user_id={alice_id}&actor_id={alice_id}"),
            json!({ "by": "sign_up" }),
        ),
        (format!("event_type=user.created&user_id={operator_id}"), json!({ "by": "command" })),
        (format!("event_type=user.logged_in&actor_id={alice_id}"), json!({ "by": "password" })),
        (format!("event_type=user.logged_out&actor_id={alice_id}"), json!({})),
        (format!("event_type=course.created&actor_id={operator_id}"), json!({ "course_id": course })),
        (
            format!("service=courses&event_type=course.updated&actor_id={operator_id}"),
            json!({ "fields": ["title"] }),
        ),
        (
            format!("service=enrollment&event_type=plan.created&actor_id={operator_id}"),
            json!({ "plan_id": plan }),
        ),
        (
            format!("event_type=subscription.created&user_id={alice_id}"),
            json!({ "subscription_id": subscription }),
        ),
        (format!("event_type=subscription.canceled&user_id={alice_id}"), json!({ "at_period_end": false })),
    ] {
        let page = record(&auditor, &filter, 1).await;
        for (name, value) in details.as_object().expect("an object") {
            assert_eq!(&page.at("/items/0/entry/details")[name], value, "{filter}: {page}");
        }
        let text = page.at("/items/0/entry").to_string();
        assert!(!text.contains('@') && !text.contains("127.0.0.1"), "personal data: {text}");
    }
    let signed_in = record(&auditor, &format!("event_type=user.logged_in&user_id={alice_id}"), 1).await;
    assert_eq!(signed_in.at("/items/0/personal_part"), "kept", "{signed_in}");
    assert_eq!(signed_in.at("/items/0/ip_address"), "127.0.0.1");
    stack.database().execute("DELETE FROM identity.audit_private").await.expect("erased");
    let erased = record(&auditor, &format!("event_type=user.logged_in&user_id={alice_id}"), 1).await;
    assert_eq!(
        (erased.at("/items/0/personal_part"), erased.at("/items/0/ip_address")),
        (&json!("erased"), &Value::Null)
    );

    let verified = auditor.gets("/admin/audit/verify").await.ok();
    assert_eq!((verified.at("/ok"), verified.at("/broken")), (&json!(true), &Value::Null), "{verified}");
    assert!(
        verified.number("/checked") >= 10 && verified.number("/checked") == verified.number("/compared"),
        "{verified}"
    );
    operator.gets("/admin/audit").await.refused(403, "COMMON_0013");
    stack.anonymous().gets("/admin/audit/verify").await.refused(401, "USER_1006");

    // the role itself may add and look, whatever its code would like
    for sql in ["UPDATE audit.entries SET seq = seq", "DELETE FROM audit.entries", "TRUNCATE audit.entries"] {
        let refused =
            stack.database().execute(&format!("SET ROLE lectern_audit; {sql}")).await.expect_err(sql);
        assert!(format!("{refused:#}").contains("permission denied"), "{sql}: {refused:#}");
    }
}
