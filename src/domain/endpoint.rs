//! Which hosts the operator's clients may reach.
//!
//! The author of a resource chooses URLs that the operator requests from a network that the author may have no access to. So the
//! administrator of the operator lists the allowed hosts (`--allow-endpoint`), and some addresses are always refused: those of
//! cloud metadata services, which serve credentials, and those that refer to the operator's own machine unintentionally.
//!
//! A host is checked twice. [`AllowList::check`] checks the URL before anything is sent; [`AllowList::admits`] checks the
//! resolved address of every connection, so that a name cannot be redirected in between.
//!
//! # Refused hosts
//!
//! | host | refused |
//! |---|---|
//! | not in the list | always |
//! | link-local, unspecified, multicast and broadcast addresses; the metadata services of clouds by address and name; all of these within IPv6 (mapped, compatible, translated, tunnelled) | always, even with `*` |
//! | loopback: `127.0.0.0/8`, `::1`, `localhost` and its subdomains | unless an entry is exactly this host |
//! | another name that resolves to loopback | always: the owner of the name could reach any port of the operator's own machine; write the address instead |

mod address;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

use self::address::Class;

/// Names of cloud metadata services, which serve credentials. All of them resolve to addresses that are refused anyway, but a
/// proxy that resolves names itself would not refuse them.
const METADATA_NAMES: [&str; 6] = [
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
];

/// An entry of the operator's list: `host`, `host:port`, `*.suffix`, `*.suffix:port`, or `*` for every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedEndpoint {
    host: Pattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// Every host.
    Any,
    /// This one.
    Exact(Host),
    /// Every name with this suffix, which begins with a dot.
    Below(String),
}

/// An invalid entry of the operator's list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--allow-endpoint {entry:?}: {why}")]
pub struct EntryError {
    entry: String,
    why: String,
}

impl FromStr for AllowedEndpoint {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let entry = text.trim();
        read(entry).map_err(|why| EntryError { entry: entry.to_owned(), why })
    }
}

/// How entries are written, for messages.
const FORMS: &str = "write it like llm.example, llm.example:4000, *.svc.cluster.local, or * for every host";

fn read(entry: &str) -> Result<AllowedEndpoint, String> {
    if entry.contains("://") {
        return Err(format!("an entry is a host, not a URL; {FORMS}"));
    }
    let (host, port) = match entry.parse() {
        // An IPv6 address without brackets has no port.
        Ok(IpAddr::V6(address)) => return exact(Host::Ipv6(address), None),
        _ => match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, Some(port.ok_or_else(|| format!("the port is a number from 1 to 65535; {FORMS}"))?))
            }
            _ => (entry, None),
        },
    };
    if host == "*" {
        return Ok(AllowedEndpoint { host: Pattern::Any, port });
    }
    let (is_suffix, name) = host.strip_prefix("*.").map_or((false, host), |suffix| (true, suffix));
    if name.contains('*') {
        return Err(format!("a * is only allowed in place of the first labels of a name; {FORMS}"));
    }
    match Host::parse(name) {
        Ok(Host::Domain(name)) if is_suffix => {
            Ok(AllowedEndpoint { host: Pattern::Below(format!(".{}", plain(&name))), port })
        }
        Ok(_) if is_suffix => Err(format!("an address has no subdomains; {FORMS}")),
        Ok(host) => exact(host, port),
        Err(error) => Err(format!("it is not a host ({error}); {FORMS}")),
    }
}

fn exact(host: Host, port: Option<u16>) -> Result<AllowedEndpoint, String> {
    let host = match host {
        Host::Domain(name) => Host::Domain(plain(&name).to_owned()),
        address => address,
    };
    match class(&host) {
        Class::Forbidden(why) => Err(format!("{why}, which is always refused; remove it")),
        Class::Loopback | Class::Ordinary => Ok(AllowedEndpoint { host: Pattern::Exact(host), port }),
    }
}

impl fmt::Display for AllowedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Pattern::Any => f.write_str("*"),
            Pattern::Exact(host) => write!(f, "{host}"),
            Pattern::Below(suffix) => write!(f, "*{suffix}"),
        }?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The hosts that the operator's clients may reach. An empty list refuses all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<AllowedEndpoint>);

