//! Datasets of tracing platforms and of DeepEval: an input, what is expected, and metadata.
//!
//! None of the files defines how answers are scored, so the expected output becomes the reference answer for the judge.

mod content;

use serde_json::Value;

use self::content::{expected, say};
use super::error::ImportError;
use super::read::{self, Item};
use super::scenario::{Draft, append, empty, settle_prompt};
use super::{Format, Imported, Notes, metadata};
use whetstone_domain::scenario::{ExpectedCall, Scenario, SimulatedUser};

/// The fields with the records, in responses of APIs and files of SDKs.
pub(super) const LISTS: [&str; 9] = [
    "data",
    "events",
    "examples",
    "items",
    "records",
    "rows",
    "goldens",
    "conversational_goldens",
    "conversationalGoldens",
];

/// The fields of a record. Each list has the names in the versions and languages of the tool.
struct Fields {
    input: &'static [&'static str],
    expected: &'static [&'static str],
    metadata: &'static [&'static str],
    /// Fields for bookkeeping of the tool, which are ignored.
    books: &'static [&'static str],
    /// Additional fields that are read here.
    others: &'static [&'static str],
}

const LANGFUSE: Fields = Fields {
    input: &["input"],
    expected: &["expectedOutput", "expected_output"],
    metadata: &["metadata"],
    books: &[
        "id",
        "datasetId",
        "dataset_id",
        "datasetName",
        "dataset_name",
        "projectId",
        "sourceTraceId",
        "source_trace_id",
        "sourceObservationId",
        "source_observation_id",
        "createdAt",
        "created_at",
        "updatedAt",
        "updated_at",
        "validFrom",
    ],
    others: &["status"],
};

const LANG_SMITH: Fields = Fields {
    input: &["inputs"],
    expected: &["outputs"],
    metadata: &["metadata"],
    books: &["id", "dataset_id", "created_at", "modified_at", "name", "source_run_id", "runs"],
    others: &["split"],
};

const BRAINTRUST: Fields = Fields {
    input: &["input"],
    expected: &["expected"],
    metadata: &["metadata"],
    books: &[
        "id",
        "_xact_id",
        "_pagination_key",
        "created",
        "dataset_id",
        "project_id",
        "experiment_id",
        "log_id",
        "org_id",
        "span_id",
        "root_span_id",
        "span_parents",
        "span_attributes",
        "origin",
        "is_root",
        "audit_data",
    ],
    others: &["tags"],
};

const DEEP_EVAL: Fields = Fields {
    input: &["input"],
    expected: &["expected_output", "expectedOutput"],
    metadata: &["additional_metadata", "additionalMetadata"],
    books: &["id", "_dataset_rank", "_dataset_alias", "_dataset_id", "source_file", "sourceFile"],
    others: &[
        "name",
        "scenario",
        "expected_outcome",
        "expectedOutcome",
        "user_description",
        "userDescription",
        "expected_tools",
        "expectedTools",
    ],
};

pub(super) fn import(format: Format, files: &[(&str, &str)], notes: &mut Notes) -> Result<Imported, ImportError> {
    let fields = match format {
        Format::LangSmith => &LANG_SMITH,
        Format::Braintrust => &BRAINTRUST,
        Format::DeepEval => &DEEP_EVAL,
        _ => &LANGFUSE,
    };
    let mut drafts = Vec::new();
    for (file, text) in files {
        let mut records = match read::extension(file).as_str() {
            "csv" | "tsv" => read::csv(file, text, notes)?,
            _ => read::records(file, text, notes)?,
        };
        if let [(_, only)] = records.as_slice()
            && let Some(lists) = lists(only)
        {
            records = lists;
        }
        let stem = read::base(file).split('.').next().unwrap_or("record");
        for (index, (place, record)) in records.iter().enumerate() {
            let item = Item::new(file, place, record);
            let read = read_record(&item, format!("{stem}-{}", index + 1), fields, notes);
            drafts.extend(notes.keep(read).flatten());
        }
    }
    if let Some(draft) = drafts.iter().find(|draft| draft.scenario.expect.answer.is_some()) {
        notes.add(
            draft.place.clone(),
            "scorer",
            "not named in the file, so the expected output becomes the reference answer for the judge; add `checks` for exact answers",
        );
    }
    let (scenarios, prompt) = settle_prompt(drafts, notes);
    Ok(Imported { scenarios, prompt, ..Imported::default() })
}

/// The records of a document, under one of the known names.
fn lists(document: &Value) -> Option<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for key in LISTS {
        let Some(items) = document.get(key).and_then(Value::as_array) else { continue };
        all.extend(items.iter().enumerate().map(|(index, item)| (format!("{key}[{index}]"), item.clone())));
    }
    (!all.is_empty()).then_some(all)
}

