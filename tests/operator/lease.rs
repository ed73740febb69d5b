//! The Lease and the probes: what the operator asks of the API server while it rests, and that nothing takes their thread.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::operator::Shop;

/// The requests so far of this user agent that name something, by verb.
fn requests(names: &str, agent: &str) -> Vec<String> {
    let log = std::fs::read_to_string(Cluster::shared().audit_log().unwrap()).unwrap();
    let of = |line: &str| {
        let request: Value = serde_json::from_str(line).ok()?;
        let is_asked = request["stage"] != "ResponseComplete" || request["verb"] != "watch";
        let is_ours = request["userAgent"].as_str()?.starts_with(agent);
        let names_it = request["requestURI"].as_str()?.contains(names);
        (is_asked && is_ours && names_it).then(|| request["verb"].as_str().unwrap().to_owned())
    };
    log.lines().filter_map(of).collect()
}

#[test]
fn at_rest_the_lease_is_written_four_times_in_its_twenty_seconds_and_nothing_else_is_asked_of_it() {
    if Cluster::shared().audit_log().is_none() {
        return;
    }
    let shop = Shop::open("rests");
    let operator = shop.operator();
    shop.apply(&json!({}));
    shop.until_idle();
    let agent = concat!("whetstone/", env!("CARGO_PKG_VERSION"), " (linux/");
    let names = format!("/namespaces/{}/leases", shop.namespace.name());
    let before = requests(&names, agent).len();
    assert!(before > 0, "the operator says who it is");
    let over = Duration::from_secs(30);
    std::thread::sleep(over);
    let asked = requests(&names, agent).split_off(before);
    let writes = asked.iter().filter(|verb| *verb == "patch").count();
    // A Lease of 15 s is renewed every 5 s.
    assert!((5..=7).contains(&writes), "{asked:?}");
    assert_eq!(asked.len(), writes, "{asked:?}");
    operator.stop();
}
