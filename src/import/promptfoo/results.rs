//! Results files, which contain their configuration.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::error::ImportError;
use super::super::read::base;
use super::Reading;

/// Whether a document is an output of `promptfoo eval --output` or `promptfoo export`.
pub(in super::super) fn is_results(document: &Value) -> bool {
    let results = document.get("results").is_some_and(|results| results.is_object() || results.is_array());
    results && (document.get("config").is_some_and(Value::is_object) || !runs(document).is_empty())
}

/// The runs in a results file, each with its test.
fn runs(document: &Value) -> Vec<&Value> {
    let results = document.get("results");
    let list = results.and_then(|results| results.get("results").unwrap_or(results).as_array());
    list.into_iter().flatten().filter(|run| run.get("testCase").is_some() || run.get("vars").is_some()).collect()
}

/// The configuration in a results file; none if the document is not one. Tests and prompts from separate files are taken from the
/// runs.
pub(super) fn config(file: &str, document: &Value, reading: &mut Reading) -> Result<Option<Value>, ImportError> {
    if !is_results(document) {
        return Ok(None);
    }
    let mut config = document.get("config").filter(|config| config.is_object()).cloned().unwrap_or_else(|| json!({}));
    let runs = runs(document);
    if !runs.is_empty() {
        reading.notes.add(
            base(file),
            "recorded results",
            "the tests were imported without the recorded answers; run the agent again",
        );
    }
    if !has_all(&config, "tests", reading) && config.get("scenarios").is_none() {
        // In the order of the tests; each was run with every prompt and provider.
        let mut tests: BTreeMap<u64, Value> = BTreeMap::new();
        for (index, run) in runs.iter().enumerate() {
            let at = run.get("testIdx").and_then(Value::as_u64).unwrap_or(index as u64);
            let test = run.get("testCase").cloned().unwrap_or_else(|| json!({"vars": run.get("vars")}));
            tests.entry(at).or_insert(test);
        }
        if tests.is_empty() {
            return Err(ImportError::of_file(
                file,
                "is a results file without its tests",
                "import the configuration and its test files instead",
            ));
        }
        config["tests"] = tests.into_values().collect();
        // It is merged into every test already.
        config["defaultTest"] = Value::Null;
    }
    if !has_all(&config, "prompts", reading) {
        let ran = ["/results/prompts", "/results/table/head/prompts", "/prompts"];
        let prompts = ran.iter().find_map(|pointer| document.pointer(pointer)?.as_array());
        let raw: Vec<&Value> = prompts.into_iter().flatten().filter_map(|prompt| prompt.get("raw")).collect();
        if let Some(first) = raw.first() {
            // One prompt for each provider.
            let others = raw[1..].iter().filter(|raw| *raw != first);
            config["prompts"] = std::iter::once(first).chain(others).map(|raw| json!({"raw": raw})).collect();
        }
    }
    Ok(Some(config))
}

/// Whether a field of the configuration exists, and all files that it references were passed.
fn has_all(config: &Value, field: &str, reading: &Reading) -> bool {
    let Some(value) = config.get(field).filter(|value| !value.is_null()) else { return false };
    let entries = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
    let missing = |entry: &&Value| {
        let name = entry.as_str().or_else(|| entry.get("path").or_else(|| entry.get("id"))?.as_str());
        name.is_some_and(|name| {
            (name.starts_with("file://") || field == "tests") && reading.resources.find(name).is_empty()
        })
    };
    !entries.is_empty() && !entries.iter().any(missing)
}
