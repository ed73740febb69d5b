//! Status: what Flux, Argo CD and a person on call go by.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use whetstone::api::AgentOptimization;
use whetstone::api::status::{FinishedCycle, Phase};

use super::cluster::{block_on, eventually};
use super::operator::{DEADLINE, SHOP, Shop, condition, fixture, has, kstatus};

#[test]
fn readiness_is_unknown_first_and_every_status_speaks_of_a_generation_there_was() {
    let shop = Shop::open("status");
    let states = shop.follow::<AgentOptimization>(SHOP);
    let _operator = shop.operator();
    shop.apply(&json!({}));
    // Edits that come faster than they can be looked at.
    for cents in 1..=10 {
        shop.apply(&json!({"spec": {"budget": {"perCycle": format!("50.{cents:02}")}}}));
    }
    assert_eq!(shop.object().metadata.generation, Some(11));
    let status = shop.until_idle();
    assert_eq!(status.observed_generation, Some(11));
    assert_eq!(status.champion.unwrap().version, "v2");

    let states = states.catch_up(&shop.namespace);
    let told: Vec<_> = states.iter().filter(|state| state.status.is_some()).collect();
    let first = told[0].status.as_ref().unwrap();
    assert!(has(first, "Ready", "Unknown", "Pending") && has(first, "Reconciling", "True", "Pending"), "{first:?}");
    assert_eq!(first.phase, Some(Phase::Pending));
    let mut before = 0;
    for state in &told {
        let (generation, status) = (state.metadata.generation.unwrap(), state.status.as_ref().unwrap());
        let observed = status.observed_generation.unwrap_or(0);
        assert!(before <= observed && observed <= generation, "{before}, {observed} of {generation}");
        before = observed;
        let ready = condition(status, "Ready").expect("Ready is always there");
        assert!(!ready.message.is_empty() && !ready.reason.is_empty());
        assert!(ready.observed_generation.unwrap() <= generation);
        for abnormal in ["Reconciling", "Stalled"] {
            assert!(condition(status, abnormal).is_none_or(|it| it.status == "True"), "{abnormal} only while true");
        }
    }
    // As kstatus sees it: in progress until the base prompt serves, and current from then on but for edits not looked at yet.
    let seen: Vec<String> = told.iter().map(|state| kstatus(&serde_json::to_value(state).unwrap())).collect();
    assert!(!seen.contains(&"Failed".to_owned()), "{seen:?}");
    assert_eq!((seen[0].as_str(), seen.last().unwrap().as_str()), ("InProgress", "Current"));
    for (state, seen) in told.iter().zip(&seen) {
        let status = state.status.as_ref().unwrap();
        let serves = has(status, "Ready", "True", "Serving") && status.observed_generation == state.metadata.generation;
        assert_eq!(seen == "Current", serves, "{status:?}");
    }
}

#[test]
fn a_bad_spec_waits_for_a_change_and_another_object_does_not_mind() {
    let shop = Shop::open("badspec");
    let _operator = shop.operator();
    shop.write_config_map("bad-scenarios", &[("scenarios.jsonl", "{\"id\": \"one\", \"massage\": \"Hello?\"}")]);
    let bad = shop.resource(&json!({
        "metadata": {"name": "bad"},
        "spec": {"scenarios": [{"configMapRef": {"name": "bad-scenarios"}}], "promotion": {"target": {"configMap": "bad-live"}}},
    }));
    shop.apply_object::<AgentOptimization>(&bad);
    shop.apply(&json!({}));
    shop.until_served("v2");
    let get = || block_on(shop.namespace.api::<AgentOptimization>().get("bad")).unwrap();
    let status = get().status.unwrap();
    assert!(has(&status, "Stalled", "True", "InvalidSpec"), "{:?}", status.conditions);
    let message = &condition(&status, "Ready").unwrap().message;
    assert!(message.contains("bad-scenarios") && message.contains("massage"), "{message}");
    assert_eq!(status.champion.as_ref().unwrap().version, "v1", "its base prompt serves");
    assert_eq!(kstatus(&serde_json::to_value(get()).unwrap()), "Failed");
    shop.write_config_map("bad-scenarios", &[("scenarios.jsonl", &fixture("scenarios.jsonl"))]);
    eventually("it comes right", DEADLINE, || {
        let status = get().status.unwrap();
        (status.phase == Some(Phase::Idle) && has(&status, "Ready", "True", "Serving")).then_some(())
    });
}

#[test]
fn the_history_holds_the_last_ten_cycles() {
    let shop = Shop::open("history");
    shop.write_base(&fixture("better.md"));
    let operator = shop.operator();
    shop.apply(&json!({}));
    let status = shop.until_idle();
    operator.stop();
    // Ten cycles such as this one were before.
    let earlier: Vec<FinishedCycle> =
        (0..10).map(|number| FinishedCycle { id: format!("earlier-{number}"), ..status.history[0].clone() }).collect();
    let api = shop.namespace.api::<AgentOptimization>();
    let patch = json!({"status": {"history": earlier, "cycles": 10}});
    block_on(api.patch_status(SHOP, &PatchParams::default(), &Patch::Merge(patch))).unwrap();
    let _operator = shop.operator();
    shop.annotate("whetstone.dev/run-at", "now");
    let status =
        shop.until("the eleventh has ended", |status| status.cycles == 11 && status.phase == Some(Phase::Idle));
    let ids: Vec<&str> = status.history.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids.len(), 10);
    assert!(!ids[0].starts_with("earlier"));
    assert_eq!(ids[1..], (0..9).map(|number| format!("earlier-{number}")).collect::<Vec<_>>());
    let size = serde_json::to_string(&shop.object().status).unwrap().len();
    assert!(size < 16 << 10, "{size} bytes of status");
}
