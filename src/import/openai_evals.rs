//! OpenAI evals: samples as JSONL, with the registry entry that says how they are scored if it is given, and the items
//! of the later Evals API with its testing criteria.

mod api;
mod registry;

use serde_json::Value;

use super::error::ImportError;
use super::read::{self, Item, extension};
use super::scenario::{Draft, append, empty, set_conversation, settle_prompt};
use super::{Imported, Notes, chat};
use crate::domain::scenario::{Expectation, Scenario};
use crate::domain::transcript::Message;

pub(super) fn import(files: &[(&str, &str)]) -> Result<Imported, ImportError> {
    let mut entries: Vec<(&str, Value)> = Vec::new();
    let mut evals: Vec<(&str, Value)> = Vec::new();
    let mut samples: Vec<(&str, Vec<(String, Value)>)> = Vec::new();
    for (file, text) in files {
        if matches!(extension(file).as_str(), "yaml" | "yml") {
            entries.push((*file, read::yaml(file, text)?));
            continue;
        }
        let records = read::records(file, text)?;
        match records.as_slice() {
            [(_, only)] if only.get("testing_criteria").is_some() || only.get("data_source").is_some() => {
                evals.push((*file, only.clone()));
            }
            _ => samples.push((*file, records)),
        }
    }
    let mut notes = Notes::default();
    let registry = registry::read(&entries, &mut notes)?;
    let evaluation = api::Evaluation::read(&evals)?;
    let mut drafts = Vec::new();
    for (file, records) in &samples {
        let grader = registry.of(file, &mut notes);
        let stem = stem(file);
        for (index, (place, record)) in records.iter().enumerate() {
            let sample = Item::new(file, place, record);
            let id = format!("{stem}-{}", index + 1);
            drafts.push(match sample.get("item") {
                Some(item) => evaluation.scenario(id, &item, &mut notes)?,
                None => read_sample(id, &sample, grader, &mut notes)?,
            });
        }
    }
    let (scenarios, prompt) = settle_prompt(drafts, &mut notes);
    Ok(Imported { scenarios, prompt, notes: notes.0, ..Imported::default() })
}

/// The name of a samples file without its folder and ending; `samples` and `data` are named for their folder.
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
            "no registry entry was given: `ideal` is the reference answer for the judge. Give the YAML of the eval too",
        ),
    }
    if ideal.is_empty() && scenario.expect == Expectation::default() {
        notes.add(sample.place(), "sample without `ideal`", "the scenario expects nothing");
    }
    Ok(Draft { scenario, system, place: sample.place() })
}

/// What the user says: a text, or chat messages. Returns the system message. Examples, which the registry writes as
/// system messages named `example_user` and `example_assistant`, become turns.
fn set_input(scenario: &mut Scenario, input: &Item, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    if input.value.is_string() {
        scenario.message = Some(input.text()?.to_owned());
        return Ok(None);
    }
    let mut system = None;
    let mut messages = Vec::new();
    for item in input.list()? {
        let one = chat::conversation(std::slice::from_ref(&item), |_| false, notes)?;
        let name = item.get("name").map(|name| name.scalar()).transpose()?;
        match (one.system, name.as_deref()) {
            (Some(text), Some("example_user")) => messages.push(Message::User { text }),
            (Some(text), Some("example_assistant")) => {
                messages.push(Message::Assistant { text, calls: Vec::new() });
            }
            (Some(text), _) => append(&mut system, &text),
            (None, _) => messages.extend(one.messages),
        }
    }
    let mut turns = chat::scripted(messages, &input.place(), notes);
    if !turns.iter().any(|turn| turn.user.is_some()) {
        // Many samples put the question into the system message.
        let text = system.take().ok_or_else(|| input.error("has no message", "add one with the role user"))?;
        turns.push(crate::domain::scenario::ScriptedTurn { user: Some(text), assistant: None });
    }
    set_conversation(scenario, turns);
    Ok(system)
}

/// The ideal answers, of which any will do.
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