/// A record as a scenario; none if it was archived.
fn read_record(record: &Item, id: String, fields: &Fields, notes: &mut Notes) -> Result<Option<Draft>, ImportError> {
    record.object()?;
    if field(record, &["status"]).is_some_and(|status| status.value == "ARCHIVED") {
        notes.add(record.place(), "archived item", "it was left out");
        return Ok(None);
    }
    let id = match field(record, &["id"]).or_else(|| field(record, &["name"])) {
        Some(given) => given.scalar()?,
        None => id,
    };
    let mut scenario = empty(id);
    let known: Vec<&str> = [fields.input, fields.expected, fields.metadata, fields.books, fields.others].concat();
    record.note_others(&known, notes);
    let played = fields.others.contains(&"scenario").then(|| field(record, &["scenario"])).flatten();
    let system = if let Some(played) = played {
        play(&mut scenario, &played, record)?;
        None
    } else {
        let input = field(record, fields.input).ok_or_else(|| {
            let name = fields.input[0];
            record.error(format!("has no {name:?}"), format!("add {name:?}, or set another --format"))
        })?;
        let value = read::cell(input.value);
        say(&mut scenario, &input.holding(&value), notes)?
    };
    if let Some(item) = field(record, fields.expected) {
        let value = read::cell(item.value);
        expected(&mut scenario.expect, &item.holding(&value), notes);
    }
    expected_tools(&mut scenario, record, notes)?;
    scenario.tags = tags(record, fields, notes)?;
    Ok(Some(Draft { scenario, system, place: record.place() }))
}

/// A field under one of its names, unless it is an empty cell.
fn field<'a>(record: &Item<'a>, names: &[&str]) -> Option<Item<'a>> {
    names.iter().find_map(|name| record.get(name)).filter(|item| item.value.as_str() != Some(""))
}

/// A conversation of DeepEval, with a simulated user.
fn play(scenario: &mut Scenario, played: &Item, record: &Item) -> Result<(), ImportError> {
    let mut instructions = Some(played.text()?.to_owned());
    if let Some(user) = field(record, &["user_description", "userDescription"]) {
        append(&mut instructions, &format!("Who you are:\n{}", user.text()?));
    }
    scenario.simulated_user =
        instructions.map(|instructions| SimulatedUser { instructions, opening: None, max_turns: None });
    if let Some(outcome) = field(record, &["expected_outcome", "expectedOutcome"]) {
        append(&mut scenario.expect.rubric, &format!("At the end: {}", outcome.text()?));
    }
    Ok(())
}

/// The tools that DeepEval expects to be called: objects with a name, or names in a cell, separated by semicolons.
fn expected_tools(scenario: &mut Scenario, record: &Item, notes: &mut Notes) -> Result<(), ImportError> {
    let Some(tools) = field(record, &["expected_tools", "expectedTools"]) else { return Ok(()) };
    let parsed = read::cell(tools.value);
    let tools = tools.holding(&parsed);
    if let Some(names) = tools.value.as_str() {
        let names = names.split(';').map(str::trim).filter(|name| !name.is_empty());
        scenario.expect.calls.extend(names.map(call));
        return Ok(());
    }
    for tool in tools.list()? {
        if let Some(name) = tool.value.as_str() {
            scenario.expect.calls.push(call(name));
            continue;
        }
        scenario.expect.calls.push(call(tool.need("name")?.text()?));
        for key in ["input_parameters", "inputParameters", "output"] {
            if let Some(found) = tool.get(key) {
                notes.add(
                    found.place(),
                    format!("`{key}` of an expected tool"),
                    "only the call itself is expected; add `arguments` to it, or a mock",
                );
            }
        }
    }
    Ok(())
}

fn call(name: &str) -> ExpectedCall {
    ExpectedCall { tool: name.into(), arguments: None, matching: None }
}

