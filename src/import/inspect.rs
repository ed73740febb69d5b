//! Inspect (`inspect_ai`): datasets of samples, and evaluation logs.
//!
//! A dataset does not define how answers are scored, so a target becomes the reference answer for the judge. A log
//! names its scorers, and contains the runs of the agent.

mod log;
mod scorers;

use serde_json::Value;

use super::error::ImportError;
use super::read::{self, Item};
use super::scenario::{Draft, empty, set_conversation, settle_prompt};
use super::{Imported, Notes, chat, metadata};
use whetstone_domain::scenario::Scenario;

/// The fields of a sample.
pub(super) const SAMPLE_FIELDS: [&str; 8] =
    ["id", "input", "choices", "target", "metadata", "sandbox", "files", "setup"];

pub(super) fn import(files: &[(&str, &str)], notes: &mut Notes) -> Result<Imported, ImportError> {
    let mut drafts = Vec::new();
    let mut logs = Vec::new();
    for (file, text) in files {
        if read::extension(file) == "csv" {
            let rows = read::csv(file, text, notes)?;
            drafts.extend(dataset(file, &rows, notes));
            continue;
        }
        let records = read::records(file, text, notes)?;
        match records.as_slice() {
            [(_, only)] if only.get("samples").is_some() || only.get("eval").is_some() => {
                logs.push((*file, only.clone()));
            }
            _ => drafts.extend(dataset(file, &records, notes)),
        }
    }
    // Logs first, so that no scenario of a dataset gets an id that transcripts refer to.
    let logged = log::import(&logs, notes)?;
    drafts.splice(..0, logged.drafts);
    let (scenarios, prompt) = settle_prompt(drafts, notes);
    Ok(Imported { scenarios, transcripts: logged.transcripts, tools: logged.tools, prompt, ..Imported::default() })
}

fn dataset(file: &str, records: &[(String, Value)], notes: &mut Notes) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (index, (place, record)) in records.iter().enumerate() {
        let sample = Item::new(file, place, record);
        sample.note_others(&SAMPLE_FIELDS, notes);
        let draft = read_sample(&sample, index, notes);
        drafts.extend(notes.keep(draft));
    }
    if drafts.iter().any(|draft| draft.scenario.expect.answer.is_some()) {
        notes.add(
            read::base(file),
            "scorer",
            "not part of a dataset, so the target becomes the reference answer for the judge; add `checks` for exact answers",
        );
    }
    drafts
}

/// A sample as a scenario, with its target as reference answer.
fn read_sample(sample: &Item, index: usize, notes: &mut Notes) -> Result<Draft, ImportError> {
    let id = match field(sample, "id") {
        Some(id) => id.scalar()?,
        None => format!("sample-{}", index + 1),
    };
    let mut scenario = empty(id);
    let input = sample.need("input")?;
    let mut system = None;
    if let Some(text) = input.value.as_str() {
        if text.trim().is_empty() {
            return Err(input.error("is empty", "write the user's message"));
        }
        scenario.message = Some(text.to_owned());
    } else {
        let messages = input.list().map_err(|error| error.with_fix("make it a string or a list of messages"))?;
        let read = chat::conversation(&messages, |_| false, notes)?;
        system = read.system;
        set_conversation(&mut scenario, chat::scripted(read.messages, &input.place(), notes));
        if scenario.message.is_none() && !scenario.conversation.iter().any(|turn| turn.user.is_some()) {
            return Err(input.error("has no user message", "add one with the role user"));
        }
    }
    let choices = choices(sample)?;
    if !choices.is_empty() {
        add_choices(&mut scenario, &choices);
    }
    scenario.expect.answer = reference(&targets(sample)?, &choices);
    if let Some(metadata) = field(sample, "metadata") {
        scenario.tags = metadata::tags(&metadata, notes)?;
    }
    for (key, what) in [("sandbox", "sandbox"), ("files", "files of the sandbox"), ("setup", "set-up script")] {
        if let Some(found) =
            field(sample, key).filter(|found| found.value.as_array().is_none_or(|list| !list.is_empty()))
        {
            notes.add(found.place(), what, "tool calls are answered by mocks, not in a sandbox; add `mocks`");
        }
    }
    Ok(Draft { scenario, system, place: sample.place() })
}

/// A field that exists and is not an empty cell.
fn field<'a>(sample: &Item<'a>, key: &str) -> Option<Item<'a>> {
    sample.get(key).filter(|item| item.value.as_str() != Some(""))
}

fn targets(sample: &Item) -> Result<Vec<String>, ImportError> {
    let Some(target) = field(sample, "target") else { return Ok(Vec::new()) };
    target.one_or_many().iter().map(Item::scalar).filter(|text| text.as_deref() != Ok("")).collect()
}

