//! Letters over a real mail server.

use std::sync::Arc;

use lectern_subjects::identity::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::post_office::{Arrived, LOGIN, PostOffice};
use crate::world::World;

const WAITING: &str = "SELECT count(*) FROM identity.mail_queue";

/// An identity whose letters go to this server; the mailbox file is set too, and stays empty.
pub async fn world(office: &PostOffice, settings: &[(&str, &str)]) -> World {
    let port = office.port.to_string();
    let mut all = vec![
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", port.as_str()),
        ("SMTP_TLS", "none"),
        ("EMAIL_FROM", "Lectern <no-reply@lectern.test>"),
        ("PUBLIC_URL", "https://learn.test"),
    ];
    all.extend(settings);
    World::start_with(&all).await
}

fn forgot(email: &str) -> ForgotPassword {
    ForgotPassword { email: email.to_owned() }
}

/// Waits until nothing is queued any more.
async fn queue_is_empty(world: &World) {
    for _ in 0..600 {
        if world.count(WAITING).await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} letters are still queued", world.count(WAITING).await);
}

/// Makes every waiting letter due now.
async fn hurry(world: &World) {
    world.db.execute("UPDATE identity.mail_queue SET due_at = now()").await.unwrap();
}

/// The same for letters that were refused as often as they were tried; one that is being handed over is left alone.
async fn hurry_refused(world: &World, office: &PostOffice) {
    let refused = office.refused();
    let due = format!("UPDATE identity.mail_queue SET due_at = now() WHERE attempts <= {refused}");
    world.db.execute(&due).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i022_letters_arrive_once_with_their_headers_and_connections_are_kept() {
    let office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    for n in 0..5 {
        world.registers(&format!("a{n}@example.org")).await;
    }
    let arrived = office.arrived(5).await;
    queue_is_empty(&world).await;
    assert_eq!(office.arrived_now().len(), 5, "each once");
    // connections are kept: the next letter needs no other
    let connections = office.connections();
    assert!((1..=5).contains(&connections), "{connections}");
    world.registers("b@example.org").await;
    office.arrived(6).await;
    assert_eq!(office.connections(), connections);
    assert!(world.letters_now("a0@example.org").is_empty(), "the mail server wins over the file");
    let letter =
        arrived.iter().find(|letter| letter.to == ["a0@example.org"]).expect("the first one's letter");
    assert_eq!(letter.from, "no-reply@lectern.test");
    for (name, value) in [
        ("From", "Lectern <no-reply@lectern.test>"),
        ("To", "a0@example.org"),
        ("Subject", "Verify your e-mail address"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(letter.header(name), value);
    }
    assert!(mailparse::dateparse(&letter.header("Date")).is_ok_and(|at| at > 1_700_000_000));
    let ids: std::collections::HashSet<String> = arrived.iter().map(|one| one.header("Message-ID")).collect();
    assert!(ids.len() == 5 && ids.iter().all(|id| id.ends_with("@lectern.test>")), "{ids:?}");
    // the code works
    let text = letter.part("text/plain");
    let code =
        text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).expect("a code").to_owned();
    assert!(letter.part("text/html").contains(&code));
    world.ok(&VerifyEmail { email: "a0@example.org".into(), code }, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i022_letters_are_written_in_the_language_of_the_account() {
    let office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    world.registers("en@example.org").await;
    world.registers("ko@example.org").await;
    world
        .db
        .execute("UPDATE identity.users SET locale = 'ko-KR' WHERE email_norm LIKE 'ko@%'")
        .await
        .unwrap();
    for email in ["en@example.org", "ko@example.org"] {
        world.ok(&forgot(email), None).await;
    }
    let arrived = office.arrived(4).await;
    let link = |to: &str| -> Arrived {
        let letters = arrived.iter().filter(|letter| letter.to == [to]);
        letters.max_by_key(|letter| letter.part("text/plain").contains("https://")).unwrap().clone()
    };
    let (english, korean) = (link("en@example.org"), link("ko@example.org"));
    assert_eq!(english.header("Subject"), "Set a new password");
    assert_eq!(korean.header("Subject"), "새 비밀번호를 설정해 주세요");
    assert!(korean.part("text/plain").contains("30분 동안 한 번만 사용할 수 있습니다"));
    for letter in [english, korean] {
        let text = letter.part("text/plain");
        let url =
            text.lines().find(|line| line.starts_with("https://learn.test/password/reset#token=")).unwrap();
        let token = url.split_once("#token=").unwrap().1;
        assert!(token.len() == 43 && text.lines().any(|line| line == token), "the token for API users");
        assert!(letter.part("text/html").contains(&format!("<a href=\"{url}\">")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i022_a_letter_waits_while_the_mail_server_is_away_and_then_arrives_once() {
    let mut office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    world.registers("before@example.org").await;
    office.arrived(1).await;
    office.close();
    world.registers("meanwhile@example.org").await;
    while world.count("SELECT COALESCE(max(attempts), 0) FROM identity.mail_queue").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    office.reopen().await;
    hurry(&world).await;
    let arrived = office.arrived(2).await;
    assert_eq!(arrived[1].to, ["meanwhile@example.org"]);
    queue_is_empty(&world).await;
    assert_eq!(office.arrived_now().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_delivery_was_not_noted_comes_again_and_is_known_for_the_same() {
    let office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    // what a process that dies after the server's 250 leaves behind: the letter gone, its row still there
    for sql in [
        "CREATE SEQUENCE identity.forgotten",
        "CREATE FUNCTION identity.forgets() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM nextval('identity.forgotten'); RAISE EXCEPTION 'not noted'; END $$",
        "CREATE TRIGGER forgets BEFORE DELETE ON identity.mail_queue EXECUTE FUNCTION identity.forgets()",
    ] {
        world.db.execute(sql).await.unwrap();
    }
    world.registers("a@example.org").await;
    // a sequence counts what is rolled back, too
    while world.count("SELECT is_called::int FROM identity.forgotten").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.db.execute("DROP TRIGGER forgets ON identity.mail_queue").await.unwrap();
    hurry(&world).await;
    let arrived = office.arrived(2).await;
    assert_eq!(arrived[0].header("Message-ID"), arrived[1].header("Message-ID"));
    assert_eq!(arrived[0].part("text/plain"), arrived[1].part("text/plain"));
    queue_is_empty(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_refused_for_now_is_tried_again_and_is_known_for_the_same() {
    let office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    office.refuse_with(450);
    world.registers("a@example.org").await;
    for _ in 0..8 {
        let seen = office.refused();
        while office.refused() == seen {
            hurry_refused(&world, &office).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert_eq!(world.count(WAITING).await, 1, "not given up");
    let id = world.db.value("SELECT id FROM identity.mail_queue").await.unwrap().unwrap();
    office.refuse_with(0);
    hurry(&world).await;
    let arrived = office.arrived(1).await;
    assert_eq!(arrived[0].header("Message-ID"), format!("<{id}@lectern.test>"));
}

/// A post office in the middle of taking the letter to `slow@example.org`, and not done with it.
async fn with_a_slow_letter() -> (PostOffice, World) {
    let office = PostOffice::open().await;
    office.hesitates_for("slow@example.org");
    let world = world(&office, &[]).await;
    world.registers("slow@example.org").await;
    while office.hesitating() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    (office, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_the_server_takes_its_time_for_holds_up_no_other() {
    let (office, world) = with_a_slow_letter().await;
    for n in 0..10 {
        world.registers(&format!("a{n}@example.org")).await;
    }
    let arrived = office.arrived(10).await;
    assert!(arrived.iter().all(|letter| letter.to != ["slow@example.org"]));
    // it was under way all that while: not given back to wait for another try
    let under_way =
        "SELECT count(*) FROM identity.mail_queue WHERE attempts = 1 AND due_at > now() + interval '30 s'";
    assert_eq!((office.hesitating(), world.count(under_way).await), (1, 1));
    office.hesitates_for("nobody");
    assert_eq!(office.arrived(11).await[10].to, ["slow@example.org"]);
    queue_is_empty(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_half_handed_over_is_finished_when_the_database_fails_another_one() {
    let (office, world) = with_a_slow_letter().await;
    let slow = world.db.value("SELECT id FROM identity.mail_queue").await.unwrap().unwrap();
    for breaks in [
        "CREATE FUNCTION identity.breaks() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$",
        &format!(
            "CREATE TRIGGER breaks BEFORE DELETE ON identity.mail_queue FOR EACH ROW
             WHEN (OLD.id <> '{slow}') EXECUTE FUNCTION identity.breaks()"
        ),
    ] {
        world.db.execute(breaks).await.unwrap();
    }
    world.registers("a@example.org").await;
    assert_eq!(office.arrived(1).await[0].to, ["a@example.org"]);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    office.hesitates_for("nobody");
    assert_eq!(office.arrived(2).await[1].to, ["slow@example.org"]);
    assert_eq!(office.hesitating(), 1, "handed over once");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i20_letters_that_wait_go_with_their_person() {
    let mut office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    office.close();
    let token = {
        world.registers("gone@example.org").await;
        world.registers("stays@example.org").await;
        world.logs_in("gone@example.org").await.access_token
    };
    assert_eq!(world.count(WAITING).await, 2);
    let erasure = world.ok(&EraseMe {}, Some(&token)).await;
    assert_eq!(erasure.receipts[0].erased.get("mail_queue"), Some(&1));
    assert_eq!(world.count(WAITING).await, 1);
    office.reopen().await;
    hurry(&world).await;
    assert_eq!(office.arrived(1).await[0].to, ["stays@example.org"]);
    queue_is_empty(&world).await;
    assert_eq!(office.arrived_now().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_refused_for_good_is_given_up_after_five_times_and_holds_up_no_other() {
    let office = PostOffice::open().await;
    let world = world(&office, &[]).await;
    office.refuse_with(550);
    world.registers("gone@example.org").await;
    for refused in 1..=5 {
        assert_eq!(world.count(WAITING).await, 1, "after {} refusals", refused - 1);
        while office.refused() < refused {
            hurry_refused(&world, &office).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    queue_is_empty(&world).await;
    assert_eq!((office.refused(), office.arrived_now().len()), (5, 0));
    office.refuse_with(0);
    world.registers("here@example.org").await;
    assert_eq!(office.arrived(1).await[0].to, ["here@example.org"]);
}

/// A server certificate for 127.0.0.1 from an authority of the test's own, which stands in the file.
fn guarded(authority_file: &std::path::Path) -> TlsAcceptor {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(authority_file, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn i162_letters_go_over_starttls_with_user_and_password() {
    let file = NamedTempFile::new().unwrap();
    let office = PostOffice::open_guarded(guarded(file.path())).await;
    let authority = file.path().to_str().unwrap();
    let settings = [
        ("SMTP_TLS", "starttls"),
        ("SMTP_CA_FILE", authority),
        ("SMTP_USER", LOGIN.0),
        ("SMTP_PASSWORD", LOGIN.1),
    ];
    let world = world(&office, &settings).await;
    world.registers("a@example.org").await;
    assert_eq!(office.arrived(1).await[0].to, ["a@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i162_a_wrong_password_or_an_unknown_certificate_loses_no_letter_and_sends_none() {
    let file = NamedTempFile::new().unwrap();
    let office = PostOffice::open_guarded(guarded(file.path())).await;
    let authority = file.path().to_str().unwrap();
    let wrong = [("SMTP_USER", LOGIN.0), ("SMTP_PASSWORD", "wrong"), ("SMTP_CA_FILE", authority)];
    let stranger = [("SMTP_USER", LOGIN.0), ("SMTP_PASSWORD", LOGIN.1), ("SMTP_CA_FILE", "")];
    for case in [wrong, stranger] {
        let settings = [&[("SMTP_TLS", "starttls")], case.as_slice()].concat();
        let world = world(&office, &settings).await;
        world.registers("a@example.org").await;
        // more often than a letter that is refused for good is tried
        for tries in 1..=6 {
            while world.count("SELECT attempts FROM identity.mail_queue").await < tries {
                hurry(&world).await;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        assert_eq!(world.count(WAITING).await, 1);
        assert!(office.arrived_now().is_empty());
    }
}
