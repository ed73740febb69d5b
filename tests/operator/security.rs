//! What must not be seen, and where the operator must not go.

use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use serde_json::{Value, json};
use whetstone::api::AgentOptimization;

use super::cluster::{Namespace, block_on};
use super::operator::{SHOP, Shop, condition, fixture, has};

const PLANTED: &str = "sk-planted-7c1f93be04d2";

/// Every file below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_key_is_seen_nowhere_but_in_its_secret() {
    let shop = Shop::in_world("planted", &format!("apiKey: {PLANTED}\n"));
    // A Prometheus that does not answer, with the key as its token.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let operator = shop.operator_with(&["--allow-endpoint", &closed.to_string()], &[("RUST_LOG", "debug")]);
    // A wrong key first, for what is said of failures.
    shop.write_secret("llm", &[("key", &format!("{PLANTED}-wrong"))]);
    let reference = json!({"secretKeyRef": {"name": "llm", "key": "key"}});
    let key = json!({"apiKey": reference});
    shop.apply(&json!({"spec": {
        "models": shop.models(&key, &key),
        "watch": {
            "window": "1h", "interval": "1s",
            "prometheus": {"url": format!("http://{closed}"), "bearerToken": reference},
            "signals": [{"name": "errors", "query": "errors", "max": 0.1}],
        },
    }}));
    shop.until("the wrong key is told", |status| status.cycle.as_ref().is_some_and(|cycle| cycle.waiting.is_some()));
    let failing = shop.namespace.kubectl(&["get", "agopt,pver,cm,events", "-o", "yaml"]).printed();
    assert!(failing.contains("401") && !failing.contains(PLANTED));
    shop.write_secret("llm", &[("key", PLANTED)]);
    shop.until_served("v2");
    shop.until("the outage of Prometheus is told", |status| has(status, "SignalsAvailable", "False", "NoEvidence"));

    let everything =
        shop.namespace.kubectl(&["get", "agopt,pver,cm,events,leases", "-o", "yaml", "--show-managed-fields"]);
    let everything = everything.printed();
    assert!(everything.contains("kind: PromptVersion") && everything.contains("kind: Event"));
    assert!(!everything.contains(PLANTED));
    assert!(operator.metrics().contains("whetstone_cost_total") && !operator.metrics().contains(PLANTED));
    let log = operator.log();
    assert!(log.contains("DEBUG"));
    let line = log.lines().find(|line| line.contains(PLANTED));
    assert_eq!(line, None, "in the log");
    let command = std::fs::read(format!("/proc/{}/cmdline", operator.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains(PLANTED));
    operator.stop();
    let stores = files(&shop.store_dir());
    assert!(stores.iter().any(|file| file.extension().is_some_and(|extension| extension == "db")));
    for file in stores {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes());
        assert!(!is_there, "in {}", file.display());
    }
}

#[test]
fn an_endpoint_that_the_operator_does_not_allow_is_refused_and_a_metadata_service_always() {
    let shop = Shop::open("endpoints");
    let strict = shop.operator();
    let elsewhere = |worker: &str, prometheus: &str| {
        json!({"spec": {
            "models": shop.models(&json!({"baseURL": worker}), &json!({})),
            "watch": {
                "prometheus": {"url": prometheus}, "signals": [{"name": "errors", "query": "errors", "max": 0.1}],
            },
        }})
    };
    let refused = |fields: &[&str]| {
        let status = shop.until("it is refused", |status| {
            has(status, "Stalled", "True", "EndpointRefused")
                && fields.iter().all(|field| condition(status, "Ready").unwrap().message.contains(field))
        });
        assert_eq!(status.champion.unwrap().version, "v1", "the base prompt serves");
        assert_eq!(shop.kstatus(), "Failed");
        condition(&shop.status(), "Ready").unwrap().message.clone()
    };
    shop.apply(&elsewhere("http://llm.example:4000/v1", "http://prometheus.example:9090"));
    let message = refused(&["spec.models[\"worker\"].baseURL", "spec.watch.prometheus.url"]);
    assert!(message.contains("llm.example") && message.contains("--allow-endpoint"), "{message}");

    // An operator that allows everything does not allow these.
    strict.stop();
    let generous = shop.operator_with(&["--allow-endpoint", "*"], &[]);
    for metadata in [
        "http://169.254.169.254/v1",
        "http://[::ffff:169.254.169.254]/v1",
        "http://metadata.google.internal/v1",
        "http://2852039166/v1",
        "http://0.0.0.0:8080/v1",
        "http://localhost:8080/v1",
    ] {
        // What was refused before must not pass for this one.
        shop.apply(&json!({"spec": {"suspend": true}}));
        shop.until("it is fine", |status| condition(status, "Stalled").is_none());
        shop.apply(&elsewhere(metadata, &shop.world.origin()));
        refused(&["spec.models[\"worker\"].baseURL"]);
    }
    assert_eq!(shop.world.answered(), 0);
    drop(generous);
}

