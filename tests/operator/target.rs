//! The target ConfigMap: whose it is, and what becomes of what others do to it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use whetstone::api::status::{Origin, Phase};
use whetstone::api::{AgentOptimization, PromptVersion};

use super::cluster::{block_on, eventually};
use super::operator::{DEADLINE, SHOP, Shop, TARGET, assert_belongs_together, condition, fixture, has, hash};

/// What serves is what these tests are about, not what beats it.
fn no_cycles() -> Value {
    json!({"spec": {"suspend": true}})
}

#[test]
fn a_foreign_configmap_is_refused_and_left_as_it_was_until_it_is_handed_over() {
    let shop = Shop::open("foreign");
    let foreign = shop.write_config_map(TARGET, &[("system-prompt", "You are somebody else."), ("theirs", "x")]);
    let _operator = shop.operator();
    shop.apply(&json!({}));
    let status = shop.until("it is stalled", |status| has(status, "Stalled", "True", "TargetNotOwned"));
    assert!(has(&status, "Ready", "False", "TargetNotOwned"));
    let message = &condition(&status, "Stalled").unwrap().message;
    assert!(message.contains("belongs to another owner (tests wrote it), and is not overwritten"), "{message}");
    assert!(message.contains(&format!("annotate configmap {TARGET} whetstone.dev/adopt={SHOP}")), "{message}");
    assert_eq!(shop.until_event("TargetNotOwned"), *message);
    assert_eq!(shop.kstatus(), "Failed");
    assert_eq!((status.phase, status.cycle), (Some(Phase::Stalled), None), "nothing is paid for what cannot serve");
    assert_eq!(shop.config_map(TARGET).unwrap(), foreign, "content and managed fields are untouched");

    let said = shop.events().into_iter().filter(|(reason, _)| reason == "TargetNotOwned").count();
    assert_eq!(said, 1, "not at every look");

    let to_somebody_else = shop.namespace.kubectl(&["annotate", "cm", TARGET, "whetstone.dev/adopt=another"]);
    to_somebody_else.printed();
    let annotate = ["annotate", "cm", TARGET, "--overwrite", "whetstone.dev/adopt=shop"];
    assert_eq!(shop.target().unwrap()["system-prompt"], "You are somebody else.");
    shop.namespace.kubectl(&annotate).printed();
    let data = shop.until_served("v2");
    assert_eq!(data["theirs"], "x", "their own keys stay");
    let status = shop.until_idle();
    assert_eq!(condition(&status, "Stalled"), None);
    assert_eq!(shop.kstatus(), "Current");
}

#[test]
fn a_prompt_in_a_target_that_is_handed_over_goes_on_serving() {
    let shop = Shop::open("adopted");
    let better = fixture("better.md");
    shop.apply_object::<ConfigMap>(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"system-prompt": better},
        "metadata": {"name": TARGET, "annotations": {"whetstone.dev/adopt": SHOP}},
    }));
    let _operator = shop.operator();
    shop.apply(&no_cycles());
    let data = shop.until_served("v1");
    assert_eq!(data["system-prompt"], better, "not the base prompt");
    let status = shop.until("it is told", |status| has(status, "Ready", "True", "Serving"));
    assert_eq!(status.champion.unwrap().origin, Origin::Found);
    assert_eq!(shop.version("shop-v1").spec.prompt, better);
}

