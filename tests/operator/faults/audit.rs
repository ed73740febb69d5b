//! Who wrote what and when, from the API server's own log: whether a replica has written after another had taken the Lease.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// A request that was answered.
pub struct Request {
    pub user: String,
    pub verb: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    pub received: Timestamp,
    pub answered: Timestamp,
}

/// The requests of these users, in the order in which they were answered.
pub fn requests(log: &Path, users: &[String]) -> Vec<Request> {
    let text = std::fs::read_to_string(log).unwrap();
    let mut requests: Vec<Request> = text
        .lines()
        .filter(|line| users.iter().any(|user| line.contains(user.as_str())))
        .filter_map(|line| {
            let it: Value = serde_json::from_str(line).ok()?;
            let text = |pointer: &str| it.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
            let user = text("/user/username");
            (it["stage"] == "ResponseComplete" && users.contains(&user)).then(|| Request {
                user,
                verb: text("/verb"),
                resource: text("/objectRef/resource"),
                subresource: text("/objectRef/subresource"),
                namespace: text("/objectRef/namespace"),
                name: text("/objectRef/name"),
                code: it.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
                received: text("/requestReceivedTimestamp").parse().unwrap(),
                answered: text("/stageTimestamp").parse().unwrap(),
            })
        })
        .collect();
    requests.sort_by_key(|request| request.answered);
    requests
}

/// A write that came after another replica had taken the Lease.
pub struct Late {
    pub by: Duration,
    pub what: String,
    /// It changed something: it was neither refused nor an Event.
    pub has_effect: bool,
}

/// The writes of a replica that came after another one had taken the Lease.
pub fn late_writes(requests: &[Request]) -> Vec<Late> {
    let mut late = Vec::new();
    // Since when somebody holds the Lease.
    let mut holder: Option<(&str, Timestamp)> = None;
    for request in requests {
        let writes = matches!(request.verb.as_str(), "create" | "update" | "patch" | "delete");
        if !writes {
            continue;
        }
        if request.resource == "leases" {
            let took = request.code < 300 && holder.is_none_or(|(user, _)| user != request.user);
            if took {
                holder = Some((&request.user, request.answered));
            }
            continue;
        }
        let Some((user, since)) = holder else { continue };
        if user != request.user && request.received > since {
            late.push(Late {
                by: Duration::try_from(request.received.duration_since(since)).unwrap_or_default(),
                what: format!(
                    "{} {} {}/{} {}/{} → {}",
                    request.user,
                    request.verb,
                    request.resource,
                    request.subresource,
                    request.namespace,
                    request.name,
                    request.code
                ),
                has_effect: request.code < 300 && request.resource != "events",
            });
        }
    }
    late
}
