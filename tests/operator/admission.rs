//! What the API server lets in and what it refuses, with the words in which it does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, ObjectMeta};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use whetstone::api::{AgentOptimization, PromptVersion, Submission};

use super::cluster::{Cluster, Namespace, block_on, eventually};

/// The first resource of the documentation.
const FIRST_RESOURCE: &str = include_str!("admission/first-resource.yaml");
/// What is refused, by kind.
const REFUSED: &str = include_str!("admission/refused.yaml");

/// A change that makes a good object a bad one.
#[derive(serde::Deserialize)]
struct Bad {
    name: String,
    change: Value,
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn first_resource() -> Value {
    yaml(FIRST_RESOURCE)
}

fn first_version() -> Value {
    json!({
        "apiVersion": "whetstone.dev/v1alpha1",
        "kind": "PromptVersion",
        "metadata": {"name": "support-assistant-v2"},
        "spec": {"optimizationRef": {"name": "support-assistant"}, "prompt": "You help."}
    })
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (name, change) in change {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Asks the API server what it thinks of an object, without leaving it there.
fn try_out<K: Resource<DynamicType = ()>>(object: &Value) -> Result<DynamicObject, String> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(Cluster::shared().client(), "default", &ApiResource::erase::<K>(&()));
    let mut object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    // The cluster may be a user's, and have one of this name.
    object.metadata = ObjectMeta { generate_name: Some("tried-".to_owned()), ..ObjectMeta::default() };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    block_on(api.create(&dry, &object)).map_err(|error| why(&error))
}

/// Why the API server refused something: a line a field.
fn why(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { panic!("no answer of the API server: {error}") };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    // Where the form of an object is wrong, rules are left out, and the API server says so of a field called <nil>.
    let causes = causes.filter(|cause| cause.field != "<nil>");
    let mut lines: Vec<String> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    lines.sort();
    if lines.is_empty() {
        lines.push(status.message.clone());
    }
    lines.join("\n")
}

/// What an object is refused with; it must be.
fn refusal<K: Resource<DynamicType = ()>>(good: &Value, bad: &Bad) -> String {
    let mut object = good.clone();
    merge(&mut object["spec"], &bad.change);
    match try_out::<K>(&object) {
        Err(why) => why,
        Ok(accepted) => panic!("{}: accepted: {}", bad.name, serde_json::to_string_pretty(&accepted.data).unwrap()),
    }
}

#[test]
fn a_bad_object_is_refused_with_its_field_and_what_to_do() {
    let refused: BTreeMap<String, Vec<Bad>> = serde_saphyr::from_str(REFUSED).unwrap();
    let mut page = String::new();
    for (kind, table) in &refused {
        writeln!(page, "{kind}").unwrap();
        for bad in table {
            let why = match kind.as_str() {
                "AgentOptimization" => refusal::<AgentOptimization>(&first_resource(), bad),
                _ => refusal::<PromptVersion>(&first_version(), bad),
            };
            writeln!(page, "\n  {}", bad.name).unwrap();
            for line in why.lines() {
                writeln!(page, "    {line}").unwrap();
            }
        }
        page.push('\n');
    }
    insta::assert_snapshot!(page);
}

#[test]
fn a_name_that_does_not_fit_into_a_label_is_refused() {
    let mut object = first_resource();
    object["metadata"]["name"] = json!("a".repeat(64));
    let text = object.to_string();
    let ended = Cluster::shared().kubectl_with(&["create", "--dry-run=server", "-f", "-"], &text);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("metadata.name must have at most 63 characters"), "{ended}");
}

/// Whether an object is accepted, and can be read by our types as it is then: one that could not would stop the operator's watch.
fn accept<K: Resource<DynamicType = ()> + DeserializeOwned>(what: &str, object: &Value) -> K {
    let accepted = try_out::<K>(object).unwrap_or_else(|why| panic!("{what} is refused:\n{why}"));
    let accepted = serde_json::to_value(accepted).unwrap();
    serde_json::from_value(accepted).unwrap_or_else(|error| panic!("{what} cannot be read: {error}"))
}

#[test]
fn the_first_resource_of_the_documentation_is_accepted() {
    let accepted: AgentOptimization = accept("the first resource", &first_resource());
    assert_eq!(accepted.spec.models.len(), 2);
    let accepted: PromptVersion = accept("the first version", &first_version());
    assert_eq!(accepted.spec.version, None);
}

#[test]
fn a_resource_that_says_everything_is_accepted() {
    let mut object = first_resource();
    merge(&mut object["spec"], &yaml(include_str!("admission/everything.yaml")));
    let accepted: AgentOptimization = accept("everything", &object);
    assert_eq!(accepted.spec.watch.unwrap().signals.len(), 2);
    let mut version = first_version();
    let more = json!({
        "version": "v2", "hash": "0123456789abcdef".repeat(4), "parent": "v1", "diff": "-You\n+You do\n", "addresses": ["refunds"]
    });
    merge(&mut version["spec"], &more);
    accept::<PromptVersion>("a whole version", &version);
}

#[test]
fn every_other_way_to_say_it_is_accepted() {
    for (name, change) in [
        ("an inline prompt", json!({"agent": {"prompt": {"configMapKeyRef": null, "inline": "You help."}}})),
        ("an endpoint", json!({"agent": {"runtime": {"model": null, "endpoint": {"ref": "worker"}}}})),
        (
            "a replay",
            json!({"agent": {"runtime": {"model": null, "replay": {"transcripts": {"configMapKeyRef": {"name": "recorded", "key": "t.jsonl"}}}}}}),
        ),
        ("no target", json!({"promotion": null})),
        ("a field of two alternatives that is null", json!({"agent": {"prompt": {"file": null}}, "pin": null})),
        ("a seed", json!({"split": {"seed": 9_007_199_254_740_993_u64}})),
        (
            "checks alone",
            json!({"scoring": {"judge": null, "dimensions": [{"name": "tone", "weight": 1, "scorer": "Checks"}]}}),
        ),
        (
            "tool calls alone",
            json!({"scoring": {"judge": null, "dimensions": [{"name": "tool_compliance", "weight": 1}]}}),
        ),
        ("no price without a budget", json!({"budget": {"currency": "EUR", "perCycle": null}})),
        (
            "weights with binary noise",
            json!({"scoring": {"dimensions": [
                {"name": "accuracy", "weight": 0.1}, {"name": "safety", "weight": 0.2}, {"name": "tool_compliance", "weight": 0.7}
            ]}}),
        ),
        ("a watch of the suite alone", json!({"watch": {"reevaluation": {"every": "1h30m"}}})),
        (
            "readings each second",
            json!({"watch": {"interval": "1s", "window": "10s", "prometheus": {"url": "http://[::1]:9090/prefix/"},
            "signals": [{"name": "errors", "query": "up", "maxIncrease": "20%"}]}}),
        ),
    ] {
        let mut object = first_resource();
        merge(&mut object["spec"], &change);
        // What was null is to be sent as null where that is what is tried.
        if name.ends_with("is null") {
            object["spec"]["agent"]["prompt"]["file"] = Value::Null;
            object["spec"]["pin"] = Value::Null;
        }
        accept::<AgentOptimization>(name, &object);
    }
}

/// A resource of the command line as it is in the cluster: its files in ConfigMaps, its keys in Secrets.
fn moved_into_the_cluster(mut object: Value) -> Value {
    let key = json!({"configMapKeyRef": {"name": "example", "key": "text"}});
    let spec = &mut object["spec"];
    let agent = &mut spec["agent"];
    agent["prompt"] = key.clone();
    for source in agent["toolsFrom"].as_array_mut().into_iter().flatten() {
        *source = key.clone();
    }
    if let Some(replay) = agent["runtime"].get_mut("replay") {
        replay["transcripts"] = key;
    }
    for source in spec["scenarios"].as_array_mut().into_iter().flatten() {
        *source = json!({"configMapRef": {"name": "example"}});
    }
    for model in spec["models"].as_array_mut().into_iter().flatten() {
        for provider in ["openAI", "anthropic"] {
            if let Some(provider) = model.get_mut(provider) {
                provider["apiKey"] = json!({"secretKeyRef": {"name": "keys", "key": "key"}});
            }
        }
    }
    object
}

#[test]
fn the_examples_are_accepted_once_they_are_in_the_cluster() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for example in ["quickstart/optimization.yaml", "twelve-skills/optimization.yaml", "pipeline/pipeline.yaml"] {
        let text = std::fs::read_to_string(examples.join(example)).unwrap();
        let submission = Submission::read(example, &text, None).unwrap();
        let object = serde_json::to_value(&submission.resource).unwrap();
        accept::<AgentOptimization>(example, &moved_into_the_cluster(object));
    }
}

