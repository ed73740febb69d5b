//! The leak guard: a patch may teach a rule, but must not copy from the scenarios.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::prompt::Prompt;
use whetstone_domain::scenario::Scenario;
use whetstone_domain::tool::ToolDefinition;

/// The number of consecutive words, shared by a patch and a scenario, that is considered a copy.
const SHINGLE_WORDS: usize = 7;

/// The minimum length of a literal value that identifies a scenario.
const LITERAL_CHARS: usize = 5;

/// Finds text in a patch that was copied from a scenario.
///
/// Two things count as copied: [`SHINGLE_WORDS`] consecutive words of the user's messages or the reference answer, and a
/// literal with a digit (an order number, a date) in the arguments of an expected call. What is in the champion's prompt or
/// the tools' descriptions never counts as a leak.
pub(crate) struct LeakGuard {
    shingles: HashMap<u64, usize>,
    literals: HashMap<String, usize>,
    scenarios: Vec<ScenarioId>,
}

/// Copied text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leak {
    /// The scenario that it was copied from.
    pub scenario: ScenarioId,
    /// What was copied.
    pub copied: String,
}

impl LeakGuard {
    /// A guard for a suite.
    pub(crate) fn new<'a>(
        scenarios: impl Iterator<Item = &'a Scenario>,
        prompt: &Prompt,
        tools: &[ToolDefinition],
    ) -> Self {
        let known_text = format!("{} {}", prompt.text(), serde_json::to_string(tools).unwrap_or_default());
        let known_words = words(&known_text);
        let known: HashSet<u64> = known_words.windows(SHINGLE_WORDS).map(shingle).collect();
        let known_literals: HashSet<&str> = known_words.iter().map(String::as_str).collect();
        let mut guard = Self { shingles: HashMap::new(), literals: HashMap::new(), scenarios: Vec::new() };
        for (index, scenario) in scenarios.enumerate() {
            guard.scenarios.push(scenario.id.clone());
            let texts = [scenario.request_text(), scenario.expect.answer.clone().unwrap_or_default()];
            for text in &texts {
                for window in words(text).windows(SHINGLE_WORDS) {
                    let shingle = shingle(window);
                    if !known.contains(&shingle) {
                        guard.shingles.entry(shingle).or_insert(index);
                    }
                }
            }
            for call in &scenario.expect.calls {
                for value in call.arguments.iter().flat_map(|arguments| arguments.values()) {
                    literals(value, &mut |literal| {
                        let literal = literal.to_lowercase();
                        if !known_literals.contains(literal.as_str()) {
                            guard.literals.entry(literal).or_insert(index);
                        }
                    });
                }
            }
        }
        guard
    }

    /// The first text that was copied from a scenario.
    #[must_use]
    pub(crate) fn find(&self, text: &str) -> Option<Leak> {
        let words = words(text);
        let literal = words.iter().find_map(|word| Some((self.literals.get(word)?, word.clone())));
        let shingle = || {
            words
                .windows(SHINGLE_WORDS)
                .find_map(|window| Some((self.shingles.get(&shingle(window))?, window.join(" "))))
        };
        let (scenario, copied) = literal.or_else(shingle)?;
        Some(Leak { scenario: self.scenarios[*scenario].clone(), copied })
    }
}

/// The words of a text in lower case; characters that join parts of an identifier (`A-17`, `x_2`) are kept.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')))
        .map(|word| word.trim_matches(|c| matches!(c, '-' | '_')))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn shingle(words: &[String]) -> u64 {
    ContentHash::of_bytes(words.join(" ").as_bytes()).seed()
}

/// Finds the strings within a value that may identify a scenario.
fn literals(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => {
            let identifies = text.chars().count() >= LITERAL_CHARS
                && text.chars().any(|c| c.is_ascii_digit())
                && words(text).len() == 1;
            if identifies {
                found(text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| literals(item, found)),
        Value::Object(map) => map.values().for_each(|item| literals(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::prompt::PromptFormat;

    fn guard() -> LeakGuard {
        let scenario: Scenario = serde_json::from_value(serde_json::json!({
            "id": "refund-12",
            "message": "I bought the blue kettle in March and it has leaked since the first day, order A-20417",
            "expect": {"calls": [{"tool": "refund", "arguments": {"order": "A-20417", "reason": "defect"}}]},
        }))
        .unwrap();
        let prompt = Prompt::parse("# Role\nHelp with order B-11111.\n", PromptFormat::Markdown).unwrap();
        LeakGuard::new(std::iter::once(&scenario), &prompt, &[])
    }

    #[test]
    fn a_rule_in_its_own_words_is_no_leak() {
        assert_eq!(guard().find("Look the order up before you refund it, and give the reason `defect`."), None);
    }

    #[test]
    fn a_sentence_of_the_user_is_a_leak() {
        let leak = guard().find("If a customer bought the blue kettle in March and it has leaked, refund it.").unwrap();
        assert_eq!(leak.scenario.as_str(), "refund-12");
        assert_eq!(leak.copied, "bought the blue kettle in march and");
    }

    #[test]
    fn an_order_number_out_of_the_expected_call_is_a_leak() {
        assert_eq!(guard().find("For order A-20417 call `refund`.").unwrap().copied, "a-20417");
    }
}
