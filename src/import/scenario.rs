//! Shared by all formats: empty scenarios, ids, and the common system prompt.

use std::collections::{HashMap, HashSet};

use super::{Imported, Notes};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::scenario::{Check, Expectation, Scenario, ScriptedTurn};

/// An empty scenario.
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

/// An empty check.
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

/// A check that the answer contains one of the texts, case-sensitive if `cased`.
pub(super) fn contains_one_of(texts: &[String], cased: bool) -> Check {
    let has_case = |text: &str| text.chars().any(|c| c.is_uppercase() || c.is_lowercase());
    match texts {
        [text] if !cased || !has_case(text) => contains(text.clone()),
        _ => matches(format!("{}{}", if cased { "" } else { "(?i)" }, alternatives(texts))),
    }
}

/// A readable regular expression that matches a text literally: only special characters are escaped.
pub(super) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A regular expression that matches each of the texts literally.
pub(super) fn alternatives(texts: &[String]) -> String {
    let escaped: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    match escaped.as_slice() {
        [one] => one.clone(),
        many => format!("(?:{})", many.join("|")),
    }
}

/// Adds a paragraph to an optional text.
pub(super) fn append(text: &mut Option<String>, paragraph: &str) {
    match text {
        Some(text) => {
            text.push_str("\n\n");
            text.push_str(paragraph);
        }
        None => *text = Some(paragraph.to_owned()),
    }
}

/// A parsed scenario, with its system message in the source.
pub(super) struct Draft {
    pub scenario: Scenario,
    pub system: Option<String>,
    /// Its location in the source.
    pub place: String,
}

/// The common system message of all drafts becomes the prompt. If they differ, each is put before the user's first message, so
/// that the scenario stays complete.
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
                    "separate system message",
                    "all scenarios share one prompt; this text was put before the user's message",
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

/// Sets the user's input: one message, or turns with given answers of the assistant.
pub(super) fn set_conversation(scenario: &mut Scenario, mut turns: Vec<ScriptedTurn>) {
    match turns.as_mut_slice() {
        [ScriptedTurn { user: Some(text), assistant: None }] => scenario.message = Some(std::mem::take(text)),
        _ => scenario.conversation = turns,
    }
}

/// The maximum length of the id of a scenario.
const LONGEST_ID: usize = 253;

/// Truncates ids and makes them unique: the second `a` becomes `a-2`. Transcripts belong to the first of several scenarios with
/// the same id.
pub(super) fn make_ids_valid(imported: &mut Imported) {
    for scenario in &mut imported.scenarios {
        scenario.id = fitting(&scenario.id);
    }
    for transcript in &mut imported.transcripts {
        transcript.scenario = fitting(&transcript.scenario);
    }
    let mut taken: HashSet<ScenarioId> = imported.scenarios.iter().map(|scenario| scenario.id.clone()).collect();
    let mut numbers: HashMap<ScenarioId, usize> = HashMap::new();
    for scenario in &mut imported.scenarios {
        let Some(number) = numbers.get_mut(&scenario.id) else {
            numbers.insert(scenario.id.clone(), 1);
            continue;
        };
        scenario.id = loop {
            *number += 1;
            let id = ScenarioId::from(format!("{}-{number}", scenario.id));
            if taken.insert(id.clone()) {
                break id;
            }
        };
    }
}

/// The id without invisible characters, truncated to the maximum length; a hash distinguishes ids with the same beginning.
fn fitting(id: &ScenarioId) -> ScenarioId {
    let text: String = id.as_str().chars().map(|c| if is_printed(c) { c } else { '-' }).collect();
    let text = text.trim();
    if text.is_empty() {
        return ScenarioId::from("scenario");
    }
    if text.chars().count() <= LONGEST_ID {
        return ScenarioId::from(text);
    }
    let hash = ContentHash::of_bytes(text.as_bytes()).short();
    let kept: String = text.chars().take(LONGEST_ID - hash.len() - 1).collect();
    ScenarioId::from(format!("{kept}-{hash}"))
}

/// Whether a character is visible: not a control character, a direction mark or a line break.
fn is_printed(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Converts a text to an id: letters and digits in lower case, with dashes in between.
pub(super) fn slug(text: &str) -> String {
    let mut id = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            id.extend(c.to_lowercase());
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_fit() {
        let long = "x".repeat(400);
        let mut imported = Imported::default();
        for id in ["a", "a", "a-2", "a", &long, &format!("{long}y")] {
            imported.scenarios.push(empty(id));
        }
        make_ids_valid(&mut imported);
        let ids: Vec<&str> = imported.scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
        assert_eq!(ids[..4], ["a", "a-3", "a-2", "a-4"]);
        assert_eq!((ids[4].len(), ids[5].len()), (LONGEST_ID, LONGEST_ID));
        assert_ne!(ids[4], ids[5]);
    }

    #[test]
    fn a_literal_matches_itself_and_reads_like_it() {
        let text = r"A-17 (50%) costs $5.00 [net] a|b \ {x}^*+?";
        assert!(regex::Regex::new(&format!("^{}$", literal(text))).unwrap().is_match(text));
        assert_eq!(literal("A-17 & Co"), "A-17 & Co");
    }

    #[test]
    fn a_check_of_a_text_looks_at_case_only_where_its_source_does() {
        assert_eq!(contains_one_of(&["42".to_owned()], true), contains("42"));
        assert_eq!(contains_one_of(&["Paris".to_owned()], true), matches("Paris"));
        assert_eq!(contains_one_of(&["Paris".to_owned()], false), contains("Paris"));
        let both = ["a.b".to_owned(), "c".to_owned()];
        assert_eq!(contains_one_of(&both, false), matches(r"(?i)(?:a\.b|c)"));
    }

    #[test]
    fn a_description_becomes_an_id() {
        assert_eq!(slug("Refund: a *late* order!"), "refund-a-late-order");
        assert_eq!(slug("***"), "");
    }
}
