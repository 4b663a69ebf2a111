//! Free ports on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, bail};
use nix::unistd::Uid;
use rand::Rng;

/// Where leases are drawn from: below the range that kernels hand to outgoing connections (32768 on Linux, 49152 on
/// macOS), so that no connection sits on a port between our choice and the server's bind.
const LEASED: std::ops::Range<u16> = 20_000..30_000;

/// A port that no other test process of this user chooses while this value lives.
#[derive(Debug)]
pub struct PortLease {
    number: u16,
    _lock: File,
}

impl PortLease {
    /// Takes a free port.
    ///
    /// # Errors
    /// When a thousand tries found none.
    pub fn take() -> anyhow::Result<PortLease> {
        let dir = std::env::temp_dir().join(format!("lectern-ports-{}", Uid::effective()));
        super::cache::private_dir(&dir, 0o700)?;
        for _ in 0..1000 {
            let number = rand::rng().random_range(LEASED);
            let file: PathBuf = dir.join(number.to_string());
            let lock = File::create(&file).with_context(|| format!("creating {}", file.display()))?;
            if lock.try_lock().is_ok() && is_free(number) {
                return Ok(PortLease { number, _lock: lock });
            }
        }
        bail!("no free port between {} and {}", LEASED.start, LEASED.end)
    }

    /// The port.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Whether nobody listens on this loopback port now.
pub fn is_free(port: u16) -> bool {
    // a listener on the wildcard address may let us bind the specific one (SO_REUSEADDR), yet it holds the port
    let answers = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)).is_ok()
    };
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && !answers()
}

/// The first free port from `wanted` upwards that isn't in `except`.
///
/// # Errors
/// When none of the next 200 is free.
pub fn next_free(wanted: u16, except: &[u16]) -> anyhow::Result<u16> {
    (wanted..=wanted.saturating_add(200))
        .find(|port| !except.contains(port) && is_free(*port))
        .with_context(|| format!("no free port from {wanted} to {}", wanted.saturating_add(200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_moves_to_the_next_free_one() {
        let lease = PortLease::take().expect("a port");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, lease.number())).expect("bound");
        assert!(!is_free(lease.number()));
        let moved = next_free(lease.number(), &[]).expect("another");
        assert!(moved > lease.number());
        let further = next_free(lease.number(), &[moved]).expect("a third");
        assert!(further > moved, "a port that is already planned for is passed over");
        drop(taken);
        assert_eq!(next_free(lease.number(), &[]).expect("free again"), lease.number());
    }

    #[test]
    fn two_leases_never_share_a_port() {
        let leases: Vec<PortLease> = (0..200).map(|_| PortLease::take().expect("a port")).collect();
        let numbers: std::collections::BTreeSet<u16> = leases.iter().map(PortLease::number).collect();
        assert_eq!(numbers.len(), leases.len());
    }
}
