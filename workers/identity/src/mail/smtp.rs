//! Letters by SMTP, over connections that are kept while there is something to send: one per letter under way.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use lectern_core::Env;
use lectern_core::config::{ConfigError, Setting};
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use uuid::Uuid;

use crate::mail::letters::Letter;
use crate::settings::within;

pub(crate) const SMTP_HOST: Setting = Setting {
    name: "SMTP_HOST",
    default: None,
    secret: false,
    help: "mail server that letters are handed to; absent: MAILBOX_FILE. Both set: this one",
};
pub(crate) const SMTP_PORT: Setting =
    Setting { name: "SMTP_PORT", default: Some("587"), secret: false, help: "its port, 1 to 65535" };
pub(crate) const SMTP_USER: Setting = Setting {
    name: "SMTP_USER",
    default: None,
    secret: false,
    help: "account at the mail server; absent: none",
};
pub(crate) const SMTP_PASSWORD: Setting =
    Setting { name: "SMTP_PASSWORD", default: None, secret: true, help: "password of SMTP_USER" };
pub(crate) const SMTP_TLS: Setting = Setting {
    name: "SMTP_TLS",
    default: Some("starttls"),
    secret: false,
    help: "starttls, tls (from the first byte, port 465) or none; in staging and production none is only for a server on this machine",
};
pub(crate) const SMTP_CA_FILE: Setting = Setting {
    name: "SMTP_CA_FILE",
    default: None,
    secret: false,
    help: "PEM file of a certificate authority of your own that the mail server's certificate is from; absent: the public ones only",
};
pub(crate) const EMAIL_FROM: Setting = Setting {
    name: "EMAIL_FROM",
    default: None,
    secret: false,
    help: "sender of letters, as in Lectern <no-reply@example.com>; required with SMTP_HOST",
};

/// A server has this long for each step of a conversation.
const STEP: Duration = Duration::from_secs(10);
/// A connection that nothing was sent over for this long is closed.
const IDLE: Duration = Duration::from_secs(20);

/// How the server is reached.
#[derive(Debug, Clone)]
pub(crate) struct SmtpSettings {
    host: String,
    port: u16,
    security: Security,
    authority: Option<Certificate>,
    login: Option<Credentials>,
    from: Mailbox,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    None,
    StartTls,
    Tls,
}

impl SmtpSettings {
    /// Reads and checks them; none without `SMTP_HOST`. `guarded`: the rules of production hold.
    pub fn read(env: &Env, guarded: bool) -> Result<Option<SmtpSettings>, ConfigError> {
        let Some(host) = env.get(&SMTP_HOST) else { return Ok(None) };
        let login = match (env.get(&SMTP_USER), env.get(&SMTP_PASSWORD)) {
            (Some(user), Some(password)) => Some(Credentials::new(user.to_owned(), password.to_owned())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::new(SMTP_PASSWORD.name, "is required with SMTP_USER"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::new(SMTP_USER.name, "is required with SMTP_PASSWORD"));
            }
        };
        let from = env.require(&EMAIL_FROM)?;
        let from = from
            .parse()
            .map_err(|error| ConfigError::new(EMAIL_FROM.name, format!("{error}; {}", EMAIL_FROM.help)))?;
        let security = match env.require(&SMTP_TLS)? {
            "starttls" => Security::StartTls,
            "tls" => Security::Tls,
            "none" if guarded && !is_loopback(host) => {
                return Err(ConfigError::new(
                    SMTP_TLS.name,
                    format!("none is refused here; {}", SMTP_TLS.help),
                ));
            }
            "none" => Security::None,
            other => return Err(ConfigError::new(SMTP_TLS.name, format!("{other:?}; {}", SMTP_TLS.help))),
        };
        let port = within(env, &SMTP_PORT, 1..=u16::MAX)?;
        let settings =
            SmtpSettings { host: host.to_owned(), port, security, authority: authority(env)?, login, from };
        settings.tls().map_err(|error| ConfigError::new(SMTP_CA_FILE.name, error.to_string()))?;
        Ok(Some(settings))
    }

