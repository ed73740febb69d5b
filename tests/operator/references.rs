//! What a resource refers to: missing, arriving, changing.

use serde_json::json;
use whetstone::api::status::{Cause, CycleKind, Phase};

use super::operator::{BASE, Shop, condition, fixture, has, now};

#[test]
fn what_is_missing_is_named_and_taken_in_when_it_arrives() {
    let shop = Shop::open("missing");
    let _operator = shop.operator();
    shop.delete::<k8s_openapi::api::core::v1::ConfigMap>(BASE);
    let key = json!({"apiKey": {"secretKeyRef": {"name": "llm", "key": "key"}}});
    shop.apply(&json!({"spec": {"models": shop.models(&key, &json!({}))}}));
    let missing = |words: &str| {
        let status = shop.until(words, |status| {
            has(status, "Ready", "False", "ReferenceMissing")
                && condition(status, "Ready").unwrap().message.contains(words)
        });
        assert!(has(&status, "Reconciling", "True", "ReferenceMissing"), "it may come right by itself");
        assert_eq!(condition(&status, "Stalled"), None);
        assert_eq!(shop.kstatus(), "InProgress");
        status
    };
    // All of it at once, and as a cluster speaks.
    let status = missing("there is no ConfigMap \"shop-prompt\" in this namespace");
    assert_eq!(status.champion, None);
    let message = &condition(&status, "Ready").unwrap().message;
    assert!(message.contains("there is no Secret \"llm\" in this namespace"), "{message}");
    assert!(!message.contains("command line"), "{message}");
    shop.write_config_map(BASE, &[("another-key", "x")]);
    assert_eq!(missing("\"system-prompt\"").champion, None);
    shop.write_base(&fixture("prompt.md"));
    // What can serve, serves, whatever a cycle lacks.
    shop.until_served("v1");
    let status = missing("spec.models[\"worker\"].apiKey: there is no Secret \"llm\" in this namespace");
    assert_eq!(status.champion.unwrap().version, "v1");
    shop.until_served("v1");
    shop.write_secret("llm", &[("token", "x")]);
    missing("spec.models[\"worker\"].apiKey: the Secret \"llm\" has no key \"key\"");
    assert_eq!(shop.world.answered(), 0);
    shop.write_secret("llm", &[("key", "x")]);
    shop.until_served("v2");
    let status = shop.until_idle();
    assert_eq!(condition(&status, "Reconciling"), None);
    assert_eq!(shop.kstatus(), "Current");

    // Gone again, the champion goes on serving, and it is told.
    shop.delete::<k8s_openapi::api::core::v1::ConfigMap>("shop-tools");
    let status = missing("\"shop-tools\"");
    assert_eq!(status.champion.unwrap().version, "v2");
    assert_eq!(shop.target().unwrap()["version"], "v2");
    shop.write_config_map("shop-tools", &[("tools.json", &fixture("tools.json"))]);
    let status = shop.until_idle();
    assert_eq!(status.cycles, 1, "the same inputs need no other cycle");
}

#[test]
fn changed_scenarios_start_a_cycle_and_a_changed_key_tries_a_waiting_one_again_at_once() {
    let shop = Shop::in_world("changing", "apiKey: right\n");
    let operator = shop.operator();
    shop.write_secret("llm", &[("key", "wrong")]);
    let key = json!({"apiKey": {"secretKeyRef": {"name": "llm", "key": "key"}}});
    shop.apply(&json!({"spec": {"models": shop.models(&key, &key)}}));
    let status = shop.until("the cycle waits", |status| {
        status.cycle.as_ref().is_some_and(|cycle| cycle.waiting.is_some())
            && has(status, "Stalled", "True", "CycleFailed")
    });
    let waiting = status.cycle.unwrap().waiting.unwrap();
    assert!(waiting.needs_a_person && waiting.message.contains("401"), "{waiting:?}");
    assert_eq!(shop.kstatus(), "Failed");
    let metrics = operator.metrics();
    assert!(metrics.contains("whetstone_cycles_total{kind=\"Search\",outcome=\"Failed\"} 1"), "{metrics}");
    let waiting_series =
        format!("whetstone_cycles_waiting{{namespace=\"{}\",optimization=\"shop\"}}", shop.namespace.name());
    assert!(metrics.contains(&format!("{waiting_series} 1")), "{metrics}");
    assert!(shop.until_event("CycleFailed").contains("calls that were already paid for are not repeated"));
    assert_eq!(shop.until_served("v1")["system-prompt"], fixture("prompt.md"));
    let left = waiting.until.duration_since(now());
    assert!(left.as_secs() > 5, "it would wait for long enough that this test would see it: {left:?}");

    shop.write_secret("llm", &[("key", "right")]);
    let began = now();
    shop.until("it is tried again", |_| shop.world.answered() > 0);
    assert!(now() < waiting.until, "not when it was due, but when the key was changed at {began}");
    shop.until_served("v2");
    let status = shop.until_idle();
    assert_eq!((condition(&status, "Stalled"), status.cycles), (None, 1));
    assert!(!operator.metrics().contains(&waiting_series));

    // Some scenarios less.
    let kept: String = fixture("scenarios.jsonl").split_inclusive('\n').skip(4).collect();
    shop.write_config_map("shop-scenarios", &[("scenarios.jsonl", &kept)]);
    let status =
        shop.until("another cycle has ended", |status| status.cycles == 2 && status.phase == Some(Phase::Idle));
    assert_eq!((status.history[0].kind, status.history[0].cause), (CycleKind::Search, Cause::InputsChanged));
    // The same content again is no change.
    shop.namespace.kubectl(&["annotate", "configmap", "shop-scenarios", "touched=yes"]).printed();
    shop.annotate("whetstone.dev/run-at", "now");
    let status = shop.until("one more has ended", |status| status.cycles == 3 && status.phase == Some(Phase::Idle));
    assert_eq!(status.history[0].cause, Cause::Requested);
}
