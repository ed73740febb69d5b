//! Resolves names, and drops addresses that the operator's list does not admit. Every new connection is checked.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use whetstone_domain::endpoint::{AllowList, Refusal};

/// Resolves names as the system does, and drops the addresses that the list does not admit.
pub(super) struct Guarded(pub Arc<AllowList>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let list = Arc::clone(&self.0);
        Box::pin(async move {
            // The caller sets the port of the URL.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(admitted(&list, name.as_str(), found)?)
        })
    }
}

/// The admitted addresses; the first refusal if there are none.
fn admitted(list: &AllowList, name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, Refusal> {
    let mut admitted = Vec::new();
    let mut refusal = None;
    for address in found {
        match list.admits(name, address.ip()) {
            Ok(()) => admitted.push(address),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    match refusal {
        Some(refusal) if admitted.is_empty() => Err(refusal),
        _ => Ok(Box::new(admitted.into_iter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(found: &[&str]) -> Result<Vec<String>, Refusal> {
        let list = AllowList::read(["*"]).unwrap();
        let found = found.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0));
        Ok(admitted(&list, "llm.example", found)?.map(|address| address.ip().to_string()).collect())
    }

    #[test]
    fn addresses_that_no_name_may_lead_to_are_dropped() {
        assert_eq!(of(&["169.254.169.254", "10.0.0.7", "::ffff:169.254.169.254"]), Ok(vec!["10.0.0.7".to_owned()]));
        assert!(matches!(of(&["169.254.169.254", "127.0.0.1"]), Err(Refusal::Forbidden { .. })));
        assert!(matches!(of(&["127.0.0.1"]), Err(Refusal::ResolvesToLoopback { .. })));
        assert_eq!(of(&[]), Ok(Vec::new()));
    }
}
