//! Who wrote what and when, from the API server's own log: whether a replica has written after another had taken the Lease.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::record::Seen;

/// A request that was answered.
pub(super) struct Request {
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
pub(super) fn requests(log: &Path, users: &[String]) -> Vec<Request> {
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
pub(super) struct Late {
    pub by: Duration,
    pub what: String,
    /// It changed something: it was neither refused nor an Event.
    pub has_effect: bool,
}

/// The times at which these replicas took the Lease, by what the observer has seen of it: who, and when by their own clock. Somebody
/// else who wrote a name into it did not take it.
pub(super) fn takes(seen: &[Seen], replicas: &[&str]) -> Vec<(String, Timestamp)> {
    let mut takes: Vec<(String, Timestamp)> = Vec::new();
    let mut holder = String::new();
    for lease in seen.iter().filter(|it| it.kind == "Lease") {
        let now = if lease.is_gone { "" } else { lease.text("/spec/holderIdentity") };
        if now != holder
            && replicas.contains(&now)
            && let Ok(at) = lease.text("/spec/acquireTime").parse()
        {
            takes.push((now.to_owned(), at));
        }
        now.clone_into(&mut holder);
    }
    takes
}

/// The writes of a replica that came after another one had taken the Lease. `user_of` names the user that a replica is.
pub(super) fn late_writes(
    requests: &[Request],
    takes: &[(String, Timestamp)],
    user_of: impl Fn(&str) -> String,
) -> Vec<Late> {
    let mut late = Vec::new();
    for (index, (holder, at)) in takes.iter().enumerate() {
        let user = user_of(holder);
        let is_take = |it: &&Request| it.resource == "leases" && it.user == user && it.code < 300 && it.received >= *at;
        let Some(since) = requests.iter().find(is_take).map(|it| it.answered) else { continue };
        let until = takes.get(index + 1).map_or(Timestamp::MAX, |(_, at)| *at);
        let others = requests.iter().filter(|it| it.user != user && it.received > since && it.received < until);
        let writes = others.filter(|it| matches!(it.verb.as_str(), "create" | "update" | "patch" | "delete"));
        late.extend(writes.filter(|it| it.resource != "leases").map(|it| Late {
            by: Duration::try_from(it.received.duration_since(since)).unwrap_or_default(),
            what: format!(
                "{} {} {}/{} {}/{} → {}",
                it.user, it.verb, it.resource, it.subresource, it.namespace, it.name, it.code
            ),
            has_effect: it.code < 300 && it.resource != "events",
        }));
    }
    late
}

mod tests {
    use super::*;

    fn request(user: &str, resource: &str, second: u8) -> Request {
        let at: Timestamp = format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
        Request {
            user: user.to_owned(),
            verb: "patch".to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: "n".to_owned(),
            name: "x".to_owned(),
            code: 200,
            received: at,
            answered: at,
        }
    }

    #[test]
    fn a_write_after_another_replica_has_taken_the_lease_is_late() {
        let takes = [("one", 1), ("two", 5), ("one", 9)]
            .map(|(who, second)| (who.to_owned(), request(who, "leases", second).received));
        let requests = |writer: &str, second: u8| {
            let mut all: Vec<Request> = [("one", 1), ("two", 5), ("one", 9)]
                .into_iter()
                .map(|(who, second)| request(who, "leases", second))
                .collect();
            all.push(request(writer, "configmaps", second));
            all.sort_by_key(|request| request.answered);
            all
        };
        let late = |writer, second| late_writes(&requests(writer, second), &takes, str::to_owned).len();
        assert_eq!((late("one", 3), late("two", 7), late("one", 10)), (0, 0, 0));
        assert_eq!((late("one", 7), late("two", 3), late("two", 11)), (1, 1, 1));
    }
}