#[test]
fn the_page_about_the_resource_shows_what_is_accepted() {
    let blocks = include_str!("../../docs/resource.md").split("```yaml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let mut kinds = Vec::new();
    for block in blocks {
        let shown = yaml(block);
        match shown["kind"].as_str() {
            Some("AgentOptimization") => {
                accept::<AgentOptimization>(block, &moved_into_the_cluster(shown));
                kinds.push("resource");
            }
            Some("PromptVersion") => {
                accept::<PromptVersion>(block, &shown);
                kinds.push("version");
            }
            _ if shown.get("pipeline").is_some() => {}
            _ => {
                let mut object = first_resource();
                merge(&mut object["spec"], &shown);
                accept::<AgentOptimization>(block, &object);
                kinds.push("part");
            }
        }
    }
    assert_eq!(kinds, ["resource", "resource", "resource", "part", "part", "version"]);
}

#[test]
fn what_is_left_out_and_the_same_for_every_profile_is_filled_in() {
    let mut object = first_resource();
    let change = json!({
        "profile": null,
        "split": {},
        "schedule": {"cron": "@daily"},
        "watch": {"reevaluation": {"every": "1h"}},
        "models": [{"name": "worker", "openAI": {"baseURL": "http://llm/v1", "model": "m"}, "limits": {}}],
        "scoring": {"judge": {"ref": "worker"}},
        "budget": {"perCycle": null}
    });
    merge(&mut object["spec"], &change);
    let accepted = try_out::<AgentOptimization>(&object).unwrap();
    let mut filled = Vec::new();
    filled_in("spec", &object["spec"], &accepted.data["spec"], &mut filled);
    insta::assert_snapshot!(filled.join("\n"), @r#"
    spec.budget.currency: "USD"
    spec.profile: "Production"
    spec.promotion.onBaseChange: "Gate"
    spec.promotion.onDelete: "Keep"
    spec.schedule.timeZone: "UTC"
    spec.split.seed: 0
    spec.suspend: false
    spec.watch.breaches: 3
    spec.watch.interval: "30s"
    spec.watch.reevaluation.maxDrop: 0.05
    spec.watch.window: "1h"
    "#);
}

/// The leaves that are in one value and not in the other.
fn filled_in(path: &str, written: &Value, found: &Value, filled: &mut Vec<String>) {
    match (written, found) {
        (written, Value::Object(found)) => {
            for (name, found) in found {
                filled_in(&format!("{path}.{name}"), written.get(name).unwrap_or(&Value::Null), found, filled);
            }
        }
        (written, Value::Array(found)) => {
            for (index, found) in found.iter().enumerate() {
                filled_in(&format!("{path}[{index}]"), written.get(index).unwrap_or(&Value::Null), found, filled);
            }
        }
        (Value::Null, found) => filled.push(format!("{path}: {found}")),
        _ => {}
    }
}

#[test]
fn a_prompt_version_cannot_be_changed_but_for_its_labels() {
    let namespace = Namespace::new("immutable");
    let versions = namespace.untyped::<PromptVersion>();
    let version: DynamicObject = serde_json::from_value(first_version()).unwrap();
    let name = version.name_any();
    block_on(versions.create(&PostParams::default(), &version)).unwrap();
    let patch = |change: Value| {
        block_on(versions.patch(&name, &PatchParams::default(), &Patch::Merge(change))).map_err(|error| why(&error))
    };
    patch(json!({"metadata": {"labels": {"team": "support"}}})).unwrap();
    for change in [json!({"prompt": "You do not help."}), json!({"version": "v9"}), json!({"addresses": ["a"]})] {
        let why = patch(json!({"spec": change})).unwrap_err();
        assert_eq!(why, "spec: Forbidden: a PromptVersion cannot be changed: apply another one");
    }
}

#[test]
fn status_is_written_apart_from_the_spec_and_does_not_count_as_a_change() {
    let namespace = Namespace::new("status");
    let optimizations: Api<AgentOptimization> = namespace.api();
    let object: AgentOptimization = serde_json::from_value(first_resource()).unwrap();
    let name = object.name_any();
    let created = block_on(optimizations.create(&PostParams::default(), &object)).unwrap();
    assert!(created.status.is_none());
    let change = Patch::Merge(json!({"status": {"phase": "Idle", "observedGeneration": 1}, "spec": {"suspend": true}}));
    let by = PatchParams::default();
    let patched = block_on(optimizations.patch_status(&name, &by, &change)).unwrap();
    assert!(!patched.spec.suspend && patched.metadata.generation == Some(1));
    let patched =
        block_on(optimizations.patch(&name, &by, &Patch::Merge(json!({"status": {"phase": "Stalled"}})))).unwrap();
    assert_eq!(patched.status.unwrap().phase.unwrap().as_str(), "Idle");
}

#[test]
fn objects_are_found_by_what_they_are_about() {
    let namespace = Namespace::new("select");
    let optimizations = namespace.untyped::<AgentOptimization>();
    let versions = namespace.untyped::<PromptVersion>();
    let create = |api: &Api<DynamicObject>, object: Value| {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        block_on(api.create(&PostParams::default(), &object)).unwrap();
        object.name_any()
    };
    let first = create(&optimizations, first_resource());
    let mut other = first_resource();
    other["metadata"]["name"] = json!("other");
    other["spec"]["promotion"]["target"]["configMap"] = json!("other-live");
    create(&optimizations, other);
    let version = create(&versions, first_version());
    let phase = |phase: &str| Patch::Merge(json!({"status": {"phase": phase}}));
    block_on(optimizations.patch_status(&first, &PatchParams::default(), &phase("Idle"))).unwrap();
    block_on(versions.patch_status(&version, &PatchParams::default(), &phase("Candidate"))).unwrap();
    let found = |api: &Api<DynamicObject>, field: &str| -> Vec<String> {
        let listed = block_on(api.list(&ListParams::default().fields(field))).unwrap();
        listed.iter().map(kube::ResourceExt::name_any).collect()
    };
    for field in ["spec.promotion.target.configMap=support-prompt-live", "status.phase=Idle"] {
        assert_eq!(found(&optimizations, field), [first.as_str()]);
    }
    for field in ["spec.optimizationRef.name=support-assistant", "status.phase=Candidate"] {
        assert_eq!(found(&versions, field), [version.as_str()]);
    }
    assert!(found(&versions, "status.phase=Champion").is_empty());
}

#[test]
fn a_field_that_nobody_knows_is_refused_by_kubectl() {
    let text = FIRST_RESOURCE.replace("  scoring:", "  scorring:");
    let ended = Cluster::shared().kubectl_with(&["create", "--dry-run=server", "-f", "-"], &text);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains(r#"unknown field "spec.scorring""#), "{ended}");
}

#[test]
fn kubectl_explains_what_a_field_is_for() {
    // The API server publishes its schemas a moment after it serves the resources.
    let explained = eventually("kubectl explain knows the resource", Duration::from_mins(1), || {
        let ended = Cluster::shared().kubectl(&["explain", "agentoptimization.spec.promotion"]);
        (ended.code == Some(0)).then_some(ended.stdout)
    });
    insta::with_settings!({filters => vec![(r" +\n", "\n")]}, {
    insta::assert_snapshot!(explained, @"
    GROUP:      whetstone.dev
    KIND:       AgentOptimization
    VERSION:    v1alpha1

    FIELD: promotion <Object>


    DESCRIPTION:
        The gate, and where a promoted prompt is written.

    FIELDS:
      approval	<string>
      enum: Automatic, Manual
        Whether promotions need manual approval. Defaults to `Manual` in the profile
        `Compliance`, else to `Automatic`.

      gate	<Object>
        The conditions that a challenger must meet to be promoted.

      maxVersionsRetained	<integer>
        Number of superseded versions to keep. The champion and its predecessor are
        always kept. The default depends on the profile.

      onBaseChange	<string>
      enum: Gate, Adopt
        What happens if the base prompt changes while a version serves: `Gate` (the
        new base prompt has to pass the gate like any other challenger) or `Adopt`
        (it serves at once). Defaults to `Gate`.

      onDelete	<string>
      enum: Keep, Revert
        What happens to the target ConfigMap if the AgentOptimization is deleted:
        `Keep` (it is left unchanged) or `Revert` (the base prompt is written to
        it). Defaults to `Keep`.

      target	<Object>
        Where a promoted prompt is written.
    ");
    });
    let explained = Cluster::shared().kubectl(&["explain", "pver.spec"]).printed();
    assert!(explained.contains("the gate like any other"), "{explained}");
}

#[test]
fn kubectl_shows_where_things_stand() {
    let namespace = Namespace::new("columns");
    let optimizations = namespace.untyped::<AgentOptimization>();
    let versions = namespace.untyped::<PromptVersion>();
    let object = |value: Value| -> DynamicObject { serde_json::from_value(value).unwrap() };
    let by = PatchParams::default();
    block_on(async {
        optimizations.create(&PostParams::default(), &object(first_resource())).await.unwrap();
        versions.create(&PostParams::default(), &object(first_version())).await.unwrap();
        let now = "2026-01-01T00:00:00Z";
        let condition = json!({
            "type": "Ready", "status": "True", "reason": "Serving", "message": "v2 serves", "lastTransitionTime": now
        });
        let hash = "0".repeat(64);
        let status = json!({"status": {
            "phase": "Watching",
            "conditions": [condition],
            "champion": {"version": "v2", "hash": hash, "origin": "Gate", "since": now, "score": "0.912"},
            "challenger": {"version": "v3", "hash": hash},
            "cost": {"amount": "4.20", "currency": "USD"}
        }});
        optimizations.patch_status("support-assistant", &by, &Patch::Merge(status)).await.unwrap();
        let status = json!({"status": {
            "phase": "Champion", "version": "v2", "parent": "v1", "score": "0.912", "since": now, "reasons": ["better by 0.08"]
        }});
        versions.patch_status("support-assistant-v2", &by, &Patch::Merge(status)).await.unwrap();
    });
    let shown = namespace.kubectl(&["get", "agopt,pver"]).printed();
    insta::with_settings!({filters => vec![(r"\d+(d\d*h?|y\d*d?)\b", "[age]"), (r"\b\d+s\b", "[age]"), (r" +\n", "\n")]}, {
        insta::assert_snapshot!(shown, @"
        NAME                                                PHASE      READY   CHAMPION   CHALLENGER   SCORE   COST   AGE
        agentoptimization.whetstone.dev/support-assistant   Watching   True    v2         v3           0.912   4.20   [age]

        NAME                                               OPTIMIZATION        VERSION   PHASE      PARENT   SCORE   SINCE   WHY
        promptversion.whetstone.dev/support-assistant-v2   support-assistant   v2        Champion   v1       0.912   [age]    better by 0.08
        ");
    });
    let shown = namespace.kubectl(&["get", "whetstone", "-o", "name"]).printed();
    assert_eq!(shown.lines().count(), 2, "the category whetstone has both: {shown}");
}
