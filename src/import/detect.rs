//! Detects the format of a file by its content.
//!
//! No format is detected by a single field, because many tools have a field like `input`. A record belongs to a tool if it has two
//! of its fields, and none that only another tool has.

use serde_json::Value;

use super::note::Notes;
use super::{Format, ImportError, inspect, promptfoo, read};

/// The number of records of a file that are inspected.
const RECORDS: usize = 20;

/// The format of a file, by its name and text; `None` if it has none of them, or only accompanies other files (a policy,
/// a split, a prompt).
#[must_use]
pub(crate) fn detect(file: &str, text: &str) -> Option<Format> {
    let mut ignored = Notes::default();
    match read::extension(file).as_str() {
        "csv" | "tsv" => of_header(text),
        "yaml" | "yml" => of_document(&read::yaml(file, text).ok()?),
        "md" | "txt" => None,
        _ => {
            let records = read::records(file, text, &mut ignored).ok()?;
            records.iter().take(RECORDS).find_map(|(_, record)| of_document(record))
        }
    }
}

/// The syntax error of a file that should contain data; a text that only accompanies other files has none.
#[must_use]
pub(crate) fn fault(file: &str, text: &str) -> Option<ImportError> {
    match read::extension(file).as_str() {
        "yaml" | "yml" => read::yaml(file, text).err(),
        "json" | "jsonl" | "ndjson" => {
            let mut notes = Notes::default();
            let read = read::records(file, text, &mut notes);
            read.err().or_else(|| notes.finish().1)
        }
        _ => None,
    }
}

fn of_header(text: &str) -> Option<Format> {
    let delimiter = char::from(read::delimiter(text));
    let header = text.trim_start_matches('\u{feff}').lines().next()?;
    let columns = header.split(delimiter).map(|column| column.trim().trim_matches('"').to_owned());
    let columns: serde_json::Map<String, Value> = columns.map(|column| (column, Value::from("x"))).collect();
    if columns.keys().any(|column| column.starts_with("__expected")) {
        return Some(Format::Promptfoo);
    }
    of_record(&Value::Object(columns)).filter(|format| *format != Format::Promptfoo)
}

/// Detects the format by the fields of a record.
fn of_record(record: &Value) -> Option<Format> {
    let fields = record.as_object()?;
    let has = |key: &str| fields.contains_key(key);
    let any = |keys: &[&str]| keys.iter().any(|key| has(key));
    let only = |keys: &[&str]| fields.keys().all(|key| keys.contains(&key.as_str()));
    let is_object = |key: &str| fields.get(key).is_some_and(Value::is_object);
    if has("traj") && has("task_id") {
        Some(Format::TauBench)
    } else if has("user_scenario") && has("id") || has("tasks") && has("simulations") {
        Some(Format::Tau2)
    } else if has("eval") && any(&["samples", "version", "status"]) {
        Some(Format::Inspect)
    } else if is_object("item") && only(&["item", "sample"]) || has("input") && any(&["ideal", "criteria"]) {
        Some(Format::OpenAiEvals)
    } else if any(&["vars", "assert"]) && only(&promptfoo::TEST_FIELDS) {
        Some(Format::Promptfoo)
    } else if has("input") && (has("expectedOutput") || has("status") && any(&["datasetId", "datasetName"])) {
        // DeepEval uses that name too, together with its own names.
        let of_deep_eval = any(&["actualOutput", "retrievalContext", "additionalMetadata", "expectedTools"]);
        Some(if of_deep_eval { Format::DeepEval } else { Format::Langfuse })
    } else if is_object("inputs") && any(&["outputs", "dataset_id", "metadata"]) {
        Some(Format::LangSmith)
    } else if has("input") && any(&["expected_output", "retrieval_context", "expected_tools"])
        || has("scenario") && any(&["expected_outcome", "user_description"])
    {
        Some(Format::DeepEval)
    } else if has("input") && has("expected") {
        Some(Format::Braintrust)
    } else if has("input") && any(&["target", "choices"]) && only(&inspect::SAMPLE_FIELDS) {
        Some(Format::Inspect)
    } else {
        None
    }
}

/// Detects the format of a document: a configuration, a list of records, or a response of an API with such a list.
fn of_document(document: &Value) -> Option<Format> {
    if let Some(items) = document.as_array() {
        return items.iter().take(RECORDS).find_map(of_record);
    }
    let fields = document.as_object()?;
    let has = |key: &str| fields.contains_key(key);
    if promptfoo::is_config(document) || promptfoo::is_results(document) {
        return Some(Format::Promptfoo);
    }
    if has("testing_criteria") && (has("data_source") || has("data_source_config") || has("object"))
        || document.pointer("/data_source/input_messages").is_some()
    {
        return Some(Format::OpenAiEvals);
    }
    let is_eval =
        |entry: &Value| entry.get("class").and_then(Value::as_str).is_some_and(|class| class.starts_with("evals."));
    if fields.values().any(is_eval) {
        return Some(Format::OpenAiEvals);
    }
    of_record(document).or_else(|| {
        let lists = super::datasets::LISTS.iter().filter_map(|key| fields.get(*key)?.as_array());
        lists.flat_map(|items| items.iter().take(RECORDS)).find_map(of_record)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FIXTURES, files};
    use super::*;

    #[test]
    fn every_format_is_detected_by_its_content() {
        for (format, names) in FIXTURES {
            let files = files(names);
            let found: Vec<Option<Format>> = files.iter().map(|(name, text)| detect(name, text)).collect();
            assert!(found.contains(&Some(format)), "{names:?}: {found:?}");
            assert!(found.iter().flatten().all(|other| *other == format), "{names:?}: {found:?}");
        }
        for name in ["promptfoo/prompts/chat.json", "tau2/policy.md", "tau2/split_tasks.json"] {
            assert_eq!(detect(name, &files(&[name])[0].1), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_format_is_none() {
        for (name, text) in [
            ("a.json", "{"),
            ("a.yaml", "a: ["),
            ("a.txt", "hello"),
            ("a.csv", "x,y"),
            ("a.json", ""),
            ("a.yaml", "scenarios: [a]"),
            ("a.md", "prompts: [a]\ntests: []"),
        ] {
            assert_eq!(detect(name, text), None, "{name}: {text}");
        }
    }

    #[test]
    fn no_format_is_detected_by_one_field() {
        let fields = [
            "input", "inputs", "output", "expected", "target", "ideal", "vars", "prompts", "tests", "eval", "samples",
            "scenario", "messages", "item", "data", "class", "assert", "metadata", "status",
        ];
        for field in fields {
            let text = serde_json::json!([{field: "x", "id": "1"}]).to_string();
            assert_eq!(detect("a.json", &text), None, "{field}");
            assert_eq!(detect("a.csv", &format!("{field},id\nx,1\n")), None, "{field}");
        }
    }

    #[test]
    fn a_table_is_detected_by_its_header_with_any_separator() {
        assert_eq!(detect("a.csv", "question;__expected\n"), Some(Format::Promptfoo));
        assert_eq!(detect("a.csv", "input,expected_output,source\n"), Some(Format::DeepEval));
        assert_eq!(detect("a.csv", "id,input,expectedOutput,status\n"), Some(Format::Langfuse));
        assert_eq!(detect("a.csv", "input,target\n"), Some(Format::Inspect));
    }
}
