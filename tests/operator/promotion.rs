//! From a base prompt to a better one: what stands in the cluster on the way, and that it is done once.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde_json::json;
use whetstone::api::AgentOptimization;
use whetstone::api::status::{Cause, CycleKind, Origin, Phase};

use super::cluster::{block_on, eventually};
use super::operator::{BASE, DEADLINE, SHOP, Shop, TARGET, assert_belongs_together, condition, fixture, has, hash};

#[test]
fn the_base_prompt_serves_at_once_and_a_better_one_takes_over_with_its_lineage() {
    let shop = Shop::open("promotion");
    let (objects, targets) = (shop.follow::<AgentOptimization>(SHOP), shop.follow::<ConfigMap>(TARGET));
    let base = shop.config_map(BASE).unwrap();
    let operator = shop.operator();
    shop.apply(&json!({}));
    let status = shop.until_idle();

    let champion = status.champion.clone().unwrap();
    assert_eq!((champion.version.as_str(), champion.origin), ("v2", Origin::Gate));
    assert_eq!(status.predecessor.clone().unwrap().hash, hash(&fixture("prompt.md")));
    let cycle = &status.history[0];
    assert_eq!((cycle.kind, cycle.cause, cycle.verdict.as_str()), (CycleKind::Search, Cause::First, "Promoted"));
    assert_eq!((status.history.len(), status.cycles), (1, 1));
    assert_eq!(status.cost.clone().unwrap().amount, cycle.cost);
    assert!(has(&status, "Ready", "True", "Serving"));
    assert!(has(&status, "Promoted", "True", "Promoted"));
    assert_eq!(condition(&status, "Promoted").unwrap().message, format!("v2 serves instead of v1: {}", cycle.message));
    assert_eq!(condition(&status, "Reconciling"), None);

    // What the agent could read at any moment was one of the two prompts, whole, and the base prompt came first.
    let mut served = Vec::new();
    for state in targets.catch_up(&shop.namespace) {
        let data = state.data.unwrap();
        assert_belongs_together(&data);
        assert!(!data.contains_key("challenger-prompt"));
        served.push((data["version"].clone(), data["prompt-hash"].clone()));
    }
    let v1 = ("v1".to_owned(), hash(&fixture("prompt.md")));
    assert_eq!(served, [v1, ("v2".to_owned(), champion.hash.clone())], "each was written once");
    assert!(shop.target().unwrap()["system-prompt"].contains("Always pass the currency"));
    assert_eq!(shop.config_map(BASE).unwrap(), base, "the base prompt is the user's, and is never written");

    // A cycle was to be seen, and at no moment was there a champion that no ConfigMap had.
    let states = objects.catch_up(&shop.namespace);
    let phases: Vec<Phase> = states.iter().filter_map(|state| state.status.as_ref()?.phase).collect();
    assert!(phases.contains(&Phase::Running), "{phases:?}");

    // The lineage.
    let (first, second) = (shop.version("shop-v1"), shop.version("shop-v2"));
    assert_eq!(shop.versions(), ["shop-v1", "shop-v2"]);
    assert_eq!(second.spec.parent.as_deref(), Some("v1"));
    assert_eq!(second.spec.hash, Some(hash(&second.spec.prompt)));
    let diff = second.spec.diff.clone().unwrap();
    assert!(diff.lines().any(|line| line.starts_with("+- Always pass the currency")), "{diff}");
    assert!(!second.spec.addresses.is_empty());
    let told = shop.until_version("shop-v2", "Champion");
    assert_eq!((told.version.as_deref(), told.parent.as_deref()), (Some("v2"), Some("v1")));
    assert_eq!(told.reasons[0], cycle.message, "the gate's own words");
    assert!(told.score.unwrap() > cycle.score.clone().unwrap());
    let dimensions: Vec<&str> = told.dimensions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(dimensions, ["accuracy", "safety", "tool_compliance"]);
    let told = shop.until_version("shop-v1", "Superseded");
    assert_eq!(told.reasons, ["v2 serves instead"]);
    let owner = shop.object();
    for version in [&first, &second] {
        let references = version.owner_references();
        assert_eq!(references.len(), 1);
        assert_eq!(references[0].uid, owner.uid().unwrap());
        assert_eq!(references[0].controller, Some(true));
        assert_eq!(version.labels()["whetstone.dev/optimization"], SHOP);
    }
    assert_eq!(
        shop.until_event("BasePromptServes"),
        "v1 serves: it is the base prompt, and no version has been promoted yet"
    );
    assert_eq!(shop.until_event("Promoted"), format!("v2 serves instead of v1: {}", cycle.message));

    // Once more, from the beginning: nothing is paid, nothing is written.
    operator.stop();
    assert_eq!(
        shop.world.answered(),
        shop.ledger_calls(),
        "every answer is in the ledger, and none was asked for twice"
    );
    let paid = shop.world.answered();
    let before = versions_of_everything(&shop);
    let events = shop.events().len();
    let operator = shop.operator();
    eventually("it has looked", DEADLINE, || {
        (operator.metric("whetstone_reconcile_duration_seconds_count") >= 1.0).then_some(())
    });
    let began = Instant::now();
    eventually("ten seconds in which nothing is written", DEADLINE, || {
        assert_eq!(versions_of_everything(&shop), before);
        (began.elapsed() >= Duration::from_secs(10)).then_some(())
    });
    assert_eq!(shop.world.answered(), paid);
    assert_eq!(shop.events().len(), events);
    assert_eq!(shop.kstatus(), "Current");
}