#[test]
fn what_is_done_to_the_target_is_undone_and_what_others_keep_in_it_stays() {
    let shop = Shop::open("putback");
    let _operator = shop.operator();
    shop.apply(&no_cycles());
    let data = shop.until_served("v1");
    shop.until("it serves", |status| has(status, "Ready", "True", "Serving"));
    let maps = shop.namespace.api::<ConfigMap>();
    let patch = |patch: Value| block_on(maps.patch(TARGET, &PatchParams::default(), &Patch::Merge(patch))).unwrap();

    let ours = shop.config_map(TARGET).unwrap();
    assert_eq!(ours.labels()["app.kubernetes.io/managed-by"], "whetstone");
    assert_eq!(ours.labels()["whetstone.dev/optimization"], SHOP);
    assert_eq!(ours.managed_fields().len(), 1, "one manager, by one kind of write");

    patch(json!({"data": {"system-prompt": "You obey whoever edits this.", "theirs": "x"}}));
    eventually("the prompt is put back", DEADLINE, || {
        shop.target().filter(|held| held["system-prompt"] == data["system-prompt"])
    });
    let expected =
        format!("the edit of system-prompt in the ConfigMap {TARGET:?} was undone; change the base prompt instead");
    assert_eq!(shop.until_event("TargetPutBack"), expected);
    assert_eq!(shop.target().unwrap()["theirs"], "x");

    patch(json!({"data": {"version": null, "challenger-prompt": "You are an impostor."}}));
    eventually("the keys are put back", DEADLINE, || {
        let held = shop.target()?;
        (held.get("version") == data.get("version") && !held.contains_key("challenger-prompt")).then_some(())
    });
    assert_eq!(shop.target().unwrap()["theirs"], "x");

    // By a client that replaces all that is in it.
    let mut replacement = shop.config_map(TARGET).unwrap();
    replacement.data = Some([("system-prompt".to_owned(), "You obey.".to_owned())].into());
    block_on(maps.replace(TARGET, &PostParams::default(), &replacement)).unwrap();
    eventually("all of it is put back", DEADLINE, || {
        let held = shop.config_map(TARGET)?;
        let is_labelled = held.labels().get("whetstone.dev/optimization").is_some_and(|label| label == SHOP);
        (is_labelled && held.data == Some(data.clone())).then_some(())
    });

    shop.delete::<ConfigMap>(TARGET);
    let held = eventually("it is there again", DEADLINE, || shop.target());
    assert_eq!(held, data);
    eventually("an Event that says so", DEADLINE, || {
        let deleted = format!("the ConfigMap {TARGET:?} was deleted, and has been created again");
        shop.events().contains(&("TargetPutBack".to_owned(), deleted)).then_some(())
    });
}

#[test]
fn of_two_optimizations_with_one_target_the_younger_is_refused_until_the_older_is_gone() {
    let shop = Shop::open("rivals");
    let _operator = shop.operator();
    shop.apply(&no_cycles());
    shop.until_served("v1");
    let rival = fixture("prompt.md").replace("polite", "rude");
    shop.write_config_map("other-prompt", &[("system-prompt", &rival)]);
    let younger = shop.resource(&json!({
        "metadata": {"name": "shop-two"},
        "spec": {"suspend": true, "agent": {"prompt": {"configMapKeyRef": {"name": "other-prompt"}}}},
    }));
    shop.apply_object::<AgentOptimization>(&younger);
    let status = || block_on(shop.namespace.api::<AgentOptimization>().get("shop-two")).unwrap().status;
    let stalled = eventually("the younger is stalled", DEADLINE, || {
        status().filter(|status| has(status, "Stalled", "True", "TargetNotOwned"))
    });
    let message = &condition(&stalled, "Stalled").unwrap().message;
    assert!(message.contains("is already the target of the AgentOptimization \"shop\""), "{message}");
    assert_eq!(shop.target().unwrap()["system-prompt"], fixture("prompt.md"));
    assert!(has(&shop.status(), "Ready", "True", "Serving"), "the older does not mind");

    shop.delete::<AgentOptimization>(SHOP);
    eventually("the younger has the target", DEADLINE, || shop.target().filter(|held| held["system-prompt"] == rival));
    let serving = eventually("the younger serves", DEADLINE, || {
        status().filter(|status| has(status, "Ready", "True", "Serving"))
    });
    assert_eq!(condition(&serving, "Stalled"), None);
    assert_belongs_together(&shop.target().unwrap());
}

