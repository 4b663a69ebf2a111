//! Client addresses as identity keeps them: never in the clear, only as keyed hashes.

use std::net::IpAddr;

use crate::vault::Vault;

/// What one client can't help having: its IPv4 address, or its /64 of IPv6, within which it may choose. An IPv4 address
/// that is written as an IPv6 one is the same client.
pub(crate) fn one_client(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
    }
}

/// Where a client is, roughly: its IPv4 /24 or IPv6 /64. Most people's address changes within that.
pub(crate) fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..3].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
    }
}

/// A client's network as facts name it: 16 hexadecimal digits of a keyed hash, so that sign-ins from one network can be
/// told to belong together by who must not know which network it is.
pub(crate) fn public_hash(vault: &Vault, address: IpAddr) -> String {
    hex::encode(&vault.hash("client network", &[&network(address)])[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn i082_ipv6_counts_by_64_bits_and_a_mapped_address_is_the_ipv4_one() {
        assert_eq!(one_client(ip("2001:db8:1:2::1")), one_client(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(one_client(ip("2001:db8:1:2::1")), one_client(ip("2001:db8:1:3::1")));
        assert_eq!(one_client(ip("::ffff:192.0.2.7")), one_client(ip("192.0.2.7")));
        assert_ne!(one_client(ip("192.0.2.7")), one_client(ip("192.0.2.8")));
    }

    #[test]
    fn a_network_is_named_alike_by_one_key_only_and_never_by_its_address() {
        let name = public_hash(&vault(1), ip("192.0.2.7"));
        assert_eq!(name, public_hash(&vault(1), ip("192.0.2.200")));
        assert_ne!(name, public_hash(&vault(1), ip("192.0.3.7")));
        assert_ne!(name, public_hash(&vault(2), ip("192.0.2.7")));
        assert_eq!(name.len(), 16);
    }
}
