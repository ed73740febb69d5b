//! OpenAI evals: samples as JSONL, optionally with the registry entry that defines their scoring, and the items
//! of the later Evals API with its testing criteria.

mod api;
mod registry;

use serde_json::Value;

use super::error::ImportError;
use super::read::{self, Item, extension};
use super::scenario::{Draft, append, empty, set_conversation, settle_prompt};
use super::{Imported, Notes, chat};
use whetstone_domain::scenario::{Expectation, Scenario};
use whetstone_domain::transcript::Message;
use whetstone_domain::words::counted;

pub(super) fn import(files: &[(&str, &str)], notes: &mut Notes) -> Result<Imported, ImportError> {
    let mut entries: Vec<(&str, Value)> = Vec::new();
    let mut evals: Vec<(&str, Value)> = Vec::new();
    let mut samples: Vec<(&str, Vec<(String, Value)>)> = Vec::new();
    for (file, text) in files {
        if matches!(extension(file).as_str(), "yaml" | "yml") {
            entries.push((*file, read::yaml(file, text)?));
            continue;
        }
        let records = read::records(file, text, notes)?;
        match records.as_slice() {
            [(_, only)] if only.get("testing_criteria").is_some() || only.get("data_source").is_some() => {
                evals.push((*file, only.clone()));
            }
            _ => samples.push((*file, records)),
        }
    }
    let registry = registry::read(&entries, notes)?;
    let evaluation = api::Evaluation::read(&evals, notes)?;
    let mut drafts = Vec::new();
    let given = samples.first().map(|(file, _)| *file);
    for (file, document) in &evals {
        match (given, api::items(file, document)) {
            (None, inside) => {
                api::note_stored_items(file, document, notes);
                samples.extend(inside);
            }
            (Some(given), Some((file, inside))) => {
                let detail = format!("those of {given} are imported instead; import the run alone to get its own");
                notes.add(file, format!("{} of the run", counted(inside.len(), "item")), detail);
            }
            (Some(_), None) => {}
        }
    }
    for (file, records) in &samples {
        let grader = registry.of(file, notes);
        let stem = stem(file);
        for (index, (place, record)) in records.iter().enumerate() {
            let sample = Item::new(file, place, record);
            let id = format!("{stem}-{}", index + 1);
            let draft = match sample.get("item") {
                Some(item) => evaluation.scenario(id, &item, notes),
                None => read_sample(id, &sample, grader, notes),
            };
            drafts.extend(notes.keep(draft));
        }
    }
    let (scenarios, prompt) = settle_prompt(drafts, notes);
    Ok(Imported { scenarios, prompt, ..Imported::default() })
}

/// The name of a samples file without directory and extension; `samples` and `data` are named after their directory.
fn stem(file: &str) -> String {
    let mut parts = file.rsplit(['/', '\\']);
    let name = parts.next().unwrap_or(file);
    let name = name.split('.').next().unwrap_or(name);
    match (name, parts.next()) {
        ("samples" | "data", Some(folder)) if !folder.is_empty() && folder != "." => folder.to_owned(),
        _ => name.to_owned(),
    }
}

fn read_sample(
    id: String,
    sample: &Item,
    grader: Option<&registry::Grader>,
    notes: &mut Notes,
) -> Result<Draft, ImportError> {
    let mut scenario = empty(id);
    let input = sample.need("input")?;
    let system = set_input(&mut scenario, &input, notes)?;
    let ideal = ideal(sample)?;
    scenario.expect.answer = reference(&ideal);
    match grader {
        Some(grader) => registry::expect(&mut scenario.expect, grader, sample, &ideal, notes)?,
        None if ideal.is_empty() => {}
        None => notes.add(
            sample.place(),
            "scorer",
            "no registry entry was given: `ideal` becomes the reference answer for the judge. Import the YAML of the eval as well",
        ),
    }
    if ideal.is_empty() && scenario.expect == Expectation::default() {
        notes.add(sample.place(), "sample without `ideal`", "the scenario expects nothing");
    }
    Ok(Draft { scenario, system, place: sample.place() })
}

/// Sets the user's message: a text, or chat messages. Returns the system message. Examples, which the registry has as
/// system messages named `example_user` and `example_assistant`, become turns.
fn set_input(scenario: &mut Scenario, input: &Item, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    if input.value.is_string() {
        scenario.message = Some(input.text()?.to_owned());
        return Ok(None);
    }
    let mut system = None;
    let mut messages = Vec::new();
    for item in input.list().map_err(|error| error.with_fix("make it a string or a list of messages"))? {
        let one = chat::conversation(std::slice::from_ref(&item), |_| false, notes)?;
        let name = item.get("name").map(|name| name.scalar()).transpose()?;
        match (one.system, name.as_deref()) {
            (Some(text), Some("example_user")) => messages.push(Message::User { text }),
            (Some(text), Some("example_assistant")) => {
                messages.push(Message::said(text));
            }
            (Some(text), _) => append(&mut system, &text),
            (None, _) => messages.extend(one.messages),
        }
    }
    let mut turns = chat::scripted(messages, &input.place(), notes);
    if !turns.iter().any(|turn| turn.user.is_some()) {
        // Many samples have the question in the system message.
        let text = system.take().ok_or_else(|| input.error("has no message", "add one with the role user"))?;
        turns.push(whetstone_domain::scenario::ScriptedTurn { user: Some(text), assistant: None });
    }
    set_conversation(scenario, turns);
    Ok(system)
}

/// The ideal answers, any of which is acceptable.
fn ideal(sample: &Item) -> Result<Vec<String>, ImportError> {
    let Some(ideal) = sample.get("ideal") else { return Ok(Vec::new()) };
    ideal
        .one_or_many()
        .iter()
        .map(|item| if item.value.is_object() { Ok(item.value.to_string()) } else { item.scalar() })
        .collect()
}