#[test]
fn an_optimization_that_never_had_the_target_reverts_nothing_when_it_is_deleted() {
    let shop = Shop::open("usurper");
    let _operator = shop.operator();
    shop.apply(&no_cycles());
    let data = shop.until_served("v1");
    shop.write_config_map("other-prompt", &[("system-prompt", "You are rude.")]);
    let younger = shop.resource(&json!({
        "metadata": {"name": "shop-two"},
        "spec": {
            "suspend": true,
            "agent": {"prompt": {"configMapKeyRef": {"name": "other-prompt"}}},
            "promotion": {"onDelete": "Revert"},
        },
    }));
    shop.apply_object::<AgentOptimization>(&younger);
    let younger = || block_on(shop.namespace.api::<AgentOptimization>().get_opt("shop-two")).unwrap();
    eventually("the younger is stalled", DEADLINE, || {
        younger()?.status.filter(|status| has(status, "Stalled", "True", "TargetNotOwned"))
    });
    let before = shop.config_map(TARGET).unwrap().resource_version();
    shop.delete::<AgentOptimization>("shop-two");
    eventually("it is gone", DEADLINE, || younger().is_none().then_some(()));
    assert_eq!(shop.config_map(TARGET).unwrap().resource_version(), before, "nobody has written it");
    assert_eq!(shop.target(), Some(data));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_and_one_that_fits_again_is_taken() {
    let shop = Shop::open("large");
    let _operator = shop.operator();
    shop.write_base(&format!("{}\n{}", fixture("prompt.md"), "Be polite. ".repeat(60_000)));
    shop.apply(&json!({"spec": {"suspend": true, "patching": {"maxPromptTokens": 1_000_000}}}));
    let status = shop.until("it is refused", |status| has(status, "Stalled", "True", "PromptTooLarge"));
    let message = &condition(&status, "Ready").unwrap().message;
    assert!(message.contains("spec.agent.prompt") && message.contains("shorten it"), "{message}");
    assert_eq!((status.champion, shop.target()), (None, None));
    assert_eq!(shop.kstatus(), "Failed");
    shop.write_base(&fixture("prompt.md"));
    shop.until_served("v1");
    let status = shop.until("it serves", |status| has(status, "Ready", "True", "Serving"));
    assert_eq!(condition(&status, "Stalled"), None);
}

#[test]
fn a_deleted_optimization_leaves_its_target_as_it_is_or_with_the_base_prompt() {
    for (on_delete, left) in [("Keep", "better.md"), ("Revert", "prompt.md")] {
        let shop = Shop::open(&on_delete.to_lowercase());
        let _operator = shop.operator();
        shop.apply(&json!({"spec": {"pin": "better", "promotion": {"onDelete": on_delete}}}));
        shop.apply_version("better", &fixture("better.md"), &json!({}));
        shop.until_served("better");
        shop.until_idle();
        shop.delete::<AgentOptimization>(SHOP);
        eventually("it is gone", DEADLINE, || {
            let found = block_on(shop.namespace.api::<AgentOptimization>().get_opt(SHOP)).unwrap();
            found.is_none().then_some(())
        });
        let data = shop.target().expect("it stays");
        assert_belongs_together(&data);
        assert_eq!(data["prompt-hash"], hash(&fixture(left)), "{on_delete}");
        assert_eq!(data["version"], if on_delete == "Keep" { "better" } else { "base" });
        let applied_by_hand = shop.version("better");
        assert_eq!(applied_by_hand.owner_references(), [], "what a person applied is not ours to delete");
    }
}

#[test]
fn deleting_an_optimization_whose_base_prompt_is_gone_does_not_hang() {
    let shop = Shop::open("hang");
    let _operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true, "promotion": {"onDelete": "Revert"}}}));
    shop.until_served("v1");
    shop.delete::<ConfigMap>("shop-prompt");
    shop.delete::<AgentOptimization>(SHOP);
    eventually("it is gone", DEADLINE, || {
        let found = block_on(shop.namespace.api::<AgentOptimization>().get_opt(SHOP)).unwrap();
        found.is_none().then_some(())
    });
    assert_eq!(shop.target().unwrap()["system-prompt"], fixture("prompt.md"));
    eventually("its versions go with it", DEADLINE, || {
        block_on(shop.namespace.api::<PromptVersion>().get_opt("shop-v1")).unwrap().is_none().then_some(())
    });
}
