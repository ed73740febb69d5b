//! The scorers that a log names, as checks.
//!
//! Inspect compares texts without surrounding characters; the patterns here do the same. Its source is
//! `inspect_ai/scorer/_common.py` (`match_str`), `_answer.py`, `_choice.py` and `_classification.py`.

mod numeric;

use serde_json::Value;

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::Item;
use super::super::scenario::{alternatives, contains_one_of, literal, matches};
use whetstone_domain::scenario::Check;

/// White space and punctuation, as Python's `string` has them.
const AROUND: &str = r"[\s[:punct:]]*";

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

    fn ignores_case(&self) -> bool {
        self.says("ignore_case") != Some(&Value::Bool(false))
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
        // The same scorer may be there with several options.
        if !scorers.iter().any(|known| known.name == name && known.options == options) {
            scorers.push(Scorer { name, options, place: item.place() });
        }
    }
    Ok(scorers)
}

/// Says which scorers and options have no counterpart, once for a log.
pub(super) fn note_others(scorers: &[Scorer], notes: &mut Notes) {
    for scorer in scorers {
        let (detail, options): (&str, &[&str]) = match scorer.name.as_str() {
            "includes" => ("", &["ignore_case"]),
            "match" => ("", &["location", "ignore_case", "numeric"]),
            "choice" => ("", &[]),
            "answer" => ("", &["pattern"]),
            "exact" => (
                "the words of the target in their order are the whole answer now; articles and punctuation still do not count",
                &[],
            ),
            name if name.starts_with("model_graded") => {
                ("the judge scores instead, with the target as reference answer", &[])
            }
            _ => ("it has no counterpart; the judge scores instead, with the target as reference answer", &[]),
        };
        if !detail.is_empty() {
            notes.add(&scorer.place, format!("scorer `{}`", scorer.name), detail);
            continue;
        }
        for key in scorer.options.as_object().into_iter().flat_map(|options| options.keys()) {
            if !options.contains(&key.as_str()) {
                let what = format!("option `{key}` of scorer `{}`", scorer.name);
                notes.add(&scorer.place, what, "nothing in a check corresponds to it");
            }
        }
    }
}

/// What a scorer checks of the answer to a sample with these targets.
pub(super) fn check(scorer: &Scorer, targets: &[String]) -> Option<Check> {
    if targets.is_empty() {
        return None;
    }
    match scorer.name.as_str() {
        "includes" => Some(contains_one_of(targets, !scorer.ignores_case())),
        "match" => Some(matches(one_of(targets.iter().map(|target| match_pattern(scorer, target)).collect()))),
        "exact" => Some(matches(format!("(?i)^{}$", one_of(targets.iter().map(|target| words(target)).collect())))),
        "answer" => answer(scorer, targets),
        "choice" => Some(matches(format!(r"(?i)ANSWER\s*:\s*{}\b", letters(targets).join(r"\s*,?\s*(?:and\s+)?")))),
        _ => None,
    }
}

fn one_of(mut patterns: Vec<String>) -> String {
    match patterns.len() {
        1 => patterns.remove(0),
        _ => format!("(?:{})", patterns.join("|")),
    }
}

/// `match`: the target at the end of the answer, unless another place is given, without punctuation around either.
fn match_pattern(scorer: &Scorer, target: &str) -> String {
    let location = scorer.says("location").and_then(Value::as_str).unwrap_or("end");
    let mut target = target.trim().to_owned();
    if scorer.says("numeric") == Some(&Value::Bool(true)) {
        target = numeric::without_format(&target);
        if let Some(pattern) = numeric::pattern(&target, location) {
            return pattern;
        }
    }
    let is_around = |c: char| c.is_ascii_whitespace() || c == '\x0b' || c.is_ascii_punctuation();
    let text = literal(target.trim_matches(is_around));
    let flags = if scorer.ignores_case() && text.chars().any(char::is_alphabetic) { "(?i)" } else { "" };
    let pattern = match location {
        "begin" => format!("^{AROUND}{text}"),
        "any" => text,
        "exact" => format!("^{AROUND}{text}{AROUND}$"),
        _ => format!("{text}{AROUND}$"),
    };
    format!("{flags}{pattern}")
}

/// `exact`: the words of the target, whatever punctuation, articles and white space are between them.
fn words(target: &str) -> String {
    const BETWEEN: &str = r"(?:[\s[:punct:]]|\b(?:a|an|the)\b)";
    let words: Vec<String> = target
        .split([' ', '-', '\t', '\n', '\r'])
        .map(|word| word.chars().filter(|c| !c.is_ascii_punctuation()).collect::<String>())
        .filter(|word| !word.is_empty() && !["a", "an", "the"].contains(&word.to_lowercase().as_str()))
        .map(|word| literal(&word))
        .collect();
    format!("{BETWEEN}*{}{BETWEEN}*", words.join(&format!("{BETWEEN}+")))
}

