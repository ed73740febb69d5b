//! The scorers that a log names, as checks.

use serde_json::Value;

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::Item;
use super::super::scenario::{alternatives, contains_one_of, equals, literal, matches};
use crate::domain::scenario::Check;

/// A scorer of an evaluation, with its options.
pub(super) struct Scorer {
    /// Its name, without its package.
    name: String,
    options: Value,
    place: String,
}

impl Scorer {
    fn says(&self, option: &str) -> Option<&Value> {
        self.options.get(option)
    }
}

/// The scorers of a log: those that gave results, else those that were to.
pub(super) fn of_log(log: &Item) -> Result<Vec<Scorer>, ImportError> {
    let results = log.get("results").map_or(Ok(Vec::new()), |results| results.list_or_empty("scores"))?;
    let named = if results.is_empty() {
        log.get("eval").map_or(Ok(Vec::new()), |eval| eval.list_or_empty("scorers"))?
    } else {
        results
    };
    let mut scorers: Vec<Scorer> = Vec::new();
    for item in named {
        let name = match item.get("scorer") {
            Some(name) => name.text()?,
            None => item.need("name")?.text()?,
        };
        let name = name.rsplit('/').next().unwrap_or(name).to_owned();
        let options = ["params", "options"].iter().find_map(|key| item.get(key));
        let options = options.map_or(Value::Null, |options| options.value.clone());
        if !scorers.iter().any(|known| known.name == name) {
            scorers.push(Scorer { name, options, place: item.place() });
        }
    }
    Ok(scorers)
}

/// Says which scorers have no counterpart, once for a log.
pub(super) fn note_others(scorers: &[Scorer], notes: &mut Notes) {
    for scorer in scorers {
        if !["includes", "exact", "match", "choice"].contains(&scorer.name.as_str()) {
            let detail = if scorer.name.starts_with("model_graded") {
                "the judge scores instead, with the target as reference answer"
            } else {
                "it has no counterpart; the judge scores instead, with the target as reference answer"
            };
            notes.add(&scorer.place, format!("scorer `{}`", scorer.name), detail);
        }
    }
}

/// What a scorer checks of the answer to a sample with these targets.
pub(super) fn check(scorer: &Scorer, targets: &[String]) -> Option<Check> {
    if targets.is_empty() {
        return None;
    }
    let ignores_case = scorer.says("ignore_case") != Some(&Value::Bool(false));
    let flags = if ignores_case { "(?i)" } else { "" };
    let any = alternatives(targets);
    match scorer.name.as_str() {
        "includes" => Some(contains_one_of(targets, !ignores_case)),
        "exact" => match targets {
            [one] => Some(equals(one.clone())),
            _ => Some(matches(format!(r"^\s*{any}\s*$"))),
        },
        // `match` looks at the end of the answer unless told otherwise, and past punctuation.
        "match" => Some(match scorer.says("location").and_then(Value::as_str) {
            Some("begin") => matches(format!(r"{flags}^\W*{any}")),
            Some("any") => contains_one_of(targets, !ignores_case),
            Some("exact") => matches(format!(r"{flags}^\W*{any}\W*$")),
            _ => matches(format!(r"{flags}{any}\W*$")),
        }),
        "choice" => {
            let letters: Vec<String> = targets.iter().map(|target| literal(target)).collect();
            Some(matches(format!(r"(?i)ANSWER\s*:\s*{}\b", letters.join(r"\s*,?\s*(?:and\s+)?"))))
        }
        _ => None,
    }
}
