//! What an earlier release has left in a cluster and in its store, under the operator of this one.
//!
//! `tests/fixtures/upgrade/` has a folder for each release: the objects, as the API server returned them, and the store of their
//! namespace. They are never written again. A release that changes what is persisted adds a folder:
//! `WHETSTONE_EARLIER_BINARY=… WHETSTONE_EARLIER_NAME=… cargo test --test operator upgrade:: -- --ignored`.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};
use whetstone::api::status::Cause;
use whetstone::api::{AgentOptimization, PromptVersion};

use super::cluster::{Cluster, Namespace, block_on};
use super::operator::{SHOP, Shop, fixture};

/// The namespace of the recorded objects: it is part of what a store knows them by.
const NAMESPACE: &str = "upgraded";

/// Where the recorded models are: at a port (discard) that no other test listens at. Only root can.
const NOBODY: &str = "127.0.0.1:9";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upgrade").join(name)
}

/// All objects of a kind, without what the API server adds by itself.
fn recorded<K>(namespace: &Namespace) -> Vec<Value>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    let all = block_on(namespace.untyped::<K>().list(&ListParams::default())).unwrap();
    let clean = |object: kube::core::DynamicObject| {
        let mut object = serde_json::to_value(object).unwrap();
        for field in ["managedFields", "resourceVersion", "creationTimestamp", "generation"] {
            object["metadata"].as_object_mut().unwrap().remove(field);
        }
        object
    };
    all.items.into_iter().filter(|object| object.name_any() != "kube-root-ca.crt").map(clean).collect()
}

#[test]
#[ignore = "records fixtures with an earlier release"]
fn record_what_an_earlier_release_leaves() {
    let binary = PathBuf::from(std::env::var_os("WHETSTONE_EARLIER_BINARY").expect("the earlier release"));
    let folder = folder(&std::env::var("WHETSTONE_EARLIER_NAME").expect("a name for it"));
    let shop = Shop::empty(Cluster::shared().namespace_named(NAMESPACE), NOBODY, "");
    shop.write_base(&fixture("prompt.md"));
    shop.write_config_map("shop-tools", &[("tools.json", &fixture("tools.json"))]);
    shop.write_config_map("shop-scenarios", &[("scenarios.jsonl", &fixture("scenarios.jsonl"))]);
    let operator = shop.operator_of(&binary);
    shop.apply(&json!({}));
    shop.until_served("v2");
    shop.until("all is done", |status| status.cycle.is_none() && status.history.len() == 1);
    operator.stop();
    let objects = json!({
        "configMaps": recorded::<ConfigMap>(&shop.namespace),
        "optimizations": recorded::<AgentOptimization>(&shop.namespace),
        "versions": recorded::<PromptVersion>(&shop.namespace),
    });
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("objects.json"), serde_json::to_string_pretty(&objects).unwrap() + "\n").unwrap();
    std::fs::copy(shop.store_file(), folder.join("store.db")).unwrap();
}

/// Creates recorded objects, which belong to `owner` where they belonged to one.
fn restore<K>(namespace: &Namespace, objects: &Value, owner: Option<&str>)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    let api = namespace.untyped::<K>();
    for object in objects.as_array().unwrap() {
        let mut object = object.clone();
        object["metadata"].as_object_mut().unwrap().remove("uid");
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        if let (Some(owner), Some(owners)) = (owner, object["metadata"]["ownerReferences"].as_array_mut()) {
            for reference in owners {
                reference["uid"] = json!(owner);
            }
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        // What belongs to the optimization was written by the operator.
        let by =
            if owner.is_some() && object["metadata"].get("ownerReferences").is_some() { "whetstone" } else { "tests" };
        let created = block_on(api.patch(&name, &PatchParams::apply(by), &Patch::Apply(&object)));
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some(status) = object.get("status") {
            let patch = Patch::Merge(json!({"status": status}));
            block_on(api.patch_status(&name, &PatchParams::default(), &patch)).unwrap();
        }
    }
}

fn whetstone(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
    let ended = command.args(arguments).env("KUBECONFIG", Cluster::shared().kubeconfig()).output().unwrap();
    let (printed, said) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success(), "{arguments:?}: {said}");
    printed
}

#[test]
fn an_upgrade_starts_no_cycle_and_pays_nothing() {
    let folder = folder("2026-11-27");
    let objects: Value = serde_json::from_slice(&std::fs::read(folder.join("objects.json")).unwrap()).unwrap();
    let shop = Shop::empty(Cluster::shared().namespace_named(NAMESPACE), "127.0.0.1:0", "");
    restore::<AgentOptimization>(&shop.namespace, &objects["optimizations"], None);
    let owner = shop.object().uid().unwrap();
    restore::<ConfigMap>(&shop.namespace, &objects["configMaps"], Some(&owner));
    restore::<PromptVersion>(&shop.namespace, &objects["versions"], Some(&owner));
    std::fs::create_dir_all(shop.store_dir()).unwrap();
    std::fs::copy(folder.join("store.db"), shop.store_file()).unwrap();
    let (before, calls) = (shop.status(), shop.ledger_calls());
    let (target, versions) = (shop.target(), shop.versions());

    let operator = shop.operator_with(&["--allow-endpoint", "127.0.0.1"], &[]);
    let after = shop.until("the inputs are recognised", |status| {
        status.inputs.as_deref().is_some_and(|inputs| inputs.starts_with("v2:"))
    });
    // It has looked, and looks again after a change of what is no input.
    shop.patch(&json!({"spec": {"execution": {"scenarioTimeout": "4m"}}}));
    let generation = shop.object().metadata.generation;
    let rested = shop.until("it has looked again", |status| status.observed_generation == generation);
    for status in [&after, &rested] {
        assert_eq!((&status.cycle, status.cycles), (&None, before.cycles), "no cycle starts");
        assert_eq!(status.history, before.history);
        assert_eq!(status.champion, before.champion);
    }
    assert_eq!((shop.target(), shop.versions()), (target, versions), "what serves stays");

    let name = shop.namespace.name();
    for printed in [whetstone(&["status", SHOP, "-n", name]), whetstone(&["history", SHOP, "-n", name])] {
        assert!(printed.contains("v2"), "{printed}");
    }
    let store = shop.store_file().display().to_string();
    let shown = whetstone(&["show", "--store", &store]);
    assert!(shown.contains("v2 replaces v1"), "{shown}");

    // A change of what is one starts a cycle.
    shop.write_config_map(
        "shop-scenarios",
        &[("scenarios.jsonl", &fixture("scenarios.jsonl").replacen("camera", "piano", 1))],
    );
    let started = shop.until("a cycle starts", |status| status.cycle.is_some());
    assert_eq!(started.cycle.unwrap().cause, Cause::InputsChanged);
    drop(operator);
    assert_eq!(shop.ledger_calls(), calls, "nothing is paid");
}