    fn tls(&self) -> Result<TlsParameters, Error> {
        let parameters = TlsParameters::builder(self.host.clone());
        match self.authority.clone() {
            Some(authority) => parameters.add_root_certificate(authority).build(),
            None => parameters.build(),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authority(env: &Env) -> Result<Option<Certificate>, ConfigError> {
    let Some(path) = env.get(&SMTP_CA_FILE) else { return Ok(None) };
    let wrong =
        |error: &dyn std::fmt::Display| ConfigError::new(SMTP_CA_FILE.name, format!("{path}: {error}"));
    let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
    Certificate::from_pem(&pem).map(Some).map_err(|error| wrong(&error))
}

/// A mail server, and the connections to it.
pub(crate) struct Smtp {
    settings: SmtpSettings,
    /// Those that no letter is under way on. One on which anything went wrong is none any more.
    idle: Mutex<Vec<Open>>,
}

struct Open {
    connection: AsyncSmtpConnection,
    used: Instant,
}

/// Why a letter was not taken. The reasons name nobody.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// It may be another time.
    Yet(String),
    /// The server wants this letter never.
    Refused(String),
}

impl Smtp {
    /// A server that is not connected to yet.
    pub fn new(settings: SmtpSettings) -> Smtp {
        Smtp { settings, idle: Mutex::default() }
    }

    /// Hands over one letter.
    pub async fn send(&self, letter: &Letter, id: Uuid, written: DateTime<Utc>) -> Result<(), NotSent> {
        let message = message(&self.settings.from, letter, id, written);
        let message = message.map_err(|error| NotSent::Refused(format!("{error:#}")))?;
        let mut kept = self.idle().pop().map(|open| open.connection);
        if let Some(connection) = &mut kept
            && !connection.test_connected().await
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(connection) => connection,
            // not greeted, not let in or no connection at all: the letter itself was not looked at
            None => self.connect().await.map_err(|error| NotSent::Yet(outline("connecting", &error)))?,
        };
        match connection.send(message.envelope(), &message.formatted()).await {
            Ok(_) => {
                self.idle().push(Open { connection, used: Instant::now() });
                Ok(())
            }
            Err(error) if error.is_permanent() => Err(NotSent::Refused(outline("sending", &error))),
            Err(error) => Err(NotSent::Yet(outline("sending", &error))),
        }
    }

    /// Hangs up where nothing was sent for a while.
    pub async fn rest(&self) {
        let old: Vec<Open> = self.idle().extract_if(.., |open| open.used.elapsed() > IDLE).collect();
        for mut idle in old {
            idle.connection.abort().await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let SmtpSettings { host, port, security, login, .. } = &self.settings;
        let (server, hello) = ((host.as_str(), *port), ClientId::default());
        let tls = match security {
            Security::Tls => Some(self.settings.tls()?),
            Security::None | Security::StartTls => None,
        };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(STEP), &hello, tls, None).await?;
        if *security == Security::StartTls {
            connection.starttls(self.settings.tls()?, &hello).await?;
        }
        if let Some(login) = login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        Ok(connection)
    }
}

/// What went wrong without the server's words: they may repeat the address or the user.
fn outline(step: &str, error: &Error) -> String {
    match error.status() {
        Some(code) => format!("{step}: the server answered {code}"),
        None if error.is_timeout() => format!("{step}: the server took too long"),
        None if error.is_tls() => format!("{step}: no safe connection; look at SMTP_TLS and SMTP_CA_FILE"),
        None if error.is_response() => format!("{step}: the server hung up or answered nonsense"),
        None if error.is_client() => {
            format!("{step}: the server can't do what SMTP_TLS or SMTP_USER ask for")
        }
        None => format!("{step}: no connection"),
    }
}

/// A letter as it travels. Its id makes the Message-ID, so that one that comes twice is known for the same.
fn message(
    from: &Mailbox,
    letter: &Letter,
    id: Uuid,
    written: DateTime<Utc>,
) -> anyhow::Result<lettre::Message> {
    // the error would repeat the address
    let to = letter.to.parse().map_err(|_| anyhow!("the letter's address is none"))?;
    let body = MultiPart::alternative()
        .boundary(id.simple().to_string())
        .singlepart(SinglePart::plain(letter.text.clone()))
        .singlepart(SinglePart::html(html(&letter.text)));
    let message = lettre::Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(&*letter.subject)
        .date(SystemTime::from(written))
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .header(AutoSubmitted)
        .multipart(body);
    message.context("the letter can't be written")
}

/// RFC 3834: no person wrote this, so no machine should answer.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The same text with paragraphs and links.
fn html(text: &str) -> String {
    let line = |line: &str| {
        let line =
            line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let is_link = ["https://", "http://"].iter().any(|scheme| line.starts_with(scheme));
        if is_link && !line.contains(' ') { format!("<a href=\"{line}\">{line}</a>") } else { line }
    };
    text.split("\n\n")
        .map(|paragraph| {
            format!("<p>{}</p>\n", paragraph.lines().map(line).collect::<Vec<_>>().join("<br>\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], guarded: bool) -> Result<Option<SmtpSettings>, ConfigError> {
        let env = Env::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        SmtpSettings::read(&env, guarded)
    }

    fn refused(pairs: &[(&str, &str)], guarded: bool) -> String {
        read(pairs, guarded).expect_err("it is refused").name
    }

    #[test]
    fn i162_without_a_host_there_is_no_mail_server_and_with_one_the_rest_has_to_fit() {
        const HOST: (&str, &str) = ("SMTP_HOST", "mail.example.org");
        const FROM: (&str, &str) = ("EMAIL_FROM", "Lectern <no-reply@example.org>");
        assert!(read(&[FROM], false).unwrap().is_none());
        let settings = read(&[HOST, FROM], true).unwrap().unwrap();
        assert_eq!(settings.port, 587);
        assert!(settings.security == Security::StartTls && settings.login.is_none());
        assert_eq!(refused(&[HOST], false), "EMAIL_FROM");
        assert_eq!(refused(&[HOST, ("EMAIL_FROM", "nobody")], false), "EMAIL_FROM");
        assert_eq!(refused(&[HOST, FROM, ("SMTP_USER", "u")], false), "SMTP_PASSWORD");
        assert_eq!(refused(&[HOST, FROM, ("SMTP_PASSWORD", "p")], false), "SMTP_USER");
        assert_eq!(refused(&[HOST, FROM, ("SMTP_PORT", "0")], false), "SMTP_PORT");
        assert_eq!(refused(&[HOST, FROM, ("SMTP_TLS", "ssl")], false), "SMTP_TLS");
        assert_eq!(refused(&[HOST, FROM, ("SMTP_CA_FILE", "/nowhere.pem")], false), "SMTP_CA_FILE");
    }

    #[test]
    fn i162_letters_leave_the_machine_in_the_clear_only_in_development_and_the_password_never_prints() {
        const FROM: (&str, &str) = ("EMAIL_FROM", "no-reply@example.org");
        const NONE: (&str, &str) = ("SMTP_TLS", "none");
        assert_eq!(refused(&[("SMTP_HOST", "mail.example.org"), FROM, NONE], true), "SMTP_TLS");
        assert!(read(&[("SMTP_HOST", "mail.example.org"), FROM, NONE], false).is_ok());
        for host in ["127.0.0.1", "localhost", "::1"] {
            assert!(read(&[("SMTP_HOST", host), FROM, NONE], true).is_ok(), "{host}");
        }
        let login = [("SMTP_USER", "relay"), ("SMTP_PASSWORD", "hunter2")];
        let settings = read(&[("SMTP_HOST", "localhost"), FROM, NONE, login[0], login[1]], true).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn a_letter_is_the_same_bytes_each_time_it_travels() {
        let letter =
            Letter { to: "a@example.org".into(), subject: "비밀번호".into(), text: "안녕\n\n7".into() };
        let from = "Lectern <no-reply@example.org>".parse().unwrap();
        let (id, written) = (Uuid::from_u128(7), DateTime::from_timestamp(1_795_000_000, 0).unwrap());
        let once = message(&from, &letter, id, written).unwrap().formatted();
        assert_eq!(once, message(&from, &letter, id, written).unwrap().formatted());
        let head = String::from_utf8(once).unwrap();
        assert!(head.contains(&format!("Message-ID: <{id}@example.org>\r\n")), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated\r\n") && head.contains("Date: "), "{head}");
        assert!(head.is_ascii(), "travels over any server");
    }

    #[test]
    fn no_letter_goes_to_an_address_that_smuggles() {
        let from: Mailbox = "no-reply@example.org".parse().unwrap();
        for to in
            ["a@example.org\r\nBcc: b@example.org", "a@example.org, b@example.org", "A <a@example.org>", ""]
        {
            let letter = Letter { to: to.into(), subject: "s".into(), text: "t".into() };
            let error = message(&from, &letter, Uuid::from_u128(7), DateTime::UNIX_EPOCH).unwrap_err();
            assert!(!format!("{error:#}").contains("example.org"), "{error:#}");
        }
    }

    #[test]
    fn html_has_the_links_and_escapes_the_rest() {
        assert_eq!(
            html("a <b> & \"c\"\nsee https://x.example\n\nhttps://x.example/?a=1&b=2"),
            "<p>a &lt;b&gt; &amp; &quot;c&quot;<br>\nsee https://x.example</p>\n\
             <p><a href=\"https://x.example/?a=1&amp;b=2\">https://x.example/?a=1&amp;b=2</a></p>\n"
        );
    }
}