#[test]
fn an_object_reads_nothing_of_another_namespace() {
    let shop = Shop::open("here");
    let there = Namespace::new("there");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "secrets-of-others"}, "data": {"system-prompt": "You are theirs."}});
    let map: ConfigMap = serde_json::from_value(map).unwrap();
    block_on(there.api().create(&PostParams::default(), &map)).unwrap();
    let _operator = shop.operator();

    // By a name that could be taken for a path, it is not even accepted.
    let path = format!("../{}/secrets-of-others", there.name());
    let named = |name: &str| json!({"spec": {"agent": {"prompt": {"configMapKeyRef": {"name": name}}}}});
    let api = shop.namespace.untyped::<AgentOptimization>();
    for name in [path.as_str(), "there/secrets-of-others", "a?b", "a#b", "%2e%2e", "..", "."] {
        for change in [
            named(name),
            json!({"spec": {"scenarios": [{"configMapRef": {"name": name}}]}}),
            json!({"spec": {"promotion": {"target": {"configMap": name}}}}),
            json!({"spec": {"models": shop.models(&json!({"apiKey": {"secretKeyRef": {"name": name, "key": "key"}}}), &json!({}))}}),
        ] {
            let object = serde_json::from_value(shop.resource(&change)).unwrap();
            let answer = block_on(api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object));
            let Err(kube::Error::Api(refused)) = answer else { panic!("{name:?} is accepted in {change}") };
            assert_eq!(refused.code, 422, "{name:?} in {change}: {}", refused.message);
        }
    }
    // By its own name, it is looked for here alone.
    shop.apply(&named("secrets-of-others"));
    let status = shop.until("it is missing", |status| has(status, "Ready", "False", "ReferenceMissing"));
    assert!(condition(&status, "Ready").unwrap().message.contains("secrets-of-others"));
    assert_eq!((status.champion, shop.target()), (None, None));

    // Nor does an operator for this namespace touch objects of another.
    let mut object: Value = shop.resource(&json!({"spec": {"suspend": true}}));
    object["spec"]["agent"]["prompt"] = json!({"inline": fixture("prompt.md")});
    let object: AgentOptimization = serde_json::from_value(object).unwrap();
    block_on(there.api().create(&PostParams::default(), &object)).unwrap();
    shop.apply(&json!({}));
    shop.until_served("v2");
    let untouched = block_on(there.api::<AgentOptimization>().get(SHOP)).unwrap();
    assert_eq!(untouched.status, None);
}

#[test]
fn an_object_that_is_nested_too_deep_to_be_read_hides_no_other() {
    let shop = Shop::open("deep");
    let mut deep = shop.resource(&json!({"metadata": {"name": "deep"}, "spec": {"suspend": true}}));
    deep["spec"]["agent"]["runtime"]["model"]["parameters"]["extra"] = json!({"deep": "DEEP"});
    let text = deep.to_string().replace("\"DEEP\"", &format!("{}1{}", "[".repeat(200), "]".repeat(200)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep.json");
    std::fs::write(&file, text).unwrap();
    shop.namespace.kubectl(&["create", "-f", file.to_str().unwrap()]).printed();
    // It is in the first list, and comes to be changed and deleted under the eyes of the operator.
    let operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true}}));
    shop.until_served("v1");
    shop.namespace.kubectl(&["annotate", "agopt", "deep", "a=b"]).printed();
    shop.namespace.kubectl(&["delete", "agopt", "deep"]).printed();
    shop.apply(&json!({"spec": {"suspend": true, "promotion": {"target": {"configMap": "another"}}}}));
    shop.until("the new target", |status| {
        status.observed_generation == Some(2) && has(status, "Ready", "True", "Serving")
    });
    drop(operator);
}