fn reference(ideal: &[String]) -> Option<String> {
    match ideal {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("Any one of these:\n- {}", many.join("\n- "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::fixture::{error, imported};
    use super::super::scenario::{contains, matches, satisfies};

    #[test]
    fn samples_are_scored_as_the_registry_says() {
        let names = ["openai-evals/registry.yaml", "openai-evals/capitals/samples.jsonl", "openai-evals/manners.jsonl"];
        let imported = imported(Format::OpenAiEvals, &names);
        insta::assert_yaml_snapshot!(imported.scenarios);
        assert_eq!(imported.prompt.as_deref(), Some("Answer with the city only."));
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn without_a_registry_the_ideal_answer_is_for_the_judge() {
        let imported = imported(Format::OpenAiEvals, &["openai-evals/capitals/samples.jsonl"]);
        assert_eq!(imported.scenarios[0].expect.answer.as_deref(), Some("Paris"));
        assert_eq!(imported.scenarios[0].expect.checks, []);
        assert!(imported.summary().contains("no registry entry was given"), "{}", imported.summary());
    }

    #[test]
    fn every_class_of_the_basic_ones_has_its_check() {
        let check = |class: &str, ideal: &str| {
            let registry = format!("e:\n  class: evals.elsuite.basic.x:{class}\n  args: {{samples_jsonl: s.jsonl}}\n");
            let sample = format!(r#"{{"input": "q", "ideal": {ideal}}}"#);
            let imported =
                super::super::import(Format::OpenAiEvals, &[("r.yaml", &registry), ("s.jsonl", &sample)]).unwrap();
            imported.scenarios[0].expect.checks.clone()
        };
        assert_eq!(check("Match", r#"["a.", "b"]"#), [matches(r"^(?:a\.|b)")]);
        assert_eq!(check("Includes", r#""Yes""#), [matches("Yes")]);
        assert_eq!(check("FuzzyMatch", r#""Yes""#), [contains("Yes")]);
        let schema = serde_json::json!({"enum": [{"a": 1}]});
        assert_eq!(check("JsonMatch", r#"{"a": 1}"#), [satisfies(schema.as_object().unwrap().clone())]);
        assert_eq!(check("JsonValidator", r#""""#), [satisfies(serde_json::Map::new())]);
        assert_eq!(check("Translate", r#""x""#), []);
    }

    #[test]
    fn items_of_the_evals_api_are_put_into_its_template() {
        let imported = imported(Format::OpenAiEvals, &["openai-evals/items.jsonl", "openai-evals/eval.json"]);
        insta::assert_yaml_snapshot!(imported.scenarios);
        assert_eq!(imported.prompt.as_deref(), Some("Route tickets."));
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn a_run_as_the_api_returns_it_has_its_items_inside() {
        let imported = imported(Format::OpenAiEvals, &["openai-evals/run.json"]);
        insta::assert_yaml_snapshot!(imported.scenarios);
        assert_eq!(imported.prompt.as_deref(), Some("Categorize the ticket."));
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn items_beside_a_run_are_imported_and_its_own_are_named() {
        let imported = imported(Format::OpenAiEvals, &["openai-evals/items.jsonl", "openai-evals/run.json"]);
        assert!(imported.scenarios.iter().all(|scenario| scenario.id.as_str().starts_with("items-")));
        let summary = imported.summary();
        assert!(
            summary.contains("3 items of the run") && summary.contains("items.jsonl are imported instead"),
            "{summary}"
        );
    }

    #[test]
    fn one_odd_item_does_not_refuse_the_others() {
        let text =
            "{\"item\": {\"question\": \"a\"}}\n{\"item\": {\"colour\": \"red\"}}\n{\"item\": 7}\n{\"input\": \"b\"}\n";
        let imported = super::super::import(Format::OpenAiEvals, &[("s.jsonl", text)]).unwrap();
        assert_eq!(imported.scenarios.len(), 2, "{}", imported.summary());
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn different_system_messages_stay_with_their_scenario() {
        let line = |system: &str| {
            format!(
                r#"{{"input": [{{"role": "system", "content": "{system}"}}, {{"role": "user", "content": "Hi"}}]}}"#
            )
        };
        let text = format!("{}\n{}\n", line("Be kind."), line("Be brief."));
        let imported = super::super::import(Format::OpenAiEvals, &[("s.jsonl", &text)]).unwrap();
        assert_eq!(imported.prompt, None);
        assert_eq!(imported.scenarios[1].message.as_deref(), Some("Be brief.\n\nHi"));
    }

    #[test]
    fn malformed_samples_are_refused_with_their_place() {
        let mut errors = Vec::new();
        let refused = |text: &str| error(Format::OpenAiEvals, "s.jsonl", text).to_string();
        errors.push(refused(r#"{"ideal": "x"}"#));
        errors.push(refused(r#"{"input": [{"content": "x"}]}"#));
        errors.push(refused(r#"{"input": "x", "ideal": [null]}"#));
        errors.push(refused(r#"{"item": {"colour": "red"}}"#));
        errors.push(refused("input: x"));
        let registry = ("r.yaml", "e:\n  class: evals.elsuite.basic.match:Match\n  args: {samples_jsonl: s.jsonl}\n");
        let sample = ("s.jsonl", r#"{"input": "q"}"#);
        let without = super::super::import(Format::OpenAiEvals, &[registry, sample]).unwrap_err();
        errors.push(without.to_string());
        let registry = super::super::import(Format::OpenAiEvals, &[("r.yaml", "- a\n"), sample]).unwrap_err();
        errors.push(registry.to_string());
        insta::assert_snapshot!(errors.join("\n"));
    }
}
