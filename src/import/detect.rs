//! Which format a file has, told by its content.

use serde_json::Value;

use super::{Format, ImportError, read};

/// The format of a file, by its name and text; `None` if it is none of them, or only goes along with one (a policy,
/// a split, a prompt).
#[must_use]
pub fn detect(file: &str, text: &str) -> Option<Format> {
    match read::extension(file).as_str() {
        "csv" => of_header(text),
        "yaml" | "yml" => of_document(&read::yaml(file, text).ok()?),
        _ => {
            let records = read::records(file, text).ok()?;
            let (_, first) = records.first()?;
            of_record(first).or_else(|| of_document(first))
        }
    }
}

/// Why a file that should have data in it cannot be read; a text that only goes along with others is never wrong.
#[must_use]
pub fn fault(file: &str, text: &str) -> Option<ImportError> {
    match read::extension(file).as_str() {
        "yaml" | "yml" => read::yaml(file, text).err(),
        "json" | "jsonl" | "ndjson" => read::records(file, text).err(),
        _ => None,
    }
}

fn of_header(text: &str) -> Option<Format> {
    let header = text.trim_start_matches('\u{feff}').lines().next()?;
    let columns: Vec<&str> = header.split(',').map(|column| column.trim().trim_matches('"')).collect();
    if columns.iter().any(|column| column.starts_with("__expected")) {
        return Some(Format::Promptfoo);
    }
    columns.contains(&"input").then_some(Format::Inspect)
}

/// By what one record of a list has.
fn of_record(record: &Value) -> Option<Format> {
    let has = |key: &str| record.get(key).is_some();
    if has("traj") && has("task_id") {
        Some(Format::TauBench)
    } else if has("user_scenario") || (has("tasks") && has("simulations")) {
        Some(Format::Tau2)
    } else if has("samples") && has("eval") {
        Some(Format::Inspect)
    } else if has("item") || (has("input") && has("ideal")) {
        Some(Format::OpenAiEvals)
    } else if has("vars") || has("assert") {
        Some(Format::Promptfoo)
    } else if has("input") {
        Some(Format::Inspect)
    } else {
        None
    }
}

/// By what a configuration has.
fn of_document(document: &Value) -> Option<Format> {
    if let Some(first) = document.as_array().and_then(|items| items.first()) {
        return of_record(first);
    }
    let has = |key: &str| document.get(key).is_some();
    if has("prompts") || has("tests") || has("scenarios") && has("providers") {
        return Some(Format::Promptfoo);
    }
    if has("testing_criteria") {
        return Some(Format::OpenAiEvals);
    }
    let entries = document.as_object()?;
    let is_eval =
        |entry: &Value| entry.get("class").and_then(Value::as_str).is_some_and(|class| class.starts_with("evals."));
    entries.values().any(is_eval).then_some(Format::OpenAiEvals)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::files;
    use super::*;

    #[test]
    fn every_format_is_told_by_its_content() {
        for (name, format) in [
            ("promptfoo/promptfooconfig.yaml", Some(Format::Promptfoo)),
            ("promptfoo/tests/more.csv", Some(Format::Promptfoo)),
            ("promptfoo/prompts/chat.json", None),
            ("inspect/dataset.jsonl", Some(Format::Inspect)),
            ("inspect/dataset.csv", Some(Format::Inspect)),
            ("inspect/log.json", Some(Format::Inspect)),
            ("openai-evals/registry.yaml", Some(Format::OpenAiEvals)),
            ("openai-evals/capitals/samples.jsonl", Some(Format::OpenAiEvals)),
            ("openai-evals/items.jsonl", Some(Format::OpenAiEvals)),
            ("openai-evals/eval.json", Some(Format::OpenAiEvals)),
            ("tau-bench/results.json", Some(Format::TauBench)),
            ("tau2/tasks.json", Some(Format::Tau2)),
            ("tau2/results.json", Some(Format::Tau2)),
            ("tau2/policy.md", None),
            ("tau2/split_tasks.json", None),
        ] {
            assert_eq!(detect(name, &files(&[name])[0].1), format, "{name}");
        }
    }

    #[test]
    fn what_is_no_format_is_none() {
        for (name, text) in [("a.json", "{"), ("a.yaml", "a: ["), ("a.txt", "hello"), ("a.csv", "x,y"), ("a.json", "")]
        {
            assert_eq!(detect(name, text), None, "{name}: {text}");
        }
    }
}