/// The `resourceVersion` of everything that the operator could write.
fn versions_of_everything(shop: &Shop) -> Vec<String> {
    let versions = shop.versions().into_iter().map(|name| shop.version(&name).resource_version().unwrap());
    let mut all: Vec<String> = versions.collect();
    all.push(shop.object().resource_version().unwrap());
    all.push(shop.config_map(TARGET).unwrap().resource_version().unwrap());
    all.push(shop.config_map(BASE).unwrap().resource_version().unwrap());
    all
}

#[test]
fn a_promotion_restarts_a_workload_once_and_a_cycle_that_changes_nothing_does_not() {
    let shop = Shop::open("restart");
    let labels = json!({"app": "agent"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "agent", "image": "agent"}]}},
        },
    });
    let deployments = shop.namespace.api::<k8s_openapi::api::apps::v1::Deployment>();
    shop.apply_object::<k8s_openapi::api::apps::v1::Deployment>(&deployment);
    let deployment = || block_on(deployments.get("agent")).unwrap();
    let restart = json!([{"kind": "Deployment", "name": "agent"}, {"kind": "StatefulSet", "name": "gone"}]);
    let mut resource = json!({"spec": {"promotion": {"target": {"restart": restart}}}});
    let operator = shop.operator();
    let paused = {
        let mut resource = resource.clone();
        resource["spec"]["suspend"] = json!(true);
        resource
    };
    shop.apply(&paused);
    shop.until_served("v1");
    shop.until("it is suspended", |status| has(status, "Ready", "True", "Serving"));
    assert_eq!(deployment().metadata.generation, Some(1), "its pods have started with the base prompt");

    shop.apply(&resource);
    let failed = shop.until_event("RestartFailed");
    assert!(failed.contains("StatefulSet") && failed.contains("\"gone\""), "{failed}");
    let status = shop.until("it says so", |status| {
        condition(status, "Ready")
            .is_some_and(|ready| ready.message.contains("cannot restart the StatefulSet \"gone\""))
    });
    assert_eq!((status.restarted_for, status.champion.as_ref().unwrap().version.as_str()), (None, "v2"));
    let version = || block_on(shop.namespace.api::<AgentOptimization>().get(SHOP)).unwrap().resource_version();
    let before = version();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(version(), before, "it is not tried at every look");
    resource["spec"]["promotion"]["target"]["restart"] = json!([{"kind": "Deployment", "name": "agent"}]);
    shop.apply(&resource);
    let status = shop.until("all have restarted", |status| status.restarted_for.is_some());
    let promoted = status.champion.unwrap().hash;
    assert_eq!(status.restarted_for, Some(promoted.clone()));
    let annotated = |deployment: k8s_openapi::api::apps::v1::Deployment| {
        let template = deployment.spec.template.metadata.unwrap();
        template.annotations.unwrap_or_default().remove("whetstone.dev/prompt-hash")
    };
    assert_eq!(annotated(deployment()), Some(promoted));
    assert_eq!(deployment().metadata.generation, Some(2), "once, however often it was tried");

    // Another cycle, which finds nothing better, and another operator.
    shop.annotate("whetstone.dev/run-at", "again");
    let status =
        shop.until("another cycle has ended", |status| status.cycles == 2 && status.phase == Some(Phase::Idle));
    assert_ne!(status.history[0].verdict.as_str(), "Promoted");
    operator.stop();
    let operator = shop.operator();
    eventually("it has looked", DEADLINE, || {
        (operator.metric("whetstone_reconcile_duration_seconds_count") >= 1.0).then_some(())
    });
    shop.annotate("whetstone.dev/run-at", "and again");
    shop.until("yet another cycle has ended", |status| status.cycles == 3 && status.phase == Some(Phase::Idle));
    assert_eq!(deployment().metadata.generation, Some(2));
}