/// `answer`: the text after `ANSWER:`.
fn answer(scorer: &Scorer, targets: &[String]) -> Option<Check> {
    let any = alternatives(targets);
    let end = match scorer.says("pattern").and_then(Value::as_str)? {
        "letter" | "word" => r"(?:\W|$)",
        "line" => r"[^\S\n]*(?:\n|$)",
        _ => return None,
    };
    Some(matches(format!(r"(?i)ANSWER\s*:\s*{any}{end}")))
}

/// The letters of the right choices: of `["A", "B"]`, and of `"A,B"`.
fn letters(targets: &[String]) -> Vec<String> {
    let parts = targets.iter().flat_map(|target| target.split(',')).map(str::trim);
    parts.filter(|part| !part.is_empty()).map(literal).collect()
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::json;

    use super::*;

    fn passes(name: &str, options: Value, targets: &[&str], answer: &str) -> bool {
        let scorer = Scorer { name: name.to_owned(), options, place: String::new() };
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        let check = check(&scorer, &targets).expect("the scorer has a check");
        match (&check.regex, &check.contains) {
            (Some(pattern), _) => Regex::new(pattern).expect("the pattern is valid").is_match(answer),
            (_, Some(text)) => answer.to_lowercase().contains(&text.to_lowercase()),
            _ => panic!("{check:?}"),
        }
    }

    /// Expected by running `match_str` of inspect_ai by hand.
    #[test]
    fn match_compares_as_inspect_does() {
        for (options, target, answer, expected) in [
            (json!({}), " Yes", "Yes", true),
            (json!({}), " No", "No.", true),
            (json!({}), "Paris.", "Paris", true),
            (json!({}), "Paris.", "It is **paris**!", true),
            (json!({}), "Tokyo ", "It is Tokyo", true),
            (json!({}), "Tokyo", "Tokyo it is", false),
            (json!({"ignore_case": false}), "Yes", "yes", false),
            (json!({"location": "begin"}), "(Yes)", "\"yes\", I do", true),
            (json!({"location": "begin"}), "yes", "I say yes", false),
            (json!({"location": "any"}), "'Yes'", "I say yes twice", true),
            (json!({"location": "exact"}), "Yes!", " yes. ", true),
            (json!({"location": "exact"}), "Yes", "yes yes", false),
            (json!({}), "e.g. this", "as e.g. this.", true),
        ] {
            assert_eq!(
                passes("match", options.clone(), &[target], answer),
                expected,
                "{options} {target:?} {answer:?}"
            );
        }
        assert!(passes("match", json!({}), &["a", "b."], "It is B"));
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let numeric = |location: &str| json!({"numeric": true, "location": location});
        for (location, target, answer, expected) in [
            ("end", "18", "She makes 18 dollars.", true),
            ("end", "1,234", "It costs $1234", true),
            ("end", "1234", "It costs $1,234.00.", true),
            ("end", "0.5", "The result is .50", true),
            ("end", "42", "**42**", true),
            ("end", "42", "(42)", true),
            ("end", "42", "It is 42, the 3rd time", true),
            ("end", "5", "The answer is 25", false),
            ("end", "-5", "It is 5", false),
            ("end", "5", "It is -5", false),
            ("end", "-5", "It is -5", true),
            ("end", "5", "5 of 7", false),
            ("end", "60", "60%", false),
            ("end", "3", "3.5", false),
            ("end", "3.50", "3.5", true),
            ("begin", "5", "About 5 of 7", true),
            ("begin", "7", "5 of 7", false),
            ("any", "5", "one of 5 or 7", true),
            ("any", "5", "25 or 55", false),
            ("exact", "5", " $5.0 ", true),
            ("exact", "5", "5 apples", false),
            ("end", "60%", "It is 60%", true),
            ("end", "Paris", "Paris.", true),
        ] {
            assert_eq!(
                passes("match", numeric(location), &[target], answer),
                expected,
                "{location} {target:?} {answer:?}"
            );
        }
    }

    #[test]
    fn the_other_scorers_compare_as_inspect_does() {
        for (name, options, targets, answer, expected) in [
            ("includes", json!({}), vec!["Rain"], "heavy RAIN today", true),
            ("includes", json!({"ignore_case": false}), vec!["Rain"], "heavy rain", false),
            ("exact", json!({}), vec!["The Eiffel Tower"], "eiffel tower.", true),
            ("exact", json!({}), vec!["Paris"], "It is Paris", false),
            ("exact", json!({}), vec!["A", "b c"], "B-C!", true),
            ("answer", json!({"pattern": "letter"}), vec!["B"], "so\nANSWER: b)", true),
            ("answer", json!({"pattern": "word"}), vec!["yes"], "ANSWER: yesterday", false),
            ("answer", json!({"pattern": "line"}), vec!["New York"], "ANSWER: New York \n", true),
            ("choice", json!({}), vec!["A,C"], "ANSWER: A, C", true),
            ("choice", json!({}), vec!["A", "C"], "ANSWER: A and C", true),
            ("choice", json!({}), vec!["A"], "ANSWER: AB", false),
        ] {
            assert_eq!(passes(name, options, &targets, answer), expected, "{name} {targets:?} {answer:?}");
        }
    }
}
