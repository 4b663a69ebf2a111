//! A TCP door that can be shut: for a process that loses its database or its broker while others keep theirs.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the door does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Passes everything.
    Open,
    /// Closes what is open and refuses what comes.
    Shut,
    /// Keeps connections and passes nothing: a peer that neither answers nor goes away.
    Stalled,
}

/// Forwards a loopback port to another address. Dropping it shuts it for ever.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    door: Arc<watch::Sender<Door>>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// Opens a door to `target`, on a free loopback port.
    pub async fn to(target: SocketAddr) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let door = Arc::new(watch::Sender::new(Door::Open));
        let state = door.clone();
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if *state.borrow() == Door::Shut {
                    continue; // dropped: the caller sees its connection reset
                }
                tokio::spawn(carry(stream, target, state.subscribe()));
            }
        });
        Ok(Proxy { address, door, listener })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `url` with this door's host and port in place of its own.
    pub fn in_url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
        format!("{scheme}://{user}{}{path}", self.address)
    }

    /// Closes every connection and refuses new ones.
    pub fn shut(&self) {
        self.door.send_replace(Door::Shut);
    }

    /// Keeps connections open and passes nothing.
    pub fn stall(&self) {
        self.door.send_replace(Door::Stalled);
    }

    /// Passes everything again.
    pub fn open(&self) {
        self.door.send_replace(Door::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shut();
        self.listener.abort();
    }
}

/// Carries one connection until it ends or the door is shut.
async fn carry(near: TcpStream, target: SocketAddr, door: watch::Receiver<Door>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let (near_reads, near_writes) = near.into_split();
    let (far_reads, far_writes) = far.into_split();
    tokio::join!(pump(near_reads, far_writes, door.clone()), pump(far_reads, near_writes, door));
}

/// Passes bytes one way. What was read before a stall is written after it: nothing is lost between.
async fn pump(mut from: OwnedReadHalf, mut into: OwnedWriteHalf, mut door: watch::Receiver<Door>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let shut =
            async |door: &mut watch::Receiver<Door>| door.wait_for(|it| *it == Door::Shut).await.is_ok();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = shut(&mut door) => return,
        };
        let Ok(length @ 1..) = read else { return };
        match door.wait_for(|it| *it != Door::Stalled).await.as_deref() {
            Ok(Door::Open) => {}
            _ => return,
        }
        let written = tokio::select! {
            written = into.write_all(&buffer[..length]) => written,
            _ = shut(&mut door) => return,
        };
        if written.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stalled_door_loses_no_byte_and_a_shut_one_ends_the_connection() {
        let echo = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let target = echo.local_addr().expect("an address");
        tokio::spawn(async move {
            let (stream, _) = echo.accept().await.expect("a caller");
            let (mut reads, mut writes) = stream.into_split();
            tokio::io::copy(&mut reads, &mut writes).await
        });
        let proxy = Proxy::to(target).await.expect("a door");
        let mut caller = TcpStream::connect(proxy.address()).await.expect("connected");
        let mut answer = [0; 5];
        caller.write_all(b"hello").await.expect("sent");
        caller.read_exact(&mut answer).await.expect("echoed");
        assert_eq!(&answer, b"hello");

        proxy.stall();
        caller.write_all(b"world").await.expect("sent into the stall");
        let waited =
            tokio::time::timeout(std::time::Duration::from_millis(100), caller.read_exact(&mut answer)).await;
        assert!(waited.is_err(), "nothing passes a stalled door");
        proxy.open();
        caller.read_exact(&mut answer).await.expect("echoed after the stall");
        assert_eq!(&answer, b"world");

        proxy.shut();
        assert!(matches!(caller.read(&mut answer).await, Ok(0) | Err(_)), "a shut door ends the connection");
    }

    #[tokio::test]
    async fn a_url_keeps_its_user_and_path() {
        let proxy = Proxy::to(([127, 0, 0, 1], 1).into()).await.expect("a door");
        let address = proxy.address();
        assert_eq!(
            proxy.in_url("postgres://a:b@127.0.0.1:5/c?d=e"),
            format!("postgres://a:b@{address}/c?d=e")
        );
        assert_eq!(proxy.in_url("nats://127.0.0.1:4222"), format!("nats://{address}"));
    }
}