/// The choices; in a CSV cell they are separated by commas, or by white space if there is no comma.
fn choices(sample: &Item) -> Result<Vec<String>, ImportError> {
    let Some(choices) = field(sample, "choices") else { return Ok(Vec::new()) };
    let Some(text) = choices.value.as_str() else {
        return choices.list()?.iter().map(Item::scalar).collect();
    };
    let by_comma: Vec<&str> = text.split(',').map(str::trim).collect();
    let parts = if by_comma.len() > 1 { by_comma } else { text.split_whitespace().collect() };
    Ok(parts.into_iter().map(str::to_owned).collect())
}

/// The letter of a choice: A for the first.
fn letter(index: usize) -> char {
    u8::try_from(index).ok().and_then(|index| b'A'.checked_add(index)).map_or('?', char::from)
}

fn add_choices(scenario: &mut Scenario, choices: &[String]) {
    let lines: Vec<String> =
        choices.iter().enumerate().map(|(index, text)| format!("{}) {text}", letter(index))).collect();
    let last = match &mut scenario.message {
        Some(message) => Some(message),
        None => scenario.conversation.iter_mut().rev().find_map(|turn| turn.user.as_mut()),
    };
    if let Some(text) = last {
        text.push_str("\n\n");
        text.push_str(&lines.join("\n"));
    }
}

/// The targets as a reference answer; a letter is expanded with its choice.
fn reference(targets: &[String], choices: &[String]) -> Option<String> {
    let spell = |target: &String| {
        let index = (0..choices.len()).find(|index| target.as_str() == letter(*index).to_string());
        index.map_or_else(|| target.clone(), |index| format!("{target}) {}", choices[index]))
    };
    let spelt: Vec<String> = targets.iter().map(spell).collect();
    match spelt.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many if choices.is_empty() => Some(format!("Any one of these:\n- {}", many.join("\n- "))),
        many => Some(format!("All of these:\n- {}", many.join("\n- "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::fixture::{error, imported};
    use super::super::scenario::contains;

    #[test]
    fn samples_become_scenarios() {
        let imported = imported(Format::Inspect, &["inspect/dataset.jsonl"]);
        insta::assert_yaml_snapshot!(imported.scenarios);
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn rows_of_a_csv_file_are_samples() {
        let imported = imported(Format::Inspect, &["inspect/dataset.csv"]);
        let first = imported.scenario("q1");
        assert_eq!(first.message.as_deref(), Some("Is water wet?\n\nA) yes\nB) no"));
        assert_eq!(first.expect.answer.as_deref(), Some("A) yes"));
        assert_eq!(first.tags, ["easy"]);
        assert_eq!(imported.scenario("q2").expect.answer, None);
    }

    #[test]
    fn a_log_has_transcripts_and_scorers() {
        let imported = imported(Format::Inspect, &["inspect/log.json"]);
        assert_eq!(imported.scenarios.len(), 1);
        assert_eq!(
            imported.scenarios[0].message.as_deref(),
            Some("Weather in Oslo? Think first."),
            "as the agent got it"
        );
        assert_eq!(imported.scenarios[0].expect.checks, [contains("rain")]);
        assert_eq!(imported.prompt.as_deref(), Some("Use the tools."));
        assert_eq!(imported.tools[0].name.as_str(), "forecast");
        insta::assert_yaml_snapshot!(imported.transcripts);
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn a_log_that_was_scored_as_correct_passes_the_checks() {
        let imported = imported(Format::Inspect, &["inspect/match.json"]);
        insta::assert_yaml_snapshot!(imported.scenarios);
    }

    #[test]
    fn one_odd_sample_does_not_refuse_the_others() {
        let text = "{\"input\": \"a\", \"extra\": 1}\n{\"question\": \"b\"}\n{\"input\": \n{\"input\": \"c\"}\n";
        let imported = super::super::import(Format::Inspect, &[("d.jsonl", text)]).unwrap();
        assert_eq!(imported.scenarios.len(), 2);
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn malformed_samples_are_refused_with_their_place() {
        let mut errors = Vec::new();
        let refused = |name: &str, text: &str| error(Format::Inspect, name, text).to_string();
        errors.push(refused("d.jsonl", "\n{\"question\": \"b\"}"));
        errors.push(refused("d.jsonl", "\n{\"input\": "));
        errors.push(refused("d.json", r#"[{"input": 7}]"#));
        errors.push(refused("d.json", r#"[{"input": [{"role": "system", "content": "x"}]}]"#));
        errors.push(refused("d.json", r#"[{"input": " "}]"#));
        errors.push(refused("d.csv", "input,target\na\n"));
        errors.push(refused("d.csv", "input,metadata\na,topic\n"));
        errors.push(refused("l.json", r#"{"version": 2, "eval": {"task": "t"}}"#));
        errors.push(refused(
            "l.json",
            r#"{"eval": {}, "samples": [{"input": "a", "messages": [{"role": "tool", "content": "x"}]}]}"#,
        ));
        insta::assert_snapshot!(errors.join("\n"));
    }
}
