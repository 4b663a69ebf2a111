//! A mail server for tests: a parser and state machine that others wrote (`mailin`), on a socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailin::response::{AUTH_OK, INVALID_CREDENTIALS, OK};
use mailin::{Action, AuthMechanism, Handler, Response, SessionBuilder};
use mailparse::{MailHeaderMap, ParsedMail};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The user and password that it lets in, where it asks for them.
pub const LOGIN: (&str, &str) = ("relay", "Relay-Password-7!");

/// A letter as it arrived.
#[derive(Clone)]
pub struct Arrived {
    pub from: String,
    pub to: Vec<String>,
    raw: Vec<u8>,
}

impl Arrived {
    pub fn parsed(&self) -> ParsedMail<'_> {
        mailparse::parse_mail(&self.raw).expect("a letter as RFC 5322 has it")
    }

    pub fn header(&self, name: &str) -> String {
        self.parsed().headers.get_first_value(name).unwrap_or_else(|| panic!("no header {name}"))
    }

    /// The text of the part with this type.
    pub fn part(&self, mime: &str) -> String {
        let parsed = self.parsed();
        let part = parsed.subparts.iter().find(|part| part.ctype.mimetype == mime).expect(mime);
        part.get_body().expect("a body that can be decoded").replace("\r\n", "\n")
    }
}

/// What it knows, shared by its connections.
#[derive(Default)]
struct Books {
    arrived: Mutex<Vec<Arrived>>,
    connections: AtomicUsize,
    refused: AtomicUsize,
    /// The code that it answers a recipient with; 0: it takes them.
    refusal: AtomicU16,
    /// The recipient whose letters it takes its time for, and how many it has in hand.
    slow: Mutex<String>,
    hesitating: AtomicUsize,
}

/// The server.
pub struct PostOffice {
    pub port: u16,
    books: Arc<Books>,
    tls: Option<TlsAcceptor>,
    open: Option<AbortHandle>,
}

impl Drop for PostOffice {
    fn drop(&mut self) {
        self.close();
    }
}

impl PostOffice {
    /// One that speaks in the clear and lets everybody in.
    pub async fn open() -> PostOffice {
        PostOffice::open_with(None).await
    }

    /// One that lets [`LOGIN`] in, over TLS, and nobody else.
    pub async fn open_guarded(tls: TlsAcceptor) -> PostOffice {
        PostOffice::open_with(Some(tls)).await
    }

    async fn open_with(tls: Option<TlsAcceptor>) -> PostOffice {
        let mut office = PostOffice { port: 0, books: Arc::default(), tls, open: None };
        office.reopen().await;
        office
    }

    /// Listens again, at the same port.
    pub async fn reopen(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await.expect("the port is free");
        self.port = listener.local_addr().unwrap().port();
        let (books, tls) = (self.books.clone(), self.tls.clone());
        let serving = async move {
            // dropped with the server: its connections end with it
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                books.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, books.clone(), tls.clone()));
            }
        };
        self.open = Some(tokio::spawn(serving).abort_handle());
    }

    /// Goes away in the middle of whatever it does.
    pub fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
        }
    }

    /// Answers every recipient with this code from now on; 0: takes them again.
    pub fn refuse_with(&self, code: u16) {
        self.books.refusal.store(code, Ordering::SeqCst);
    }

    /// Does not answer for this recipient until another one is named.
    pub fn hesitates_for(&self, recipient: &str) {
        recipient.clone_into(&mut self.books.slow.lock().unwrap());
    }

    /// Recipients that it has not answered for so far.
    pub fn hesitating(&self) -> usize {
        self.books.hesitating.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.books.connections.load(Ordering::SeqCst)
    }

    pub fn refused(&self) -> usize {
        self.books.refused.load(Ordering::SeqCst)
    }

    pub fn arrived_now(&self) -> Vec<Arrived> {
        self.books.arrived.lock().unwrap().clone()
    }

    /// All letters, once there are `count`.
    pub async fn arrived(&self, count: usize) -> Vec<Arrived> {
        for _ in 0..600 {
            let arrived = self.arrived_now();
            if arrived.len() >= count {
                return arrived;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} letters arrived instead of {count}", self.arrived_now().len());
    }
}

/// One conversation's side of the server.
struct Clerk {
    books: Arc<Books>,
    from: String,
    to: Vec<String>,
    raw: Vec<u8>,
}

impl Handler for Clerk {
    fn mail(&mut self, _: IpAddr, _: &str, from: &str) -> Response {
        self.from = from.to_owned();
        self.to.clear();
        self.raw.clear();
        OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        match self.books.refusal.load(Ordering::SeqCst) {
            0 => {
                self.to.push(to.to_owned());
                OK
            }
            code => {
                self.books.refused.fetch_add(1, Ordering::SeqCst);
                Response::custom(code, format!("no mail for {to} here"))
            }
        }
    }

    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        self.raw.extend(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let letter = Arrived {
            from: std::mem::take(&mut self.from),
            to: std::mem::take(&mut self.to),
            raw: std::mem::take(&mut self.raw),
        };
        self.books.arrived.lock().unwrap().push(letter);
        OK
    }

    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        if (user, password) == LOGIN { AUTH_OK } else { INVALID_CREDENTIALS }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn serve(stream: TcpStream, books: Arc<Books>, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let mut builder = SessionBuilder::new("post.test");
    if tls.is_some() {
        builder.enable_start_tls().enable_auth(AuthMechanism::Plain);
    }
    let clerk = Clerk { books: books.clone(), from: String::new(), to: Vec::new(), raw: Vec::new() };
    let mut session = builder.build(stream.peer_addr()?.ip(), clerk);
    let mut stream: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
    answer(&mut stream, &session.greeting()).await?;
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let response = session.process(&line);
        hesitate(&books, &String::from_utf8_lossy(&line)).await;
        match (&response.action, &tls) {
            (Action::NoReply, _) => {}
            (Action::UpgradeTls, Some(tls)) => {
                answer(&mut stream, &response).await?;
                stream = BufReader::new(Box::new(tls.accept(stream.into_inner()).await?));
                session.tls_active();
            }
            (Action::Close | Action::UpgradeTls, _) => return answer(&mut stream, &response).await,
            (Action::Reply, _) => answer(&mut stream, &response).await?,
        }
    }
}

async fn hesitate(books: &Books, line: &str) {
    let is_slow = || {
        let slow = books.slow.lock().unwrap();
        !slow.is_empty() && line.starts_with("RCPT TO:") && line.contains(&*slow)
    };
    if is_slow() {
        books.hesitating.fetch_add(1, Ordering::SeqCst);
        while is_slow() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn answer(stream: &mut BufReader<Box<dyn Stream>>, response: &Response) -> io::Result<()> {
    let mut bytes = Vec::new();
    response.write_to(&mut bytes)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}