/// Tags, kinds in the metadata, and the part of the dataset.
fn tags(record: &Item, fields: &Fields, notes: &mut Notes) -> Result<Vec<String>, ImportError> {
    let mut tags = Vec::new();
    if fields.others.contains(&"tags")
        && let Some(item) = field(record, &["tags"])
    {
        let value = read::cell(item.value);
        for tag in item.holding(&value).one_or_many() {
            tags.push(tag.scalar()?);
        }
    }
    let mut splits = Vec::new();
    if fields.others.contains(&"split")
        && let Some(item) = field(record, &["split"])
    {
        splits.push(item.value.clone());
    }
    if let Some(item) = field(record, fields.metadata) {
        let mut value = read::cell(item.value);
        if let Some(object) = value.as_object_mut() {
            splits.extend(object.shift_remove("dataset_split"));
        }
        // Metadata may be any value; only an object has names.
        if value.is_object() {
            tags.extend(metadata::tags(&item.holding(&value), notes)?);
        } else {
            notes.add(item.place(), "metadata that is not an object", "it has no keys, so it makes no tags");
        }
    }
    for split in splits {
        let names = split.as_array().map_or_else(|| vec![&split], |list| list.iter().collect());
        // Every example is in `base`, so it is not informative.
        let names = names.into_iter().filter_map(read::scalar).filter(|name| name != "base");
        tags.extend(names.map(|name| format!("split:{name}")));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{error, imported};
    use super::super::{Imported, import};
    use super::*;

    fn of(format: Format, name: &str, text: &str) -> Imported {
        import(format, &[(name, text)]).expect("the dataset is well-formed")
    }

    #[test]
    fn every_dataset_becomes_scenarios() {
        for (format, file) in [
            (Format::Langfuse, "langfuse/items.json"),
            (Format::LangSmith, "langsmith/examples.jsonl"),
            (Format::Braintrust, "braintrust/dataset.jsonl"),
            (Format::DeepEval, "deepeval/goldens.json"),
        ] {
            let imported = imported(format, &[file]);
            insta::with_settings!({snapshot_suffix => format.as_str()}, {
                insta::assert_yaml_snapshot!(imported.scenarios);
                insta::assert_snapshot!("summary", imported.summary());
            });
        }
    }

    #[test]
    fn what_is_archived_is_left_out_and_noted() {
        let text = r#"[{"id": "a", "input": "Hi", "expectedOutput": "Hello", "status": "ACTIVE"},
                       {"id": "b", "input": "Ho", "expectedOutput": null, "status": "ARCHIVED"}]"#;
        let imported = of(Format::Langfuse, "d.json", text);
        assert_eq!(imported.scenarios.len(), 1);
        assert!(imported.notes.iter().any(|note| note.what == "archived item"), "{:?}", imported.notes);
    }

    #[test]
    fn a_table_has_json_in_its_cells() {
        let text = "id,input,expectedOutput,metadata,status\n\
                    1,\"\"\"Hi\"\"\",\"{\"\"answer\"\": \"\"Hello\"\"}\",\"{\"\"topic\"\": \"\"greetings\"\"}\",ACTIVE\n2,Plain,,,ACTIVE\n";
        let imported = of(Format::Langfuse, "d.csv", text);
        assert_eq!(imported.scenarios[0].message.as_deref(), Some("Hi"));
        assert_eq!(imported.scenarios[0].expect.answer.as_deref(), Some("Hello"));
        assert_eq!(imported.scenarios[0].tags, ["greetings"]);
        assert_eq!(imported.scenarios[1].message.as_deref(), Some("Plain"));
        let tools = of(Format::DeepEval, "d.csv", "input,expected_output,expected_tools\nHi,Hello,find; refund\n");
        let calls: Vec<&str> = tools.scenarios[0].expect.calls.iter().map(|call| call.tool.as_str()).collect();
        assert_eq!(calls, ["find", "refund"]);
        assert_eq!(tools.tools.len(), 2);
    }

    #[test]
    fn one_odd_record_does_not_refuse_the_others() {
        let text =
            "{\"input\": \"a\", \"expected\": \"b\"}\n{\"input\": {\"x\": []}}\n7\n{\"question\": \"c\"}\nnot json\n";
        let imported = of(Format::Braintrust, "d.jsonl", text);
        assert_eq!(imported.scenarios.len(), 1, "{}", imported.summary());
        let left_out = imported.notes.iter().filter(|note| note.what == super::super::note::LEFT_OUT).count();
        assert_eq!(left_out, 4, "{}", imported.summary());
    }

    #[test]
    fn malformed_datasets_are_refused_with_their_place() {
        let errors = [
            (Format::Langfuse, "d.json", r#"[{"question": "a"}]"#),
            (Format::LangSmith, "d.jsonl", r#"{"inputs": {}, "outputs": {}}"#),
            (Format::Braintrust, "d.jsonl", "{"),
            (Format::DeepEval, "d.json", r#"{"goldens": []}"#),
            (Format::DeepEval, "d.json", r#"[{"scenario": 1}]"#),
        ]
        .map(|(format, name, text)| error(format, name, text).to_string());
        insta::assert_snapshot!(errors.join("\n"));
    }
}
