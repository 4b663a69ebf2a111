//! From where a request comes.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

/// The peer; behind a trusted proxy, the rightmost forwarded address that is not itself one (`spec/reliability.md` H5).
pub(crate) fn client_address(trusted: &[IpAddr], parts: &Parts) -> IpAddr {
    let peer = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([127, 0, 0, 1]), |info| info.0.ip());
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|proxy| proxy.to_canonical() == *address);
    if !is_trusted(&peer) {
        return peer;
    }
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    // what stands to the left of a hop that can't be read may be anybody's: then the proxy is all that is known
    let read = hops.iter().rev().map_while(|hop| address(hop));
    read.map(|hop| hop.to_canonical()).find(|hop| !is_trusted(hop)).unwrap_or(peer)
}

/// An address, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    hop.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut request = axum::http::Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let peer: IpAddr = peer.parse().unwrap();
        parts.extensions.insert(ConnectInfo(SocketAddr::from((peer, 4711))));
        let trusted: Vec<IpAddr> = trusted.iter().map(|address| address.parse().unwrap()).collect();
        client_address(&trusted, &parts).to_string()
    }

    #[test]
    fn i082_a_forwarded_address_of_an_untrusted_peer_is_ignored() {
        assert_eq!(seen(&[], "192.0.2.7", &["10.0.0.1"]), "192.0.2.7");
        assert_eq!(seen(&["198.51.100.1"], "192.0.2.7", &["10.0.0.1", "10.0.0.2"]), "192.0.2.7");
    }

    #[test]
    fn i082_behind_trusted_proxies_the_rightmost_untrusted_hop_is_the_client() {
        let proxies = ["198.51.100.1", "198.51.100.2"];
        assert_eq!(seen(&proxies, "198.51.100.1", &["203.0.113.9"]), "203.0.113.9");
        // what stands to the left of it the client may have written itself
        assert_eq!(seen(&proxies, "198.51.100.1", &["10.9.9.9, 203.0.113.9, 198.51.100.2"]), "203.0.113.9");
        assert_eq!(seen(&proxies, "198.51.100.1", &["10.9.9.9", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(seen(&proxies, "198.51.100.1", &["10.9.9.9, 203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(seen(&proxies, "::ffff:198.51.100.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(seen(&proxies, "198.51.100.1", &["nonsense"]), "198.51.100.1");
        assert_eq!(seen(&proxies, "198.51.100.1", &["10.9.9.9, nonsense, 198.51.100.2"]), "198.51.100.1");
        assert_eq!(seen(&proxies, "198.51.100.1", &[]), "198.51.100.1");
    }
}
