//! Classifies addresses in all their forms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The class of an address or a host, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// An ordinary address.
    Ordinary,
    /// The operator's own machine.
    Loopback,
    /// An address that is always refused, with the reason.
    Forbidden(&'static str),
}

const LINK_LOCAL: &str = "is link-local, where cloud metadata services serve credentials";
const METADATA: &str = "is a cloud metadata service, which serves credentials";
const UNSPECIFIED: &str = "is the unspecified address, which refers to this machine";
const NOT_ONE_HOST: &str = "is a multicast or broadcast address";

/// Metadata services outside the link-local range: Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// The class of an address. An IPv6 address with an embedded IPv4 address has the worse of both classes.
pub(super) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => embedded(address).into_iter().map(of_v4).fold(of_v6(address), Class::max),
    }
}

fn of_v4(address: Ipv4Addr) -> Class {
    if address.is_link_local() {
        Class::Forbidden(LINK_LOCAL)
    } else if METADATA_V4.contains(&address) {
        Class::Forbidden(METADATA)
    } else if address.octets()[0] == 0 {
        Class::Forbidden(UNSPECIFIED)
    } else if address.is_multicast() || address.is_broadcast() {
        Class::Forbidden(NOT_ONE_HOST)
    } else if address.is_loopback() {
        Class::Loopback
    } else {
        Class::Ordinary
    }
}

fn of_v6(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Forbidden(UNSPECIFIED),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        [first, ..] if first & 0xffc0 == 0xfe80 => Class::Forbidden(LINK_LOCAL),
        [first, ..] if first & 0xff00 == 0xff00 => Class::Forbidden(NOT_ONE_HOST),
        // AWS (instances and pods), Google Cloud, Oracle.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe] => {
            Class::Forbidden(METADATA)
        }
        _ => Class::Ordinary,
    }
}

/// The IPv4 addresses to which an IPv6 address may be translated.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = || at([12, 13, 14, 15]);
    let mut found = match address.segments() {
        // Not translated.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        // Mapped (RFC 4291, 2.5.5.2), compatible (2.5.5.1), translated (RFC 2765, 2.1), NAT64 (RFC 6052, 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last()],
        // Local-use NAT64 (RFC 8215): the position of the address depends on the length of the prefix (RFC 6052, 2.2). A value
        // that begins with 0 is from the wrong position.
        [0x64, 0xff9b, 1, ..] => {
            let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            places.map(at).into_iter().filter(|address| address.octets()[0] != 0).collect()
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        // Teredo (RFC 4380, 4): the server, and the client with every bit turned.
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from(!u32::from(last()))],
        _ => Vec::new(),
    };
    // ISATAP (RFC 5214, 6.1), below any prefix.
    if let [_, _, _, _, 0 | 0x200, 0x5efe, ..] = address.segments() {
        found.push(last());
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class_of(address: &str) -> Class {
        class(address.parse().unwrap_or_else(|_| panic!("{address}")))
    }

    #[test]
    fn metadata_link_local_and_unspecified_addresses_are_forbidden() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::",
            "fd12:3456::5efe:169.254.169.254",
            "2002:0101:0101::200:5efe:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:100.100.100.200",
        ] {
            assert!(matches!(class_of(address), Class::Forbidden(_)), "{address}");
        }
    }

    #[test]
    fn loopback_is_known_in_every_form() {
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1"] {
            assert_eq!(class_of(address), Class::Loopback, "{address}");
        }
    }

    #[test]
    fn addresses_of_clusters_and_of_the_internet_are_ordinary() {
        for address in [
            "10.96.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "1.1.1.1",
            "100.64.0.1",
            "fd00::1",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
            "64:ff9b:1::10.1.2.3",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(class_of(address), Class::Ordinary, "{address}");
        }
    }

    proptest! {
        #[test]
        fn an_embedded_address_is_what_it_is_by_itself(bits in any::<u32>(), high in any::<[u16; 2]>()) {
            let alone = class(IpAddr::V4(bits.into()));
            let [a, b] = [(bits >> 16) as u16, bits as u16];
            for form in [
                [0, 0, 0, 0, 0, 0xffff, a, b],
                [0, 0, 0, 0, 0xffff, 0, a, b],
                [0x64, 0xff9b, 0, 0, 0, 0, a, b],
                [0x2002, a, b, high[0], 0, 0, 0, 1],
                [0xfd12, 0x3456, high[0], high[1], 0, 0x5efe, a, b],
            ] {
                prop_assert_eq!(class(IpAddr::V6(form.into())), alone);
            }
            // `::` and `::1` have their own classes.
            if bits > 1 {
                prop_assert_eq!(class(IpAddr::V6([0, 0, 0, 0, 0, 0, a, b].into())), alone);
            }
        }

        #[test]
        fn no_link_local_address_is_let_through_in_any_form(low in any::<u16>(), own in any::<[u16; 5]>()) {
            let [c, d] = low.to_be_bytes();
            let address = |octets: [u8; 4]| [u16::from_be_bytes([octets[0], octets[1]]), u16::from_be_bytes([octets[2], octets[3]])];
            let [a, b] = address([169, 254, c, d]);
            for form in [
                [0x64, 0xff9b, 1, own[0], own[1], own[2], a, b],
                [0x64, 0xff9b, 1, a, u16::from(c), u16::from_be_bytes([d, 0]), own[0], own[1]],
                [0x2001, 0, own[0], own[1], own[2], own[3], !a, !b],
                [0x2001, 0, a, b, own[0], own[1], own[2], own[3]],
                [0xfe80 | (own[0] & 0x3f), own[1], own[2], own[3], own[4], low, low, low],
            ] {
                prop_assert!(matches!(class(IpAddr::V6(form.into())), Class::Forbidden(_)), "{form:x?}");
            }
        }
    }
}
