//! What is applied twice is as it was: by client-side apply, which compares a file with the object by itself, and by server-side apply.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::admission::merge;
use super::cluster::{Cluster, Namespace};

/// Every document below these folders that our resource definitions know.
fn documents() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut files: Vec<PathBuf> = vec![root.join("tests/operator/admission/first-resource.yaml")];
    let mut folders = vec![root.join("examples"), root.join("deploy/quickstart")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "yaml") {
                files.push(path);
            }
        }
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, document) in text.split("\n---\n").enumerate() {
            let Ok(document) = serde_saphyr::from_str::<Value>(document) else { continue };
            // What has no models is a patch of another one.
            if document["apiVersion"] == "whetstone.dev/v1alpha1" && !document["spec"]["models"].is_null() {
                let name = file.strip_prefix(root).unwrap().display();
                let mut document = document;
                for_a_cluster(&mut document);
                found.push((format!("{name}, document {number}"), document));
            }
        }
    }
    found
}

/// A document for the command line as it is written for a cluster: what it takes from files comes from a ConfigMap, keys from a Secret.
fn for_a_cluster(document: &mut Value) {
    let from_map = |value: &mut Value, reference: &str| {
        if let Some(file) = value.as_object_mut().and_then(|fields| fields.remove("file")) {
            let key = file.as_str().unwrap().rsplit('/').next().unwrap().replace('*', "all");
            let is_whole = reference == "configMapRef";
            value[reference] = if is_whole { json!({"name": "texts"}) } else { json!({"name": "texts", "key": key}) };
        }
    };
    let spec = &mut document["spec"];
    if let Some(prompt) = spec.pointer_mut("/agent/prompt") {
        from_map(prompt, "configMapKeyRef");
    }
    for tools in spec.pointer_mut("/agent/toolsFrom").and_then(Value::as_array_mut).into_iter().flatten() {
        from_map(tools, "configMapKeyRef");
    }
    for source in spec.get_mut("scenarios").and_then(Value::as_array_mut).into_iter().flatten() {
        from_map(source, "configMapRef");
    }
    for model in spec.get_mut("models").and_then(Value::as_array_mut).into_iter().flatten() {
        for provider in ["openAI", "anthropic"] {
            if let Some(provider) = model.get_mut(provider).filter(|it| it.get("baseURL").is_none()) {
                provider["apiKey"] = json!({"secretKeyRef": {"name": "llm", "key": "key"}});
            }
        }
    }
}

/// A model of each kind with a part of everything that has a default, and scenarios in the resource: all that stands in lists.
fn with_lists() -> Value {
    json!({
        "apiVersion": "whetstone.dev/v1alpha1",
        "kind": "AgentOptimization",
        "metadata": {"name": "lists"},
        "spec": {
            "agent": {
                "prompt": {"inline": "You help."},
                "runtime": {"model": {"ref": "worker"}},
            },
            "models": [
                {"name": "worker", "openAI": {"model": "gpt-4o-mini", "baseURL": "http://gateway:4000/v1"}, "limits": {"concurrency": 4},
                 "price": {"inputPerMillion": "0.150", "outputPerMillion": "0.60"}},
                {"name": "judge", "anthropic": {"model": "claude-sonnet-4-5", "baseURL": "http://gateway:4000"}, "limits": {},
                 "price": {"inputPerMillion": "3", "outputPerMillion": "15"}},
            ],
            "scenarios": [{"inline": [{"id": "one", "message": "Hello"}, {"id": "two", "message": "Hello", "expect": {}}]}],
            "scoring": {"judge": {"ref": "judge"}, "dimensions": [{"name": "tool_compliance", "weight": 1.0}]},
            "watch": {
                "prometheus": {"url": "http://prometheus.monitoring:9090"},
                "signals": [{"name": "errors", "query": "errors", "max": 0.1}],
            },
            "schedule": {"cron": "0 3 * * *"},
            "budget": {"perCycle": "5.00"},
        },
    })
}

/// The resource version and the generation of an object.
fn state(namespace: &Namespace, document: &Value) -> (String, i64) {
    let (kind, name) = (document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap());
    let kind = if kind == "PromptVersion" { "pver" } else { "agopt" };
    let object: Value = serde_json::from_str(&namespace.kubectl(&["get", kind, name, "-o", "json"]).printed()).unwrap();
    let metadata = &object["metadata"];
    (metadata["resourceVersion"].as_str().unwrap().to_owned(), metadata["generation"].as_i64().unwrap())
}

/// Applies a document twice, in a namespace of its own; what is said the second time, and whether the object is another after it.
fn twice(document: &Value, arguments: &[&str]) -> (String, bool) {
    let namespace = Namespace::new("gitops");
    let mut document = document.clone();
    document["metadata"]["namespace"] = json!(namespace.name());
    let text = document.to_string();
    let apply = |more: &[&str]| {
        let arguments = [&["apply", "-f", "-"][..], arguments, more].concat();
        Cluster::shared().kubectl_with(&arguments, &text)
    };
    apply(&[]).printed();
    let before = state(&namespace, &document);
    let said = apply(&[]).printed();
    (said, state(&namespace, &document) != before)
}

#[test]
fn what_is_applied_again_by_whichever_way_changes_nothing_and_is_said_to_change_nothing() {
    let mut documents = documents();
    assert!(documents.len() >= 3, "{documents:?}");
    // Every field of a spec.
    let mut everything = documents[0].1.clone();
    let change = serde_saphyr::from_str(include_str!("admission/everything.yaml")).unwrap();
    merge(&mut everything["spec"], &change);
    documents.push(("everything".to_owned(), everything));
    documents.push(("lists".to_owned(), with_lists()));
    let mut wrong = Vec::new();
    for (name, document) in documents {
        let (said, is_changed) = twice(&document, &[]);
        if !said.trim_end().ends_with("unchanged") || is_changed {
            wrong.push(format!("{name}, client-side: {said}"));
        }
        // Server-side apply calls every object applied; the object tells.
        let (said, is_changed) = twice(&document, &["--server-side"]);
        if is_changed {
            wrong.push(format!("{name}, server-side: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
