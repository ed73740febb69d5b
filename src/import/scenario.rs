//! What every format does alike: empty scenarios, ids, and the one system prompt.

use std::collections::{HashMap, HashSet};

use super::{Imported, Notes};
use crate::domain::ids::ScenarioId;
use crate::domain::scenario::{Check, Expectation, Scenario, ScriptedTurn};

/// A scenario that says nothing yet.
pub(super) fn empty(id: impl Into<ScenarioId>) -> Scenario {
    Scenario {
        id: id.into(),
        tags: Vec::new(),
        tier: None,
        weight: None,
        message: None,
        conversation: Vec::new(),
        simulated_user: None,
        mocks: Vec::new(),
        state: None,
        expect: Expectation::default(),
    }
}

/// A check that checks nothing yet.
pub(super) const NO_CHECK: Check = Check {
    dimension: None,
    equals: None,
    contains: None,
    not_contains: None,
    regex: None,
    json_schema: None,
    number: None,
};

pub(super) fn contains(text: impl Into<String>) -> Check {
    Check { contains: Some(text.into()), ..NO_CHECK }
}

pub(super) fn equals(text: impl Into<String>) -> Check {
    Check { equals: Some(text.into()), ..NO_CHECK }
}

pub(super) fn not_contains(text: impl Into<String>) -> Check {
    Check { not_contains: Some(text.into()), ..NO_CHECK }
}

pub(super) fn matches(pattern: impl Into<String>) -> Check {
    Check { regex: Some(pattern.into()), ..NO_CHECK }
}

pub(super) fn satisfies(schema: serde_json::Map<String, serde_json::Value>) -> Check {
    Check { json_schema: Some(schema), ..NO_CHECK }
}

/// The answer contains one of the texts, as a check: upper and lower case count if `cased`.
pub(super) fn contains_one_of(texts: &[String], cased: bool) -> Check {
    let has_case = |text: &str| text.chars().any(|c| c.is_uppercase() || c.is_lowercase());
    match texts {
        [text] if !cased || !has_case(text) => contains(text.clone()),
        _ => matches(format!("{}{}", if cased { "" } else { "(?i)" }, alternatives(texts))),
    }
}

/// A regular expression that matches each of the texts as it stands.
pub(super) fn alternatives(texts: &[String]) -> String {
    let escaped: Vec<String> = texts.iter().map(|text| regex::escape(text)).collect();
    match escaped.as_slice() {
        [one] => one.clone(),
        many => format!("(?:{})", many.join("|")),
    }
}

/// Adds a paragraph to a text that may not be there yet.
pub(super) fn append(text: &mut Option<String>, paragraph: &str) {
    match text {
        Some(text) => {
            text.push_str("\n\n");
            text.push_str(paragraph);
        }
        None => *text = Some(paragraph.to_owned()),
    }
}

/// A scenario as it was read, with the system message that its source gives it.
pub(super) struct Draft {
    pub scenario: Scenario,
    pub system: Option<String>,
    /// Where it stands in the source.
    pub place: String,
}

/// The one system message of all drafts becomes the prompt. Where they differ, each is put before what the user says
/// first, so that the scenario stays whole.
pub(super) fn settle_prompt(drafts: Vec<Draft>, notes: &mut Notes) -> (Vec<Scenario>, Option<String>) {
    let systems: HashSet<Option<&String>> = drafts.iter().map(|draft| draft.system.as_ref()).collect();
    if systems.len() <= 1 {
        let prompt = drafts.first().and_then(|draft| draft.system.clone());
        return (drafts.into_iter().map(|draft| draft.scenario).collect(), prompt);
    }
    let scenarios = drafts
        .into_iter()
        .map(|Draft { mut scenario, system, place }| {
            if let Some(system) = system {
                notes.add(
                    place,
                    "system message of its own",
                    "there is one prompt for all scenarios; this text stands before the user's message instead",
                );
                put_before(&mut scenario, &system);
            }
            scenario
        })
        .collect();
    (scenarios, None)
}

fn put_before(scenario: &mut Scenario, system: &str) {
    let first: Option<&mut String> = if let Some(message) = &mut scenario.message {
        Some(message)
    } else if let Some(user) = &mut scenario.simulated_user {
        Some(&mut user.instructions)
    } else {
        scenario.conversation.iter_mut().find_map(|turn| turn.user.as_mut())
    };
    if let Some(text) = first {
        *text = format!("{system}\n\n{text}");
    }
}

/// What the user says: one message, or turns with the answers of the assistant that are given.
pub(super) fn set_conversation(scenario: &mut Scenario, mut turns: Vec<ScriptedTurn>) {
    match turns.as_mut_slice() {
        [ScriptedTurn { user: Some(text), assistant: None }] => scenario.message = Some(std::mem::take(text)),
        _ => scenario.conversation = turns,
    }
}

/// The longest id of a scenario.
const LONGEST_ID: usize = 253;

/// Makes ids fit their length and differ: the second `a` becomes `a-2`. Transcripts are not renamed, since formats
/// with transcripts have ids that differ already.
pub(super) fn make_ids_valid(imported: &mut Imported) {
    let mut seen: HashMap<ScenarioId, usize> = HashMap::new();
    let mut taken: HashSet<ScenarioId> = imported.scenarios.iter().map(|scenario| scenario.id.clone()).collect();
    for scenario in &mut imported.scenarios {
        let times = seen.entry(scenario.id.clone()).or_insert(0);
        *times += 1;
        if *times > 1 {
            let base = scenario.id.clone();
            while taken.contains(&scenario.id) {
                scenario.id = ScenarioId::from(format!("{base}-{times}"));
                *times += 1;
            }
            taken.insert(scenario.id.clone());
        }
    }
}

/// A text as an id: its letters and digits in lower case, anything else as one dash.
pub(super) fn slug(text: &str) -> String {
    let mut id = String::new();
    for c in text.chars() {
        if id.chars().count() >= LONGEST_ID - 8 {
            break;
        }
        if c.is_alphanumeric() {
            id.extend(c.to_lowercase());
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.trim_end_matches('-').to_owned()
}