impl FromIterator<AllowedEndpoint> for AllowList {
    fn from_iter<I: IntoIterator<Item = AllowedEndpoint>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Why a host is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not in the list.
    #[error(
        "host {0} is not in the operator's --allow-endpoint list; correct the URL, or ask the administrator of the operator to add it"
    )]
    NotListed(String),
    /// It is always refused.
    #[error("host {host} {why}, which no setting of the operator allows; correct the URL")]
    Forbidden {
        /// The host, or the name and what it resolves to.
        host: String,
        /// What it is.
        why: &'static str,
    },
    /// It is the operator's own machine, and no entry is exactly this host.
    #[error(
        "host {0} is the operator's own machine, which only an --allow-endpoint entry for exactly this host allows; correct the \
         URL, or ask the administrator of the operator to add it"
    )]
    Loopback(String),
    /// Another name than localhost resolves to the operator's own machine.
    #[error(
        "{name} resolves to {address}, the operator's own machine, which only localhost may; correct the URL, or write the address"
    )]
    ResolvesToLoopback {
        /// The name.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// It has another protocol.
    #[error("{0}: is not supported; write an http or https URL with a host")]
    Scheme(String),
}

impl Refusal {
    /// A short name for conditions and metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        "endpoint_refused"
    }

    /// Whether a retry may succeed without a change: never.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl AllowList {
    /// A list from its entries as they are written.
    ///
    /// # Errors
    /// The first entry that cannot be read.
    pub fn read<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Result<Self, EntryError> {
        entries.into_iter().map(|entry| entry.as_ref().parse()).collect()
    }

    /// Checks a URL. The resolved address of its host is checked by [`admits`](Self::admits).
    ///
    /// # Errors
    /// [`Refusal`], with the host and the remedy, but no other part of the URL.
    pub fn check(&self, url: &Url) -> Result<(), Refusal> {
        let (Some(host), Some(port), "http" | "https") = (url.host(), url.port_or_known_default(), url.scheme()) else {
            return Err(Refusal::Scheme(url.scheme().to_owned()));
        };
        let host = match host {
            Host::Domain(name) => Host::Domain(plain(name).to_owned()),
            address => address.to_owned(),
        };
        let at = || format!("{host}:{port}");
        let matching = self.0.iter().filter(|entry| entry.port.is_none_or(|listed| listed == port));
        match class(&host) {
            Class::Forbidden(why) => Err(Refusal::Forbidden { host: host.to_string(), why }),
            Class::Loopback if !self.spells_out(&host, Some(port)) => Err(Refusal::Loopback(at())),
            Class::Ordinary if !matching.into_iter().any(|entry| entry.host.matches(&host)) => {
                Err(Refusal::NotListed(at()))
            }
            Class::Loopback | Class::Ordinary => Ok(()),
        }
    }

    /// Checks the address that a name was resolved to. The name itself is checked by [`check`](Self::check).
    ///
    /// # Errors
    /// [`Refusal`] if no name may resolve to this address.
    pub fn admits(&self, name: &str, address: IpAddr) -> Result<(), Refusal> {
        match address::class(address) {
            Class::Ordinary => Ok(()),
            Class::Forbidden(why) => Err(Refusal::Forbidden { host: format!("{name} ({address})"), why }),
            Class::Loopback => {
                let host = Host::Domain(plain(&name.to_ascii_lowercase()).to_owned());
                if class(&host) != Class::Loopback {
                    return Err(Refusal::ResolvesToLoopback { name: name.to_owned(), address });
                }
                // The port is unknown here; `check` has checked it.
                if self.spells_out(&host, None) { Ok(()) } else { Err(Refusal::Loopback(host.to_string())) }
            }
        }
    }

    /// Whether an entry is exactly this host; with any port if none is given.
    fn spells_out(&self, host: &Host, port: Option<u16>) -> bool {
        self.0.iter().any(|entry| {
            let is_port = port.is_none() || entry.port.is_none() || entry.port == port;
            is_port && matches!(&entry.host, Pattern::Exact(listed) if listed == host)
        })
    }
}

impl Pattern {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(listed), host) => listed == host,
            (Self::Below(suffix), Host::Domain(name)) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            (Self::Below(_), _) => false,
        }
    }
}

/// A name without a trailing dot, which only marks it as fully qualified.
fn plain(name: &str) -> &str {
    name.trim_end_matches('.')
}

fn class(host: &Host) -> Class {
    match host {
        Host::Ipv4(address) => address::class(IpAddr::V4(*address)),
        Host::Ipv6(address) => address::class(IpAddr::V6(*address)),
        Host::Domain(name) if METADATA_NAMES.contains(&name.as_str()) => {
            Class::Forbidden("is a cloud metadata service, which serves credentials")
        }
        Host::Domain(name) if name == "localhost" || name.ends_with(".localhost") => Class::Loopback,
        Host::Domain(_) => Class::Ordinary,
    }
}

#[cfg(test)]
mod tests;
