//! Which API servers are exempt from the proxy of the environment.

use std::net::IpAddr;

/// Whether `NO_PROXY` exempts a host: `*`, a domain with its subdomains, an address, or a network such as `10.0.0.0/8`. The
/// loopback device is always exempt.
pub(super) fn is_excepted(host: &str, no_proxy: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.trim_start_matches("*.").trim_start_matches('.');
        match address {
            Some(address) => entry == "*" || entry.parse() == Ok(address) || is_within(address, entry),
            None => entry == "*" || host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.')),
        }
    })
}

/// Whether an address lies in a network, `ADDRESS/BITS`.
fn is_within(address: IpAddr, network: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) if bits <= 32 => {
            (u32::from(address) ^ u32::from(base)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(base)) if bits <= 128 => {
            (u128::from(address) ^ u128::from(base)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_networks_are_excepted() {
        let list = "example.com, .cluster.local,10.0.0.0/8,192.168.1.7,fd00::/8";
        for host in ["example.com", "api.example.com", "a.cluster.local", "10.96.0.1", "192.168.1.7", "[fd00::1]"] {
            assert!(is_excepted(host, list), "{host}");
        }
        for host in ["notexample.com", "example.org", "11.0.0.1", "192.168.1.8", "[fe80::1]"] {
            assert!(!is_excepted(host, list), "{host}");
        }
        assert!(is_excepted("api.example.org", "*") && is_excepted("10.0.0.1", "0.0.0.0/0"));
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        assert!(is_excepted("127.0.0.1", "") && is_excepted("localhost", "") && is_excepted("[::1]", ""));
        assert!(!is_excepted("10.0.0.1", ""));
    }
}
